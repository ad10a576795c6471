"""How late the event loop is: each tick compares when it ran with when it should have."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Mapping
from time import monotonic

from tenantcache.observability.metric import SUM_ROW

INTERVAL = 0.5
"""Seconds between two ticks: two in a second cost nothing, and a loop that is blocked for longer misses none."""

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds. Timers are up to 1 ms late by themselves."""

INFINITY = "+Inf"


class LoopLag:
    """Counts since the first `open`."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._counts = [0] * (len(BOUNDS) + 1)
        self._sum = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        self.close()
        self._wait(loop)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def note(self, seconds: float) -> None:
        """The loop was late by that."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._sum += seconds

    def rows(self) -> Mapping[str, float]:
        """Ticks that were late by at most each bound, and the sum of the seconds."""
        found, total = {}, 0
        for bound, count in zip((*map(str, BOUNDS), INFINITY), self._counts, strict=True):
            total += count
            found[bound] = float(total)
        return found | {SUM_ROW: self._sum}

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = self._clock() + INTERVAL
        self._timer = loop.call_later(INTERVAL, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self.note(max(0.0, self._clock() - self._due))
        self._wait(loop)
