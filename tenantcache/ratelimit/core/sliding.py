"""Sliding minutes: the previous minute still weighs, less by the second.

At `elapsed` seconds of a minute, `previous x (1 - elapsed / 60) + current` may not exceed the limit, where `previous`
and `current` are the tokens of the two minutes. That takes the previous minute for evenly spent, as Cloudflare's
limiter does ("How we built rate limiting capable of scaling to millions of domains", 2017).

Rules:

1. The previous minute's counter is read with each take, in the same command. A token is granted only at a position up
   to what the weight leaves at that time; as the weight only falls, it may be spent whenever it is spent.
2. Nothing stands in advance for later minutes: what will be left of them is not known.
3. What was debited in vain goes back at once. The counter will be the previous minute's, and must not weigh too much.
4. A refusal is final until the weight has fallen by `slide` of the limit, which bounds what a tenant at its limit
   costs, or by as much as the request needs. It goes on into the next minute, in which this one weighs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor
from typing import Any

from tenantcache.ratelimit.core.decision import Decision
from tenantcache.ratelimit.core.ledger import Line, Take
from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.ratelimit.core.windows import MINUTE, OUT_OF_REACH, Debit, Window


def allowance(limit: int, previous: int, elapsed: float) -> int:
    """The tokens of the current minute that may be out at `elapsed` seconds of it."""
    return max(0, floor(limit - previous * (1 - min(max(0.0, elapsed), MINUTE) / MINUTE)))


def free_at(limit: int, previous: int, used: int, tokens: int) -> float:
    """The seconds of the minute at which `tokens` more than the `used` ones are within the limit, which holds both.

    Up to a millisecond late, so as not to be early.
    """
    elapsed = MINUTE * (1 - (limit - used - tokens) / previous) if previous else 0.0
    return (floor(max(0.0, elapsed) * 1000) + 1) / 1000


class SlidingReservation(Reservation):
    """A `Reservation` whose minutes slide. Days are fixed windows, as they are there."""

    __slots__ = ("_assumed", "_previous")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._previous = 0  # the previous minute's counter, as last seen
        self._assumed = False  # that it was used up, because its counter is out of reach
        super().__init__(*args, **kwargs)

    def settle(self, take: Take, values: Sequence[int | None], now: float) -> Take | None:
        if not self.released:
            self._roll(now)
            for line, value in zip(take.lines, values, strict=True):
                if value is not None and line.debit.window == Window("minute", self._number - 1):
                    self._previous = self._weight(value)
        following = super().settle(take, values, now)
        if following is None and not self.released and self._current.over:
            following = self._take([self._current.give_back(Window("minute", self._number), 0)])
            self.taking = True
        return following

    def decide(self, now: float, cost: int) -> Decision | None:
        decision = super().decide(now, cost)
        if decision is None or decision.violated != ("minute",) or decision.retry_after is None:
            return decision
        if self._assumed and self._used() + cost <= (self.limits.per_minute or 0):
            return Decision(False, retry_after=decision.retry_after, unavailable=True)
        return decision

    def _settle_minute(self, line: Line, value: int, now: float, repaired: bool) -> list[Line]:
        if line.claim:
            self._exhausted = False
        return super()._settle_minute(line, value, now, repaired)

    def _enter_minute(self, number: int) -> None:
        next_one = number == self._number + 1
        refused, used = self._exhausted and next_one, self._used()
        super()._enter_minute(number)
        self._previous, self._assumed = used if next_one else 0, False
        self._exhausted = refused

    def _go_back(self, number: int, now: float) -> None:
        super()._go_back(number, now)
        self._previous, self._assumed = 0, False

    def observe(self, values: Mapping[Window, int], now: float) -> None:
        super().observe(values, now)
        if (value := values.get(Window("minute", self._number - 1))) is not None:
            self._previous = self._weight(value)

    def _weight(self, value: int) -> int:
        """What the previous minute weighs, by its counter; where that is out of reach, as if it had been used up."""
        self._assumed = value == OUT_OF_REACH
        return value if value != OUT_OF_REACH else self.limits.per_minute or 0

    def restart(self, now: float) -> None:
        super().restart(now)
        self._previous, self._assumed = 0, False

    def _used(self) -> int:
        return max(self._usage.value, self._current.taken)

    def _ceiling(self, limit: int, now: float) -> int:
        return allowance(limit, self._previous, now - self._number * MINUTE)

    def _left(self, now: float, limit: int) -> float:
        return max(0, self._ceiling(limit, now) - self._used())

    def _refused_until(self, cost: int, now: float) -> float:
        limit = self.limits.per_minute
        if not self._exhausted or limit is None:
            return 0.0
        used, step = self._used(), self._policy.slide_step(limit)
        start, missing = self._number * MINUTE, max(1, cost - self.minute - self.low)
        tokens = max(missing, min(step, limit - used))
        if used + tokens <= limit and (elapsed := free_at(limit, self._previous, used, tokens)) < MINUTE:
            return start + elapsed
        # In the next minute this one weighs, and what is held here has ended.
        return start + MINUTE + free_at(limit, used, 0, max(cost, step))

    def _standing_target(self, limit: int, processes: int) -> int:
        return 0

    def _plan_minute(self, now: float, cost: int, processes: int, horizon: int) -> list[Line]:
        lines = super()._plan_minute(now, cost, processes, horizon)
        if lines:
            lines.append(Line(Debit(Window("minute", self._number - 1), 0), 0))
        return lines
