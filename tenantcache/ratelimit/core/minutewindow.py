"""One tenant's minute in this process: what is held of it, what was spent, and what to ask of its counter."""

from __future__ import annotations

from collections.abc import Mapping

from tenantcache.ratelimit.core.advance import Advance, VersionOf, has_begun, is_next_due, is_settled, may_reserve
from tenantcache.ratelimit.core.decision import Quota, quota
from tenantcache.ratelimit.core.forecast import Demand, Forecast
from tenantcache.ratelimit.core.ledger import Ledger, Line
from tenantcache.ratelimit.core.need import Need
from tenantcache.ratelimit.core.policy import ReservePolicy
from tenantcache.ratelimit.core.refusal import OPEN, Refusal
from tenantcache.ratelimit.core.sliding import Edge
from tenantcache.ratelimit.core.windows import MINUTE, UNLIMITED, Window, minute_at, minute_end


class MinuteWindow:
    """A minute of UTC, and what is reserved in advance of each minute of its quarter. `edge`: whether minutes slide.

    The rules are those of `reservation.py`. `spent` tokens are at most what the ledgers of the minute and of the
    quarter have taken together. Which of them a request has spent is not decided before something is given back.
    """

    low: int
    spent: int

    __slots__ = (
        "_advance",
        "_edge",
        "_forecast",
        "_ledger",
        "_version_of",
        "held",
        "limit",
        "low",
        "number",
        "refusal",
        "spent",
    )

    def __init__(self, limit: int | None, now: float, policy: ReservePolicy, version_of: VersionOf, edge: Edge) -> None:
        self.limit = limit
        self.number: int = minute_at(now)
        self.refusal: Refusal = OPEN
        self._edge = edge
        self._forecast = Forecast(policy, now)
        self._version_of = version_of
        self._advance = Advance(self.number)
        self._advance.follow(version_of(self.number))
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
        return max(self._forecast.usage.value, self.granted)

    def _ceiling(self, limit: int, now: float) -> int:
        return self._edge.ceiling(limit, now - self.number * MINUTE)

    # Time.

    def enter(self, number: int) -> None:
        """Enter a later minute, with what was reserved for it."""
        passed, start = number - self.number, number * MINUTE
        goes_on = self._edge.enter(self._used, is_next=passed == 1) and self.refusal.is_used_up
        self._forecast.close(self.spent, passed, start)
        self._advance.owe(-self._ledger.overshoot)
        self.number = number
        self._begin_ledger()
        self.refusal = OPEN.used_up(goes_on)
        self._advance.enter(number)
        version = self._version_of(number)
        if self._advance.follow(version):
            self._advance.forget(number)
        if self.limit is not None and version is not None:
            self.held = self._advance.taken
        self.set_low_water_mark(float(start))

    def go_back(self, number: int, now: float) -> None:
        """Enter an earlier minute, with nothing (rule 6)."""
        self._forecast.go_back(now)
        self.number = number
        self._advance.forget(number)
        self.restart(now)

    def restart(self, now: float) -> None:
        """The counter has been reset: what was held in it is gone. What is reserved stays, and was spent first."""
        self._follow_version()
        self._forecast.forget_usage(now)
        self._edge.forget()
        spent = min(self.spent, self._advance.taken)
        self._begin_ledger()
        self.spent = spent
        if self.limit is not None and self._version_of(self.number) is not None:
            self.held = self._advance.taken - spent
        self.refusal = OPEN

    def clock_was_set(self, seconds: float, now: float) -> None:
        """What is reserved was granted for minutes that other processes may have been in already."""
        before = self._ledger.taken
        self._spend_from_minute()
        self._ledger.overshoot -= self._ledger.taken - before
        self._advance.clock_was_set(self.number, seconds, now)

    def _spend_from_minute(self) -> None:
        """What is held or spent of this minute is all taken of it from now on."""
        self._ledger.taken = max(self._ledger.taken, self.spent + self.unspent)
        self._advance.taken = 0

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

    def mean(self, now: float) -> float:
        """The tokens a minute that are asked of this process."""
        return self._forecast.mean(self.spent, now)

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
            self._forecast.usage.see(value + values.get(Window("quarter", self._advance.quarter), 0), now)
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
        """Ask for tokens of this minute, and in advance. `most`: more than that is of no use, as the day refuses."""
        now, cost, held = need.now, need.cost, self.unspent
        if self.limit is None or now < self.refused_until(1, now) or (cost and held >= cost):
            return []
        ahead = 0 if self._edge.slides else self._forecast.in_advance(self.spent, now, self.limit, need.processes)
        tokens = self._missing(need, self.limit, ahead)
        if most is not None:
            tokens = min(tokens, most - held)
        if tokens <= 0 and not (need.is_along and self._reserves(need, ahead)):
            return []
        self._follow_version()
        lines = [self._ledger.claim(self.window, max(0, tokens))]
        if not self._edge.slides:
            target = ahead if may_reserve(now) and not need.is_cautious else 0
            lines += self._advance.plan(target, ahead=need.ahead and is_next_due(now))
        return lines + self._edge.reads(self.number)

    def _missing(self, need: Need, limit: int, ahead: int) -> int:
        """The tokens to ask for, of this minute."""
        if need.is_cautious:
            return need.cost - self.unspent
        if not (need.cost or need.is_along or self._forecast.is_short(self.unspent, self.spent, need.now, self.end)):
            return 0
        return max(need.cost, self._wanted(need, limit, ahead if need.cost else 0)) - self.unspent

    def _reserves(self, need: Need, ahead: int) -> bool:
        """Whether tokens are missing in advance, and may be asked for now."""
        if not (ahead and may_reserve(need.now)):
            return False
        is_next_missing = need.ahead and is_next_due(need.now) and self._advance.is_next_missing
        return is_next_missing or self._advance.lacks(ahead)

    def _wanted(self, need: Need, limit: int, least: int) -> int:
        """The tokens to hold for the cost and the rest of the minute."""
        now, slides = need.now, self._edge.slides
        left = max(0, self._ceiling(limit, now) - self._used) if slides else self._forecast.left(limit, now)
        expected = need.cost + self._forecast.expected(self.spent, now, self.end)
        return self._forecast.policy.wanted(expected, left / need.processes, least, limit)

    def _follow_version(self) -> None:
        """The fleet may have changed its counters within the minute: what is reserved was reported as taken of it."""
        if self._advance.follow(self._version_of(self.number)):
            self._spend_from_minute()
            self._advance.forget(self.number)

    def settle(self, answered: Mapping[Window, tuple[Line, int]], now: float, *, is_repair: bool) -> list[Line]:
        """Enter the counters' new values; return what to send to repair those that were lost."""
        if self.limit is None:
            return []
        of_minute, ceiling = answered.get(self.window), self._ceiling(self.limit, now)
        if self._edge.slides:
            return self._settle_minute(*of_minute, ceiling, now, is_repair=is_repair) if of_minute else []
        pool = self._forecast.policy.pool(self.limit) if is_settled(now, self.number) else 0
        if reply := answered.get(Window("quarter", self._advance.quarter + 1)):
            self._advance.settle_next(*reply, pool)
        if (of_quarter := answered.get(Window("quarter", self._advance.quarter))) is None:
            return []
        reserved, level = of_quarter
        if of_minute is None:
            self._advance.settle_reserved(reserved, level, 0)  # it was sent in a minute that has ended since
            return []
        line, value = of_minute
        if self._advance.lost(reserved, level):
            self._spend_from_minute()
        limit = ceiling - (level - reserved.claim)
        repairs = self._settle_minute(line, value, limit, now, is_repair=is_repair, other=level)
        self.held += self._advance.settle_reserved(reserved, level, 0 if repairs else min(pool, ceiling - value))
        return repairs + self._advance.return_overshoot() if repairs else []

    def _settle_minute(
        self, line: Line, value: int, ceiling: int, now: float, *, is_repair: bool, other: int = 0
    ) -> list[Line]:
        """`other`: the counter of the quarter, which belongs to the minute's level."""
        granted, is_used_up, repairs = self._ledger.settle(line, value, ceiling, is_repair)
        self.held += granted
        self._forecast.usage.see(value + other, now)
        self.refusal = self.refusal.used_up(is_used_up or (self.refusal.is_used_up and not line.claim))
        return repairs

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
        overshoot = max(0, self._ledger.overshoot) if self.refusal.leaves_tokens else 0
        return max(0, self.unspent - self.kept) + overshoot

    def return_idle(self) -> list[Line]:
        self._follow_version()
        extra = max(0, self.unspent - self.kept)
        self.held, self.low, self.refusal = self.unspent - extra, 0, self.refusal.used_up(False)
        return self._give_back(extra)

    def _give_back(self, tokens: int) -> list[Line]:
        """The overshoot goes back as well. Both counters change at once: what one of them gives back may have been
        spent on the other one."""
        lines = [self._ledger.give_back(self.window, tokens)]
        return lines if self._edge.slides else lines + self._advance.return_overshoot()

    def return_overshoot(self) -> list[Line]:
        if self.limit is None:
            return []
        self._follow_version()
        return self._give_back(0)

    def return_weight(self) -> list[Line]:
        """Give back overshoot that would weigh in later minutes."""
        if self._ledger.overshoot if self._edge.slides else self._advance.has_overshoot:
            return self.return_overshoot()
        return []

    def release(self, now: float) -> list[Line]:
        """Give up everything unspent, for good."""
        lines: list[Line] = []
        if self.limit is not None:
            self._follow_version()
            self._give_up_unspent(now)
            lines = self._give_back(0)
        self.held = self.low = self.spent = 0
        return lines

    def _give_up_unspent(self, now: float) -> None:
        """What was spent is taken of the minute, and nothing else is taken."""
        self._ledger.overshoot += self._ledger.taken - self.spent
        self._ledger.taken = self.spent
        if self._forecast.demand.is_new or has_begun(now, self.number):
            self._advance.give_up()
        else:
            self._advance.forget(self.number)
        self.held = self.low = 0

    def hand_over(self, now: float) -> int:
        """Return the tokens granted of this minute. Overshoot, and a refusal, are of the counters that are left."""
        self._ledger.overshoot, self._ledger.has_lost = 0, False
        self._advance.overshoot = 0
        self.refusal = self.refusal.used_up(False)
        self._forecast.forget_usage(now)
        return self.granted

    @property
    def granted(self) -> int:
        """Tokens granted of this minute and not given back; 0 without a limit."""
        return self._ledger.taken + self._advance.taken

    def change(self, limit: int | None, now: float) -> None:
        """Put a new limit in force: rule 6."""
        old, self.limit = self.limit, limit
        self.refusal = OPEN
        self.pass_low_water_mark()
        if old is None or limit is None:
            self._begin_ledger()
            self._advance.forget(self.number)
        elif limit < old:
            self._give_up_unspent(now)
