"""Makes the report of a sample: estimates for all keys, from what was seen and asked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tenantcache.budget.core.estimates import NORMAL, Estimate, estimate_mean, estimate_share, total
from tenantcache.budget.core.keyanswers import Answer
from tenantcache.budget.core.keyreport import Interval, KeyReport, LargeKey, PatternReport, ttl_step
from tenantcache.budget.core.keytext import show_key
from tenantcache.budget.core.owners import owner_of
from tenantcache.budget.core.patterns import MAX_BYTES
from tenantcache.budget.core.tally import Seen, Tally
from tenantcache.values.core.secrecy import secret_in_key, shown_pattern

MOST_LARGEST = 20
EXPIRED_SHARE = 0.02
"""A smaller share of keys that are counted and expired is not told from chance."""


@dataclass(slots=True)
class NodeKeys:
    """How the keys of a server were looked at. `counted` is what DBSIZE says, None if it was refused.

    `whole` says that all were seen. Else `spans` are the shares of the server that the runs cover, in the order of its
    runs in the tally, if those are known.
    """

    counted: int | None
    whole: bool = False
    spans: list[float] = field(default_factory=list)

    def population(self, sizes: Sequence[int]) -> Estimate:
        """How many keys there are, from the keys of each run."""
        seen = sum(sizes)
        if self.whole or (self.counted is None and not self.spans):
            return Estimate.exactly(seen)
        if not self.spans:
            return Estimate.exactly(max(self.counted or 0, seen))
        live = _estimate_total(sizes, self.spans)
        if self.counted is None or live.high < self.counted * (1 - EXPIRED_SHARE):
            return live
        return Estimate.exactly(max(self.counted, seen))


def _estimate_total(sizes: Sequence[int], spans: Sequence[float]) -> Estimate:
    """The ratio estimator of the keys of all spans, which sum to 1 (Cochran 1977, section 6.3)."""
    covered, runs = sum(spans), len(spans)
    value = sum(sizes) / covered
    squares = sum((size - value * span) ** 2 for size, span in zip(sizes, spans, strict=True))
    reach = NORMAL * math.sqrt(runs / (runs - 1) * squares * max(0.0, 1 - covered)) / covered if runs > 1 else value
    return Estimate(value, value - reach, value + reach)


@dataclass(slots=True)
class KeySample:
    """All that was learned. `answers` has those of the keys that were asked, by pattern."""

    nodes: list[NodeKeys]
    tally: Tally
    answers: dict[str, list[tuple[bytes, Answer]]]
    billed_commands: int
    notes: list[str]
    scan_refused: bool = False


def summarize(sample: KeySample) -> KeyReport:
    runs = [[size for node, size in sample.tally.runs if node == number] for number in range(len(sample.nodes))]
    populations = [node.population(sizes) for node, sizes in zip(sample.nodes, runs, strict=True)]
    keys = total(populations)
    summary = _Summary(sample, runs, populations, keys)
    patterns = [summary.pattern(pattern, seen) for pattern, seen in sample.tally.patterns.items()]
    return KeyReport(
        keys=round(keys.value),
        keys_interval=_whole_numbers(keys),
        sampled=sample.tally.sampled,
        billed_commands=sample.billed_commands,
        patterns=tuple(sorted(patterns, key=lambda report: (-report.keys, report.pattern))),
        largest=_largest(sample.answers),
        notes=tuple(sample.notes),
        scan_refused=sample.scan_refused,
    )


@dataclass(frozen=True, slots=True)
class _Summary:
    sample: KeySample
    runs: list[list[int]]
    populations: list[Estimate]
    keys: Estimate

    def pattern(self, pattern: str, seen: Seen) -> PatternReport:
        keys = self._count(seen)
        asked = self.sample.answers.get(pattern, [])
        answers = [answer for _, answer in asked]
        sizes = [answer.size for answer in answers if answer.size is not None]
        ttls = [answer.ttl for answer in answers if answer.ttl is not None]
        types = [answer.type for answer in answers if answer.type is not None]
        in_bytes = keys.by(estimate_mean(sizes, max(keys.value, len(sizes)))) if sizes else None
        return PatternReport(
            pattern=pattern,
            keys=round(keys.value),
            keys_interval=_whole_numbers(keys),
            bytes=None if in_bytes is None else round(in_bytes.value),
            bytes_interval=None if in_bytes is None else _whole_numbers(in_bytes),
            ttl=_shares([ttl_step(ttl) for ttl in ttls]),
            types=_shares(types),
            owner=self._owner(seen, types),
            asked=len(answers),
            longest_ttl=max((ttl for ttl in ttls if ttl >= 0), default=None),
            secret=_secret(seen),
        )

    def _count(self, seen: Seen) -> Estimate:
        """The keys of a pattern: the sum over the servers, within what was seen of it and of others."""
        places = self._places()
        parts = []
        for number, (sizes, population) in enumerate(zip(self.runs, self.populations, strict=True)):
            if sum(sizes):
                hits = {places[run][1]: keys for run, keys in seen.runs.items() if places[run][0] == number}
                parts.append(estimate_share(hits, sizes, population.value).by(population))
        others = self.sample.tally.sampled - seen.keys
        return total(parts).within(seen.keys, max(seen.keys, self.keys.high - others))

    def _places(self) -> list[tuple[int, int]]:
        """For each run its server, and its number among the runs there."""
        following: Counter[int] = Counter()
        places = []
        for node, _ in self.sample.tally.runs:
            places.append((node, following[node]))
            following[node] += 1
        return places

    @staticmethod
    def _owner(seen: Seen, types: Sequence[str]) -> str | None:
        kind = Counter(types).most_common(1)[0][0] if types else ""
        return owner_of(seen.kept[0][2], kind) if seen.kept else None


def _secret(seen: Seen) -> str | None:
    for _, _, key in seen.kept:
        text = key[:MAX_BYTES].decode("utf-8", "backslashreplace")
        if (kind := secret_in_key(text)) is not None:
            return f"{shown_pattern(text)} ({kind})"
    return None


def _shares(values: Sequence[str]) -> Mapping[str, float]:
    return {value: round(count / len(values), 4) for value, count in Counter(values).most_common()}


def _whole_numbers(estimate: Estimate) -> Interval:
    return math.floor(estimate.low + 1e-6), math.ceil(estimate.high - 1e-6)


def _largest(answers: Mapping[str, list[tuple[bytes, Answer]]]) -> tuple[LargeKey, ...]:
    sized = [(answer.size, key, answer) for asked in answers.values() for key, answer in asked if answer.size]
    sized.sort(key=lambda entry: (-entry[0], entry[1]))
    return tuple(
        LargeKey(
            key=show_key(key),
            bytes=size,
            type=answer.type or "unknown",
            ttl=None if answer.ttl is None or answer.ttl < 0 else answer.ttl,
        )
        for size, key, answer in sized[:MOST_LARGEST]
    )
