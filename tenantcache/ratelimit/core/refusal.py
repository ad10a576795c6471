"""What one window's counter has refused.

A window that is used up refuses everything. A request that costs more than what is left is refused alone: what was
taken for it goes back, so that cheaper requests may be served.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

MIN_WAIT = 2.0
"""Seconds: what each process took for such a request has gone back by then."""


class TooDear(NamedTuple):
    """Requests of `cost` or more are refused until then without asking, although tokens may be left: they were refused
    before in this window. Others may give some back, so they are asked for again, after twice as long each time."""

    cost: int
    until: float
    wait: float

    def refuses(self, cost: int, now: float) -> bool:
        return now < self.until and cost >= self.cost

    def again(self, cost: int, now: float) -> TooDear:
        """A request of `cost` was refused by a counter."""
        if now < self.until:
            return self._replace(cost=min(cost, self.cost))
        wait = max(MIN_WAIT, 2 * self.wait)
        return TooDear(cost, now + wait, wait)


NOT_TOO_DEAR = TooDear(0, -inf, 0.0)
"""Nothing was refused that may be asked for again."""


class Refusal(NamedTuple):
    """A counter's answers of one window. `is_used_up`: it had fewer tokens than it was asked for."""

    is_used_up: bool
    too_dear: TooDear

    def used_up(self, is_used_up: bool) -> Refusal:
        if self.too_dear is NOT_TOO_DEAR:
            return USED_UP if is_used_up else OPEN
        return Refusal(is_used_up, self.too_dear)

    def refuses(self, cost: int, now: float) -> bool:
        """Whether the counter is known not to have `cost` tokens beside what is held."""
        return self.is_used_up or self.too_dear.refuses(cost, now)

    def noting(self, cost: int, now: float) -> Refusal:
        """A request of `cost` was refused, by this window or by another one."""
        return self._replace(too_dear=self.too_dear.again(cost, now)) if self.is_used_up else self

    @property
    def leaves_tokens(self) -> bool:
        """Whether what is left was too little for a request, and may be enough for another process."""
        return self.is_used_up and self.too_dear is not NOT_TOO_DEAR


OPEN, USED_UP = Refusal(False, NOT_TOO_DEAR), Refusal(True, NOT_TOO_DEAR)
"""Nothing has been refused, so the counter may have tokens; and everything is. Most windows share these."""
