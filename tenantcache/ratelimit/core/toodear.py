"""Costs that were refused although tokens were left, so that cheaper requests may be served."""

from __future__ import annotations

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
        return cost >= self.cost and now < self.until

    def again(self, cost: int, now: float) -> TooDear:
        """A request of `cost` was refused by a counter."""
        if now < self.until:
            return self._replace(cost=min(cost, self.cost))
        wait = max(MIN_WAIT, 2 * self.wait)
        return TooDear(cost, now + wait, wait)


NOT_TOO_DEAR = TooDear(1 << 62, 0.0, 0.0)
"""More than any request costs."""
