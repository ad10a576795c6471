"""How many lookups a second unknown hosts may cause (a token bucket, as in ITU-T I.371).

If the index of known hosts cannot rule a host out, each new one costs a query. The bucket bounds what a flood of
made-up hosts does to the stores. Past it a lookup is refused, which says "not now", never "no such tenant".
"""

from __future__ import annotations


class LookupBudget:
    """`rate` lookups a second, `burst` at once. `now` is in seconds on any clock that does not go backwards."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = float("-inf")

    def spend(self, now: float) -> bool:
        earned = (now - self._at) * self._rate
        self._tokens = min(self._burst, self._tokens + earned)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
