"""What a fleet sends a second, from what is known of its use now and then."""

from __future__ import annotations

from collections import deque

SPAN = 120.0
"""Seconds over which a rate is measured: two reports of each process."""

KEPT = 900.0
"""Seconds for which the highest rate counts. A fleet's peak lasts for longer, and one within it is met again soon."""


class Rate:
    """Commands a second: the highest over `SPAN` seconds of the last `KEPT`. 0 until that is known.

    A total that falls (a new period has begun) starts it anew; what was measured before counts on.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()
        self._rates: deque[tuple[float, float]] = deque()

    def note(self, used: int, now: float) -> None:
        """So many were used until `now`."""
        if self._seen and (used < self._seen[-1][1] or now < self._seen[-1][0]):
            self._seen.clear()
        self._seen.append((now, used))
        while len(self._seen) > 1 and self._seen[1][0] <= now - SPAN:
            self._seen.popleft()
        then, before = self._seen[0]
        if now >= then + SPAN:
            self._rates.append((now, (used - before) / (now - then)))
        while self._rates and not now - KEPT <= self._rates[0][0] <= now:
            self._rates.popleft()

    @property
    def highest(self) -> float:
        return max((rate for _, rate in self._rates), default=0.0)
