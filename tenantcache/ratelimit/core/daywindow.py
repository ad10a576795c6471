"""One tenant's day in this process: what is held of it and what was spent."""

from __future__ import annotations

from collections.abc import Mapping

from tenantcache.ratelimit.core.decision import Quota, quota
from tenantcache.ratelimit.core.ledger import Ledger, Line
from tenantcache.ratelimit.core.need import Need
from tenantcache.ratelimit.core.policy import ReservePolicy
from tenantcache.ratelimit.core.refusal import OPEN, Refusal
from tenantcache.ratelimit.core.rest import RestingDay
from tenantcache.ratelimit.core.spending import Spending, Spent
from tenantcache.ratelimit.core.windows import MINUTE, UNLIMITED, Calendar, Day, Window

HELD_OF_DAY = 3600.0
"""Seconds of demand that processes may hold of a day beyond what they have spent."""


class DayWindow:
    """A fixed window of the tenant's calendar. The rules are those of `reservation.py`."""

    held: int
    refusal: Refusal
    spent: int

    __slots__ = (
        "_ledger",
        "_spending",
        "_used",
        "calendar",
        "held",
        "limit",
        "refusal",
        "spent",
        "today",
    )

    def __init__(self, limit: int | None, now: float, calendar: Calendar) -> None:
        self.limit = limit
        self.calendar: Calendar = calendar
        self.today: Day = calendar(now)
        self._spending = Spending()
        self._begin()

    def _begin(self) -> None:
        """Hold nothing, and know nothing of the counter."""
        self._ledger = Ledger()
        self._used = 0  # the counter, as last seen
        self.spent = 0
        self.held = self._without_take()
        """Tokens that may be spent; `UNLIMITED` if there is no limit."""
        self.refusal = OPEN

    def _without_take(self) -> int:
        return UNLIMITED if self.limit is None else 0

    @property
    def window(self) -> Window:
        return Window("day", self.today.number)

    # Time.

    def enter(self, now: float) -> None:
        """Enter the day of `now`, with nothing."""
        self._close()
        self.today = self.calendar(now)
        self._begin()

    def restart(self) -> None:
        """The counter has been reset: what was held in it is gone."""
        self._close()
        self._begin()

    def use_calendar(self, calendar: Calendar, now: float) -> None:
        """The tenant's days are those of `calendar` from now on. What was spent of the day of the same date counts."""
        self.calendar = calendar
        today = calendar(now)
        if today.number == self.today.number:
            self.today = today
        else:
            self.enter(now)

    def _close(self) -> None:
        self._spending.close(self.today.number, self.spent)

    # At rest.

    def rest(self) -> RestingDay | None:
        taken = self._ledger.taken
        if not self._ledger.is_even or self.refusal is not OPEN or not self._spending.is_drained(self.spent):
            return None
        if self.held != self._without_take() + taken - self.spent:
            return None
        return RestingDay(self.today.start, taken, self.spent, self._used)

    def resume(self, resting: RestingDay) -> None:
        self._ledger.taken, self.spent, self._used = resting.taken, resting.spent, resting.used
        self.held = self._without_take() + resting.taken - resting.spent
        self._spending.resume(resting.spent)

    # Spending.

    def spend(self, tokens: int) -> None:
        self.held -= tokens
        self.spent += tokens

    def refund(self, tokens: int) -> int:
        """Undo an admission of this day; return the tokens that are held again, at most those that were spent."""
        returned = min(tokens, self.spent)
        self.spend(-returned)
        return returned

    def refuses(self, cost: int, now: float) -> bool:
        """Whether the counter is known not to have `cost` tokens."""
        return self.held < cost and self.refusal.refuses(cost, now)

    def note_unbacked(self, cost: int) -> None:
        self._spending.add(self.today.number, cost)

    def drain(self) -> list[Spent]:
        return self._spending.drain(self.today.number, self.spent)

    def observe(self, values: Mapping[Window, int]) -> None:
        """Take note of counters that were read."""
        self._used = values.get(self.window, self._used)

    def demand(self, now: float, processes: int, policy: ReservePolicy) -> float:
        """Return the tokens a minute that each process was asked for since the day began, at least, by its counter."""
        if self.limit is None:
            return 0.0
        spent = self._used - self._ledger.taken - policy.reserved_of_day(self.limit, processes)
        return max(0.0, spent) * MINUTE / (now - self.today.start + HELD_OF_DAY) / processes

    def quota(self, now: float) -> Quota | None:
        """What is held here and what the counter had left; None if there is no limit."""
        if self.limit is None:
            return None
        left = 0 if self.refusal.is_used_up else self.limit - max(self._used, self._ledger.taken)
        return quota("day", self.limit, self.held, left, self.today.end - now)

    # Taking.

    def plan(self, need: Need, mean: float, policy: ReservePolicy, *, is_along: bool) -> list[Line]:
        """Ask for the next hour's demand, at `mean` tokens a minute, when the tokens run out.

        `is_along`: a take of the minute is sent anyway. Then also if they would run out within the minute.
        """
        if self.limit is None or self.refusal.is_used_up or self.held >= self._least(need, mean, policy, is_along):
            return []
        left = max(0, self.limit - max(self._used, self._ledger.taken))
        chunk = 0 if need.is_cautious else policy.day_chunk(mean, left, need.processes)
        tokens = max(chunk, 0 if need.is_along else max(1, need.cost - self.held))
        return [self._ledger.claim(self.window, tokens)] if tokens else []

    def _least(self, need: Need, mean: float, policy: ReservePolicy, is_along: bool) -> int:
        """The tokens with which none need be asked for."""
        if need.is_along:
            return max(1, int(policy.day_ahead * mean)) if need.day else 0
        looks_ahead = (is_along or not need.cost) and not need.is_cautious
        return need.cost + int(mean) if looks_ahead else need.cost

    def settle(self, line: Line, value: int, *, is_repair: bool) -> list[Line]:
        """Enter the counter's new value; return what to send to repair a lost counter."""
        if self.limit is None or line.debit.window != self.window:
            return []
        granted, is_used_up, repairs = self._ledger.settle(line, value, self.limit, is_repair)
        self.refusal = self.refusal.used_up(is_used_up)
        self.held += granted
        self._used = value
        return repairs

    # Giving back.

    @property
    def idle(self) -> int:
        """Tokens in the counter that a refused request was too dear for: the last ones, and its overshoot."""
        if self.limit is None or not self.refusal.leaves_tokens:
            return 0
        return self.held + self._ledger.overshoot

    def return_idle(self) -> Line:
        self.refusal = self.refusal.used_up(False)
        return self.give_back()

    def return_overshoot(self) -> Line:
        return self._ledger.give_back(self.window, 0)

    def give_back(self) -> Line:
        """Give up what is held."""
        tokens, self.held = self.held, 0
        return self._ledger.give_back(self.window, tokens)

    def release(self) -> list[Line]:
        """Give up what is held, for good."""
        lines = [] if self.limit is None else [self.give_back()]
        self._close()
        self.held = self.spent = 0
        return lines

    def change(self, limit: int | None) -> None:
        """Put a new limit in force: rule 6."""
        old, self.limit = self.limit, limit
        self.refusal = OPEN
        if old is None or limit is None:
            self._close()
            self._ledger, self.spent = Ledger(), 0
            self.held = self._without_take()
        elif limit < old:
            self._ledger.drop(self.held)
            self.held = 0
