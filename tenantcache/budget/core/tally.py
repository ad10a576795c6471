"""The keys that were seen, by pattern: how many in each run, and a random choice of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import heappush, heappushpop

from tenantcache.budget.core.learning import Folding, learn
from tenantcache.budget.core.patterns import fold

MOST_PATTERNS = 5_000
"""Patterns after which names are learned, so that memory does not grow with the keys."""


@dataclass(slots=True)
class Seen:
    """`runs` has the number of keys by run. `kept` is a heap of (a random number, node, key) that keeps the greatest
    numbers, so that two heaps together give a random choice again."""

    keys: int = 0
    runs: dict[int, int] = field(default_factory=dict)
    kept: list[tuple[float, int, bytes]] = field(default_factory=list)

    def keep(self, entry: tuple[float, int, bytes], most: int) -> None:
        if len(self.kept) < most:
            heappush(self.kept, entry)
        elif entry > self.kept[0]:
            heappushpop(self.kept, entry)

    def join(self, other: Seen, most: int) -> None:
        self.keys += other.keys
        for run, keys in other.runs.items():
            self.runs[run] = self.runs.get(run, 0) + keys
        for entry in other.kept:
            self.keep(entry, most)


class Tally:
    """`draw` gives random numbers from 0 to 1; `most` keys of a pattern are kept."""

    def __init__(self, draw: Callable[[], float], most: int) -> None:
        self._draw = draw
        self._most = most
        self._learn_at = MOST_PATTERNS
        self._folding: Folding | None = None
        self.patterns: dict[str, Seen] = {}
        self.runs: list[tuple[int, int]] = []
        """Node and number of keys."""

    def add_run(self, node: int, keys: Iterable[bytes]) -> None:
        number, count = len(self.runs), 0
        for key in keys:
            count += 1
            pattern = fold(key)
            if self._folding is not None:
                pattern = self._folding.fold(pattern)
            seen = self.patterns.get(pattern)
            if seen is None:
                seen = self.patterns[pattern] = Seen()
            seen.keys += 1
            seen.runs[number] = seen.runs.get(number, 0) + 1
            seen.keep((self._draw(), node, key), self._most)
        self.runs.append((node, count))
        if len(self.patterns) > self._learn_at:
            self.learn()
            self._learn_at = max(MOST_PATTERNS, 2 * len(self.patterns))

    def learn(self) -> None:
        """Fold what are names, now that so many keys were seen. Call it when all are."""
        self._folding = learn({pattern: seen.keys for pattern, seen in self.patterns.items()})
        joined: dict[str, Seen] = {}
        for pattern, seen in self.patterns.items():
            joined.setdefault(self._folding.fold(pattern), Seen()).join(seen, self._most)
        self.patterns = dict(sorted(joined.items(), key=lambda item: (-item[1].keys, item[0])))

    @property
    def sampled(self) -> int:
        return sum(size for _, size in self.runs)
