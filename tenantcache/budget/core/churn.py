"""Keys that are set again, or expire, before they are read: writes that were paid for nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from tenantcache.budget.core.finding import Severity
from tenantcache.budget.core.learning import learn
from tenantcache.budget.core.monitorline import Deed
from tenantcache.budget.core.patterns import fold

MOST_KEYS = 100_000
"""Keys that are followed at once. What is written beyond them is left out."""

FEW = 10
"""Fewer writes say nothing yet."""

WARN_SHARE, CRIT_SHARE = 0.5, 0.9


@dataclass(frozen=True, slots=True)
class Churn:
    """The keys of a pattern. `wasted` of its `writes` were not read before the next one, or before they expired. It is
    None if reads cannot be seen. `rewrites` are those that replaced a value. With `at_most` some of the wasted ones may
    have been read in the first `SLACK` seconds, which cannot be seen.
    """

    pattern: str
    writes: int
    rewrites: int
    wasted: int | None
    reads: int | None
    open: int = 0
    at_most: bool = False

    @property
    def wasted_share(self) -> float | None:
        """Of the writes whose end was seen: those that are `open` may still be read."""
        settled = self.writes - self.open
        return None if self.wasted is None or settled < 1 else self.wasted / settled

    @property
    def severity(self) -> Severity:
        """By the share that was wasted."""
        share = self.wasted_share
        if share is None or self.writes - self.open < FEW:
            return Severity.OK
        if self.at_most:
            return Severity.WARN if share >= CRIT_SHARE else Severity.OK
        return Severity.CRIT if share >= CRIT_SHARE else Severity.WARN if share >= WARN_SHARE else Severity.OK

    def as_json(self) -> dict[str, Any]:
        return {
            "pattern": self.pattern,
            "writes": self.writes,
            "rewrites": self.rewrites,
            "wasted": self.wasted,
            "reads": self.reads,
            "open": self.open,
            "severity": self.severity.value,
        }


class _State(Enum):
    UNREAD = "unread"
    READ = "read"


_WASTING = frozenset({Deed.WRITE, Deed.EXPIRED})
"""What ends a value that was not read, and makes it a waste. It may have been removed because it was wrong."""


@dataclass(slots=True)
class _Count:
    writes: int = 0
    rewrites: int = 0
    wasted: int = 0
    reads: int = 0
    open: int = 0


@dataclass(slots=True)
class Ledger:
    """Follows keys from deed to deed. `sees_reads` says whether reads are among them."""

    sees_reads: bool
    _states: dict[bytes, _State] = field(default_factory=dict)
    _counts: dict[str, _Count] = field(default_factory=dict)
    overflowed: bool = False

    def enter(self, deed: Deed, key: bytes) -> None:
        state = self._states.get(key)
        if deed is Deed.WRITE and state is None and len(self._states) >= MOST_KEYS:
            self.overflowed = True
            return
        count = self._count(key)
        if state is _State.UNREAD:
            count.open -= 1
            count.wasted += deed in _WASTING
        if deed is Deed.WRITE:
            count.writes += 1
            count.rewrites += state is not None
            count.open += 1
            self._states[key] = _State.UNREAD
        elif deed is Deed.READ:
            count.reads += 1
            if state is not None:
                self._states[key] = _State.READ
        else:
            self._states.pop(key, None)

    def _count(self, key: bytes) -> _Count:
        return self._counts.setdefault(fold(key), _Count())

    def churn(self) -> list[Churn]:
        """By pattern, those with most wasted writes first, or with most rewrites if reads are not seen."""
        folding = learn({pattern: count.writes + count.reads for pattern, count in self._counts.items()})
        joined: dict[str, _Count] = {}
        for pattern, count in self._counts.items():
            one = joined.setdefault(folding.fold(pattern), _Count())
            one.writes += count.writes
            one.rewrites += count.rewrites
            one.wasted += count.wasted
            one.reads += count.reads
            one.open += count.open
        found = [
            Churn(
                pattern,
                count.writes,
                count.rewrites,
                count.wasted if self.sees_reads else None,
                count.reads if self.sees_reads else None,
                count.open if self.sees_reads else 0,
            )
            for pattern, count in joined.items()
            if count.writes
        ]
        return sorted(found, key=lambda one: (-(one.wasted or 0), -one.rewrites, -one.writes, one.pattern))


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a key. `ttl` is in seconds, negative without expiry. `idle` are the seconds since it was last
    read or written, None if that cannot be asked."""

    ttl: int
    idle: int | None


SLACK = 2
"""Seconds: TTL and idle time are whole, and the two looks take a while themselves."""


def compare_looks(
    first: Mapping[tuple[str, bytes], Look], second: Mapping[tuple[str, bytes], Look], seconds: float
) -> list[Churn]:
    """What became of keys, by (pattern, key), `seconds` later. Only keys that expire can be told.

    One whose time left went up was written again. One that was idle since it was written was not read before. When it
    was written is told by the longest time left of its pattern, which comes close to what all keys of it are given.
    """
    given: Counter[str] = Counter()
    for (pattern, _), look in (*first.items(), *second.items()):
        given[pattern] = max(given[pattern], look.ttl)
    counts: dict[str, _Count] = {}
    seen_idle: set[str] = set()
    for (pattern, key), before in first.items():
        after = second.get((pattern, key))
        if after is None or before.ttl < 0 or after.ttl <= before.ttl - seconds + SLACK:
            continue
        count = counts.setdefault(pattern, _Count())
        count.writes += 1
        count.rewrites += 1
        if before.idle is not None:
            seen_idle.add(pattern)
            count.wasted += before.idle >= given[pattern] - before.ttl - SLACK
    return sorted(_compared(counts, seen_idle), key=lambda one: (-(one.wasted or 0), -one.rewrites, one.pattern))


def _compared(counts: Mapping[str, _Count], seen_idle: set[str]) -> Iterator[Churn]:
    for pattern, count in counts.items():
        wasted = count.wasted if pattern in seen_idle else None
        yield Churn(pattern, count.writes, count.rewrites, wasted, None, at_most=True)
