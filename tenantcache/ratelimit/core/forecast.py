"""What a tenant will ask for, estimated from what it asked before.

Rules:

* A forecast only sizes a take. When it is wrong a request waits once more, or a token stays unused; never more.
* Nothing is counted on the hot path: what was spent is what is missing from the tokens taken.
* Demand is what was asked for, admitted or denied. Within a minute the estimate blends what the past minutes say with
  what this minute has shown. Requests that arrive independently are a Poisson process, for which that blend is
  the mean of the gamma posterior: (seen + past rate x weight) / (elapsed + weight).
"""

from __future__ import annotations

from math import ceil, sqrt

from tenantcache.ratelimit.core.need import Need
from tenantcache.ratelimit.core.policy import ReservePolicy
from tenantcache.ratelimit.core.rest import RestingForecast
from tenantcache.ratelimit.core.windows import MINUTE

PAST_WEIGHT = 30.0
"""Seconds of evidence that the past minutes count for: half a minute, so that a demand that has changed
outweighs its past within the minute in which it changes."""

COLD_WEIGHT = 2.0
"""Seconds without demand assumed before a process first saw the tenant: one request is not a flood."""

SMOOTHING = 0.3
"""Share of the newest minute in the mean of the past: a demand that ends is forgotten (to 3 %) after ten minutes."""

FLOOD = 2.0
"""Demand, in limits a minute, that is assumed of a tenant that reached its limit a minute ago."""

GRACE = 3.0
"""Seconds for which a counter is believed unchanged: at a minute's start every process takes its share within them."""


class Demand:
    """The tokens that a tenant asks of this process."""

    __slots__ = ("denied", "mean", "since")

    def __init__(self, now: float) -> None:
        self.since: float = now
        """Server time from which the current minute is observed."""
        self.mean: float | None = None
        """Tokens a minute over the past minutes, the newest weighing most; None until one is over."""
        self.denied: int = 0
        """Tokens asked for and refused in the current minute."""

    @property
    def is_new(self) -> bool:
        """Whether no minute has ended since the process first saw the tenant, and the counters told it of no demand."""
        return self.mean is None

    def close(self, spent: int, minutes: int, start: int) -> None:
        """End the minute, with `spent` tokens admitted in it; the next one seen begins at `start`, `minutes` later.

        The first minute is seldom a whole one: it is scaled up by the part that was observed, at most to twice.
        """
        asked = float(spent + self.denied)
        if self.mean is None:
            observed = start - (minutes - 1) * MINUTE - self.since
            self.mean = asked * MINUTE / max(observed, MINUTE / 2)
        else:
            self.mean += SMOOTHING * (asked - self.mean)
        self.mean *= (1 - SMOOTHING) ** min(minutes - 1, 60)
        self.denied = 0
        self.since = float(start)

    def rate(self, spent: int, now: float) -> float:
        """Return tokens a second, given that `spent` were admitted since the minute began."""
        elapsed = max(0.0, now - self.since)
        seen = spent + self.denied
        if self.mean is None:
            return seen / (elapsed + COLD_WEIGHT)
        return (seen + self.mean / MINUTE * PAST_WEIGHT) / (elapsed + PAST_WEIGHT)


class CounterLevel:
    """The tokens that all processes together took of a minute, as last seen in its counter."""

    __slots__ = ("at", "before", "value")

    def __init__(self, now: float) -> None:
        self.value: int = 0
        self.at: float = now
        """Server time when `value` was seen."""
        self.before: int = 0
        """The last value seen of the previous minute; 0 when none was."""

    def see(self, value: int, now: float, before: int | None = None) -> None:
        """`before` is the value of the previous minute, if it was read."""
        self.value, self.at = value, now
        if before is not None:
            self.before = before

    def close(self, minutes: int, start: int) -> None:
        self.before = self.value if minutes == 1 else 0
        self.value, self.at = 0, float(start)

    def peak(self) -> int:
        """The most seen of this minute or of the one before."""
        return max(self.value, self.before)

    def estimate(self, now: float, limit: int, *, pressed: bool) -> float:
        """Return the tokens taken by `now`.

        `pressed`: the tenant reaches its limit. Then the counter is assumed to rise fast, because a claim past the
        limit buries what others give back; to ask for one token and see the counter is the cheaper error.
        """
        if pressed:
            return self.value + FLOOD * limit * max(0.0, now - self.at - GRACE) / MINUTE
        return max(self.value, self.before * (now % MINUTE) / MINUTE)


class Pace:
    """Looks about once a second whether tokens are still being spent."""

    at: float
    rate: float
    spent: int

    __slots__ = ("at", "rate", "spent")

    def __init__(self, spent: int, rate: float, now: float) -> None:
        self.spent, self.rate, self.at = spent, rate, now

    def missed(self, spent: int, now: float) -> tuple[float, float]:
        """Return the seconds since a token was last seen spent, and the tokens missed at the pace before that."""
        elapsed = now - self.at
        if spent == self.spent:
            return elapsed, elapsed * self.rate
        self.rate += ((spent - self.spent) / max(elapsed, 0.1) - self.rate) / 8
        self.spent, self.at = spent, now
        return 0.0, 0.0


class Forecast:
    """What is asked of one process and taken by all of them, and the size of a minute's takes that follows."""

    demand: Demand
    usage: CounterLevel

    __slots__ = ("demand", "policy", "usage")

    def __init__(self, policy: ReservePolicy, now: float) -> None:
        self.policy: ReservePolicy = policy
        self.demand, self.usage = Demand(now), CounterLevel(now)

    def forget_usage(self, now: float) -> None:
        """The counter is another one, or was reset."""
        self.usage = CounterLevel(now)

    def go_back(self, now: float) -> None:
        """An earlier minute is entered; the demand of the past minutes stays."""
        self.demand.since, self.demand.denied = now, 0
        self.forget_usage(now)

    def close(self, spent: int, minutes: int, start: int) -> None:
        """End the minute, with `spent` tokens admitted here; the next one seen begins at `start`, `minutes` later."""
        self.demand.close(spent, minutes, start)
        self.usage.close(minutes, start)

    def learn(self, of_day: float, limit: int, processes: int) -> bool:
        """Expect what other processes are asked for, if nothing else is known here, nor is the tenant near its limit;
        return whether that is so. `of_day`: tokens a minute of each process, by the day's counter."""
        policy, peak = self.policy, self.usage.peak()
        mean = max(of_day, policy.demand_behind(self.usage.before / processes))
        taken = processes * (mean + policy.margin * sqrt(mean))
        if not mean or not self.demand.is_new or taken > policy.learns_most * limit:
            return False
        if peak > policy.learns_below * limit:
            return False
        self.demand.mean = mean
        return True

    def rest(self) -> RestingForecast | None:
        """What is known, if nothing was denied in this minute."""
        demand, usage = self.demand, self.usage
        if demand.denied:
            return None
        return RestingForecast(demand.mean, demand.since, usage.value, usage.at, usage.before)

    def resume(self, resting: RestingForecast) -> None:
        self.demand.mean, self.demand.since = resting.mean, resting.since
        self.usage.value, self.usage.at, self.usage.before = resting.used, resting.used_at, resting.used_before

    def low_water_mark(self, unspent: int, spent: int, now: float) -> int:
        """Return the demand of `lead` seconds, at most a quarter of what is held."""
        return min(unspent // 4, ceil(self.demand.rate(spent, now) * self.policy.lead))

    def left(self, limit: int, now: float) -> float:
        """Return what the counter of a fixed window is expected to have left."""
        pressed = self.policy.pressed(limit, self.usage.peak())
        return max(0.0, limit - self.usage.estimate(now, limit, pressed=pressed))

    def mean(self, spent: int, now: float) -> float:
        """Return the tokens a minute asked of this process over the past minutes; in its first one, in that."""
        return self.demand.rate(spent, now) * MINUTE if self.demand.mean is None else self.demand.mean

    def in_advance(self, spent: int, now: float, limit: int, processes: int) -> int:
        """Return the tokens to reserve of each minute."""
        return self.policy.in_advance(limit, processes, self.usage.peak(), self.mean(spent, now))

    def is_short(self, unspent: int, spent: int, now: float, end: int) -> bool:
        """Whether what is unspent may run out before the minute's end."""
        expected = self.expected(spent, now, end)
        return unspent < expected + self.policy.trigger * sqrt(expected)

    def missing(self, need: Need, unspent: int, spent: int, end: int, limit: int, left: float, in_advance: int) -> int:
        """Return the tokens of this minute to ask for, beside `in_advance`, which are reserved of each.

        `unspent` and `spent` are this process's, `end` is the minute's, and `left` is what its counter has left.
        """
        if need.is_cautious:
            return need.cost - unspent
        if not (need.cost or need.is_along or self.is_short(unspent, spent, need.now, end)):
            return 0
        expected = need.cost + self.expected(spent, need.now, end)
        least = in_advance if need.cost else 0
        return max(need.cost, self.policy.wanted(expected, left / need.processes, least, limit)) - unspent

    def expected(self, spent: int, now: float, end: int) -> float:
        """Return the demand from `now` to the minute's end."""
        return self.demand.rate(spent, now) * min(MINUTE, max(0.0, end - now))
