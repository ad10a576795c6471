"""One tenant's minute in this process: what is held of it, what was spent, and what to ask of its counter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tenantcache.ratelimit.core.advance import Advance, VersionOf
from tenantcache.ratelimit.core.decision import Quota, quota
from tenantcache.ratelimit.core.forecast import Demand, Forecast
from tenantcache.ratelimit.core.ledger import Ledger, Line
from tenantcache.ratelimit.core.need import Need
from tenantcache.ratelimit.core.policy import ReservePolicy
from tenantcache.ratelimit.core.refusal import Refusal
from tenantcache.ratelimit.core.sliding import Edge
from tenantcache.ratelimit.core.windows import MINUTE, UNLIMITED, Window, minute_at, minute_end


class MinuteWindow:
    """A minute of UTC, and the tokens reserved in advance for those that follow. `edge` says whether minutes slide.

    The rules are those of `reservation.py`.
    """

    low: int
    spent: int

    __slots__ = ("_advance", "_edge", "_forecast", "_ledger", "held", "limit", "low", "number", "refusal", "spent")

    def __init__(self, limit: int | None, now: float, policy: ReservePolicy, version_of: VersionOf, edge: Edge) -> None:
        self.limit = limit
        self.number: int = minute_at(now)
        self.refusal: Refusal = Refusal()
        self._edge = edge
        self._forecast = Forecast(policy, now)
        self._advance = Advance(self.number, version_of)
        self._begin_ledger()

    def _begin_ledger(self) -> None:
        """Hold nothing."""
        self._ledger = Ledger()
        self.spent = 0
        self.held = UNLIMITED if self.limit is None else 0
        """Tokens that may be spent; `UNLIMITED` if there is no limit."""
        self.low = 0
        """The low-water mark: tokens on top of `held`, handed out when those run out, which starts a refill."""

    @property
    def window(self) -> Window:
        return Window("minute", self.number)

    @property
    def end(self) -> int:
        return minute_end(self.number)

    @property
    def unspent(self) -> int:
        return self.held + self.low

    @property
    def _used(self) -> int:
        """What all processes have taken, as far as it is known here."""
        return max(self._forecast.usage.value, self._ledger.taken)

    def _ceiling(self, limit: int, now: float) -> int:
        return self._edge.ceiling(limit, now - self.number * MINUTE)

    # Time.

    def enter(self, number: int) -> None:
        """Enter a later minute, with what was reserved for it."""
        passed, start = number - self.number, number * MINUTE
        goes_on = self._edge.enter(self._used, is_next=passed == 1) and self.refusal.is_used_up
        self._forecast.close(self.spent, passed, start)
        self.number = number
        self._begin_ledger()
        self.refusal.reopen()
        self.refusal.is_used_up = goes_on
        self._advance.enter(number, self._ledger)
        if self.limit is not None:
            self.held = self._ledger.taken
        self.set_low_water_mark(float(start))

    def go_back(self, number: int, now: float) -> None:
        """Enter an earlier minute, with nothing (rule 6)."""
        self._forecast.go_back(now)
        self.number = number
        self._advance.go_back(number)
        self.restart(now)

    def restart(self, now: float) -> None:
        """The counter has been reset: what was held in it is gone."""
        self._forecast.forget_usage(now)
        self._edge.forget()
        self._begin_ledger()
        self.refusal.reopen()

    # Spending.

    def spend(self, tokens: int) -> None:
        self.held -= tokens
        self.spent += tokens

    def refund(self, tokens: int) -> None:
        """Undo an admission of this minute; never more than was spent here."""
        self.spend(-min(tokens, self.spent))

    def pass_low_water_mark(self) -> None:
        self.held, self.low = self.unspent, 0

    def set_low_water_mark(self, now: float) -> None:
        if self.limit is None:
            return
        unspent = self.unspent
        self.low = 0 if self.refusal.is_used_up else self._forecast.low_water_mark(unspent, self.spent, now)
        self.held = unspent - self.low

    @property
    def demand(self) -> Demand:
        return self._forecast.demand

    def rate(self, now: float) -> float:
        """The tokens a second that are asked of this process."""
        return self._forecast.demand.rate(self.spent, now)

    def refused_until(self, cost: int, now: float) -> float:
        """The server time at which a minute that is used up has room for `cost` again; in the past if it is not."""
        if not self._edge.slides:
            return float(self.end) if self.refusal.refuses(cost, now) else 0.0
        if self.limit is None or not self.refusal.is_used_up:
            return 0.0
        step = self._forecast.policy.slide_step(self.limit)
        return self._edge.free_at(self.number, self.limit, self._used, self.unspent, cost, step)

    def is_unknown(self, cost: int) -> bool:
        """Whether `cost` is only refused because the previous minute cannot be read."""
        return self.limit is not None and self._edge.is_assumed and self._used + cost <= self.limit

    def observe(self, values: Mapping[Window, int], now: float) -> None:
        """Take note of counters that were read."""
        if (value := values.get(self.window)) is not None:
            self._forecast.usage.see(value, now)
        self.observe_previous(values)

    def observe_previous(self, values: Mapping[Window, int]) -> None:
        if (value := values.get(Window("minute", self.number - 1))) is not None:
            self._edge.see(value, self.limit)

    def quota(self, now: float) -> Quota | None:
        """What is held here and what the counter had left; None if there is no limit."""
        if self.limit is None:
            return None
        left = 0 if self.refusal.is_used_up else self._ceiling(self.limit, now) - self._used
        return quota("minute", self.limit, self.unspent, left, self.end - now)

    # Taking.

    def plan(self, need: Need, most: int | None) -> list[Line]:
        """Ask for tokens of this minute and of later ones. `most`: more than that is of no use, as the day refuses."""
        now, cost, held = need.now, need.cost, self.unspent
        if self.limit is None or now < self.refused_until(1, now) or (cost and held >= cost):
            return []
        ahead = 0 if self._edge.slides else self._forecast.in_advance(self.limit, need.processes)
        tokens = (cost if need.is_cautious else max(cost, self._wanted(need, self.limit, ahead if cost else 0))) - held
        if most is not None:
            tokens = min(tokens, most - held)
        if tokens <= 0:
            return []
        lines = [self._ledger.claim(self.window, tokens)]
        if not need.is_cautious:
            lines += self._advance.plan(self.number, ahead, need.horizon)
        return lines + self._edge.reads(self.number)

    def _wanted(self, need: Need, limit: int, least: int) -> int:
        """The tokens to hold for the cost and the rest of the minute."""
        now, slides = need.now, self._edge.slides
        left = max(0, self._ceiling(limit, now) - self._used) if slides else self._forecast.left(limit, now)
        expected = need.cost + self._forecast.expected(self.spent, now, self.end)
        return self._forecast.policy.wanted(expected, left / need.processes, least, limit)

    def settle(self, line: Line, value: int, now: float, *, is_repair: bool) -> list[Line]:
        """Enter the counter's new value; return what to send to repair a lost counter."""
        if self.limit is None:
            return []
        ceiling = self._ceiling(self.limit, now)
        granted, is_used_up, repairs = self._ledger.settle(line, value, ceiling, is_repair)
        self.held += granted
        self._forecast.usage.see(value, now)
        self.refusal.is_used_up = is_used_up or (self.refusal.is_used_up and not line.claim)
        return repairs

    def settle_reserved(self, answered: Sequence[tuple[Line, int]]) -> None:
        """Enter the new values of later minutes' counters, in their order."""
        if self.limit is not None:
            self._advance.settle_all(self.number, answered, self.limit)

    # Giving back.

    @property
    def kept(self) -> int:
        """Tokens that may be left idle."""
        return max(int((self.limit or 0) * self._forecast.policy.keep), self._advance.taken)

    @property
    def idle(self) -> int:
        """Tokens that are held beyond those, and the overshoot of a request that was refused as too dear."""
        if self.limit is None:
            return 0
        overshoot = self._ledger.overshoot if self.refusal.leaves_tokens else 0
        return max(0, self.unspent - self.kept) + overshoot

    def return_idle(self) -> Line:
        extra = max(0, self.unspent - self.kept)
        self.held, self.low, self.refusal.is_used_up = self.unspent - extra, 0, False
        return self._ledger.give_back(self.window, extra)

    def return_overshoot(self) -> Line:
        return self._ledger.give_back(self.window, 0)

    def return_reserved(self) -> list[Line]:
        """Give back what later minutes cannot use of a limit that was lowered."""
        return self._advance.return_overshoot(self.number)

    def return_weight(self) -> list[Line]:
        """Give back overshoot that would weigh in the next minute."""
        return [self.return_overshoot()] if self._edge.slides and self._ledger.overshoot else []

    def release(self) -> list[Line]:
        """Give up everything unspent, for good."""
        lines: list[Line] = []
        if self.limit is not None:
            lines = [self._ledger.give_back(self.window, self.unspent), *self._advance.plan(self.number, 0)]
        self.held = self.low = self.spent = 0
        return lines

    def hand_over(self, now: float) -> int:
        """Return the tokens granted of this minute. Overshoot, and a refusal, are of the counters that are left."""
        self._ledger.overshoot, self._ledger.has_lost = 0, False
        self.refusal.is_used_up = False
        self._forecast.forget_usage(now)
        return self.granted

    @property
    def granted(self) -> int:
        """Tokens granted of this minute and not given back; 0 without a limit."""
        return self._ledger.taken

    def change(self, limit: int | None) -> None:
        """Put a new limit in force: rule 6."""
        old, self.limit = self.limit, limit
        self.refusal.reopen()
        self.pass_low_water_mark()
        if old is None or limit is None:
            self._begin_ledger()
            self._advance.forget(self.number)
        elif limit < old:
            self._ledger.drop(self.held)
            self._advance.cut(limit)
            self.held = 0
