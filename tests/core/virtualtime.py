"""Virtual time, and the messages on their way in it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from random import Random


class VirtualTime:
    """`now` is in seconds since the Unix epoch."""

    def __init__(self, random: Random, now: float) -> None:
        self.random, self.now = random, now
        self.delays = [0.0, 0.01, 0.2, 0.4]
        """Seconds that a message may take."""
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def at(self, when: float, work: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), work))

    def send(self, work: Callable[[], None]) -> None:
        """Have it done when a message has arrived."""
        self.at(self.now + self.random.choice(self.delays), work)

    def do_what_is_due(self) -> None:
        """Each at its own time."""
        step = self.now
        while self._events and self._events[0][0] <= step:
            self.now, _, work = heapq.heappop(self._events)
            work()
        self.now = step
