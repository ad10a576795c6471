"""When entries are due, in the order of time.

An entry that leaves, or is read again, leaves its mark behind. Once there are twice as many marks as after the last
look, all of them are looked at, two with each mark that is added. Those that mean nothing any more are dropped. So
marks are bounded by the entries that are held, and no step of that takes long.
"""

from __future__ import annotations

from heapq import heappop, heappush

from tenantcache.runtime.shards import Shards

FEWEST = 1_000
"""Marks that are not worth a look."""

LOOKED_AT = 2


class Marks:
    """Aliases by times. `dues` are the times that count, by alias: a mark of another time means nothing."""

    __slots__ = ("_dues", "_marks", "_most", "_to_look_at")

    def __init__(self, dues: Shards[float]) -> None:
        self._dues = dues
        self._marks: list[tuple[float, str]] = []
        self._to_look_at: list[tuple[float, str]] = []  # a heap as well, and one without its end still is
        self._most = FEWEST

    def __len__(self) -> int:
        return len(self._marks) + len(self._to_look_at)

    def add(self, due: float, alias: str) -> None:
        heappush(self._marks, (due, alias))
        for _ in range(LOOKED_AT):
            self._look()

    def _look(self) -> None:
        if self._to_look_at:
            due, alias = mark = self._to_look_at.pop()
            if self._dues.get(alias) == due:
                heappush(self._marks, mark)
            if not self._to_look_at:
                self._most = max(FEWEST, 2 * len(self._marks))
        elif len(self._marks) > self._most:
            self._to_look_at, self._marks = self._marks, []

    def pop(self, until: float) -> tuple[float, str] | None:
        """Take out the oldest, if it is due by then."""
        heaps = [heap for heap in (self._marks, self._to_look_at) if heap and heap[0][0] <= until]
        return heappop(min(heaps)) if heaps else None
