"""One tenant's minute in this process: what is held of it, what was spent, and what to ask of its counter."""

from __future__ import annotations

from collections.abc import Mapping

from tenantcache.ratelimit.core.advance import VersionOf, is_next_due, may_reserve
from tenantcache.ratelimit.core.decision import Quota, quota
from tenantcache.ratelimit.core.forecast import Demand, Forecast
from tenantcache.ratelimit.core.ledger import Line
from tenantcache.ratelimit.core.minutecounters import Answered, MinuteCounters
from tenantcache.ratelimit.core.minutetokens import MinuteTokens
from tenantcache.ratelimit.core.need import Need
from tenantcache.ratelimit.core.policy import ReservePolicy
from tenantcache.ratelimit.core.refusal import OPEN, Refusal
from tenantcache.ratelimit.core.rest import RestingMinute
from tenantcache.ratelimit.core.sliding import Edge
from tenantcache.ratelimit.core.windows import MINUTE, CounterValue, Window, minute_at, minute_end, quarter_of


class MinuteWindow(MinuteTokens):
    """A minute of UTC. The rules are those of `reservation.py`. `edge` says whether minutes slide."""

    held: int
    limit: int | None
    low: int
    spent: int

    __slots__ = ("_counters", "_edge", "_forecast", "refusal")

    def __init__(self, limit: int | None, now: float, policy: ReservePolicy, version_of: VersionOf, edge: Edge) -> None:
        super().__init__(limit)
        self._edge = edge
        self.refusal: Refusal = OPEN
        self._forecast = Forecast(policy, now)
        self._counters = MinuteCounters(minute_at(now), version_of, slides=edge.slides)

    def use_policy(self, policy: ReservePolicy) -> None:
        self._forecast.policy = policy

    @property
    def number(self) -> int:
        return self._counters.number

    @property
    def window(self) -> Window:
        return self._counters.window

    @property
    def end(self) -> int:
        return minute_end(self.number)

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
        self._hold(self._counters.enter(number, 0 if self.limit is None else self.spent))
        self.refusal = OPEN.used_up(goes_on)
        self.set_low_water_mark(float(start))

    def go_back(self, number: int, now: float) -> None:
        """Enter an earlier minute, with nothing (rule 6)."""
        self._forecast.go_back(now)
        self._counters.clear(number)
        self._hold(0)
        self._edge.forget()
        self.refusal = OPEN

    def restart(self, now: float) -> None:
        """The counter has been reset: what was held in it is gone. What is reserved stays, and was spent first."""
        spent, held = self._counters.restart(self.spent, self._held_or_spent)
        self._forecast.forget_usage(now)
        self._edge.forget()
        self._hold(held)
        self.spent = spent
        self.refusal = OPEN

    def clock_was_set(self, seconds: float, now: float) -> None:
        self._counters.clock_was_set(seconds, now, self._held_or_spent)

    # At rest.

    def rest(self) -> RestingMinute | None:
        counters, forecast = self._counters.rest(), self._forecast.rest()
        if counters is None or forecast is None or self.spent or self.refusal is not OPEN:
            return None
        if self.limit is not None and self.unspent != counters.reserved:
            return None
        return RestingMinute(self.low, counters, forecast)

    def resume(self, resting: RestingMinute) -> None:
        self._counters.resume(resting.counters)
        self._forecast.resume(resting.forecast)
        self._hold(resting.counters.reserved - resting.low)
        self.low = resting.low

    # Spending.

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
            self._forecast.usage.see(value + values.get(Window("quarter", quarter_of(self.number)), 0), now)

    def observe_previous(self, values: Mapping[Window, CounterValue | None]) -> None:
        """Take note of what the minute before it held, if that is among what was read."""
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
        limit, now, cost, held = self.limit, need.now, need.cost, self.unspent
        if limit is None or now < self.refused_until(1, now) or (cost and held >= cost):
            return []
        ahead = 0 if self._edge.slides else self._forecast.in_advance(self.spent, now, limit, need.processes)
        tokens = self._forecast.missing(need, held, self.spent, self.end, limit, self._left(limit, now), ahead)
        tokens = tokens if most is None else min(tokens, most - held)
        target = ahead if may_reserve(now) and not need.is_cautious else 0
        self._counters.follow_version(self._held_or_spent)
        lines = self._counters.claim_next(target) if need.ahead and is_next_due(now) else []
        if tokens > 0 or (need.is_along and self._counters.lacks(target)):
            lines = self._counters.claim(max(0, tokens), target) + lines + self._edge.reads(self.number)
            if need.is_first and not self._edge.slides:
                lines += self._counters.reads_before()
        return lines

    def learn(self, of_day: float, processes: int) -> bool:
        """Expect `of_day` tokens a minute, or more by the counters, if nothing else is known; return whether it is."""
        return self.limit is not None and self._forecast.learn(of_day, self.limit, processes)

    def _left(self, limit: int, now: float) -> float:
        """The tokens that the counter is expected to have left."""
        slides = self._edge.slides
        return max(0, self._ceiling(limit, now) - self._used) if slides else self._forecast.left(limit, now)

    def settle(self, answered: Answered, now: float, *, is_repair: bool) -> list[Line]:
        """Enter the counters' new values; return what to send to repair those that were lost."""
        if self.limit is None:
            return []
        ceiling, pool = self._ceiling(self.limit, now), self._forecast.policy.pool(self.limit)
        settled = self._counters.settle(answered, ceiling, pool, now, self._held_or_spent, is_repair=is_repair)
        if settled is None:
            return []
        self.held += settled.granted
        self._forecast.usage.see(settled.level, now, settled.before)
        self.refusal = self.refusal.used_up(settled.is_used_up or (self.refusal.is_used_up and not settled.claim))
        return settled.repairs

    # Giving back.

    @property
    def kept(self) -> int:
        """Tokens that may be left idle."""
        policy = self._forecast.policy
        return max(int((self.limit or 0) * policy.keep), min(self._counters.reserved, policy.least_in_advance))

    @property
    def idle(self) -> int:
        """Tokens that are held beyond those, and the overshoot of a request that was refused as too dear."""
        if self.limit is None:
            return 0
        overshoot = self._counters.overshoot if self.refusal.leaves_tokens else 0
        return max(0, self.unspent - self.kept) + overshoot

    def return_idle(self, now: float) -> list[Line]:
        self._counters.follow_version(self._held_or_spent)
        kept = self.kept
        extra = max(0, self.unspent - kept)
        self.held, self.low, self.refusal = self.unspent - extra, 0, self.refusal.used_up(False)
        self._counters.keep_reserved(kept, now)
        return self._counters.give_back(extra)

    def return_overshoot(self) -> list[Line]:
        if self.limit is None:
            return []
        self._counters.follow_version(self._held_or_spent)
        return self._counters.give_back(0)

    def return_weight(self) -> list[Line]:
        """Give back overshoot that would weigh in later minutes."""
        return self.return_overshoot() if self._counters.weighs else []

    def release(self, now: float) -> list[Line]:
        """Give up everything unspent, for good."""
        lines: list[Line] = []
        if self.limit is not None:
            self._counters.follow_version(self._held_or_spent)
            self._give_up_unspent(now)
            lines = self._counters.give_back(0)
        self.held = self.low = self.spent = 0
        return lines

    def _give_up_unspent(self, now: float) -> None:
        self._counters.give_up_unspent(self.spent, now, is_first=self._forecast.demand.is_new)
        self.held = self.low = 0

    def hand_over(self, now: float) -> int:
        """Return the tokens granted of this minute. Overshoot, and a refusal, are of the counters that are left."""
        self._counters.leave()
        self.refusal = self.refusal.used_up(False)
        self._forecast.forget_usage(now)
        return self.granted

    @property
    def granted(self) -> int:
        """Tokens granted of this minute and not given back; 0 without a limit."""
        return self._counters.granted

    def change(self, limit: int | None, now: float) -> None:
        """Put a new limit in force: rule 6."""
        old, self.limit = self.limit, limit
        self.refusal = OPEN
        self.pass_low_water_mark()
        if old is None or limit is None:
            self._counters.clear(self.number)
            self._hold(0)
        elif limit < old:
            self._give_up_unspent(now)
