"""How often the server's clock was set, and by how much: noted once, and followed by each reservation before anything
else is done to it.

Moves cannot be added up. A clock that was set forward and back again leads into a later window, and what was held of
the one before is given up; their sum is zero, and would give up nothing. So the last moves are kept one by one. What is
behind by more than those follows three instead: to the earliest and the latest time that the clock has shown meanwhile,
and from there on. Each window that one of the moves leads out of is left by these as well, so that no more is held.
(BACK of `holding.py` aside: a clock that is set back by so little stays in the newer window.)
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

KEPT = 100
"""Moves. One that missed more has rested for long, or the clock is set all the time: there is little to lose."""

Move = tuple[float, float]
"""By how many seconds the clock was set, and the time after that."""


class ClockMoves:
    """Of one engine."""

    __slots__ = ("_earliest", "_kept", "_latest", "_left", "count")

    def __init__(self) -> None:
        self.count: int = 0
        self._kept: list[Move] = []
        # The times before and after moves that are not kept, and after the last of them.
        self._earliest, self._latest, self._left = inf, -inf, 0.0

    def note(self, seconds: float, now: float) -> None:
        """It is `now`, by so many seconds another time than was thought."""
        self._kept.append((seconds, now))
        self.count += 1
        if len(self._kept) > KEPT:
            moved, self._left = self._kept.pop(0)
            self._earliest = min(self._earliest, self._left, self._left - moved)
            self._latest = max(self._latest, self._left, self._left - moved)

    def since(self, count: int) -> Sequence[Move]:
        """What follows the first `count`."""
        missed = self.count - count
        if missed <= len(self._kept):
            return self._kept[len(self._kept) - missed :]
        earliest, latest, left = self._earliest, self._latest, self._left
        return [(earliest - latest, earliest), (latest - earliest, latest), (left - latest, left), *self._kept]
