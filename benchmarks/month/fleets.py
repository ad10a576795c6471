"""The fleets, their tenants, and the course of their days."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import ceil

from tenantcache.ratelimit.core.windows import DAY
from tenantcache.ratelimit.slots import GROUP_SIZE
from tenantcache.tenant import Limits

HOUR = 3600
EPOCH = 20_000 * DAY
"""A midnight: the day that is counted begins here."""

PLANS = (Limits(600, 100_000), Limits(6_000, 1_000_000), Limits(60_000, 10_000_000))
"""What a tenant may ask for. It has the least plan that suits it, as in a fleet that bills for plans."""

ROOM = 3.0
"""A plan suits a tenant if it is at least so many times what the tenant asks for on average: peaks are at 1.8."""

HOURS = (9, 6, 5, 5, 6, 9, 16, 26, 36, 43, 45, 44, 41, 43, 45, 45, 43, 38, 31, 25, 21, 18, 15, 12)
"""Requests in each hour of a day, in proportion: a peak of 1.7 times the mean, and nights of a fifth of it."""


@dataclass(frozen=True)
class Stratum:
    """A group of tenants that is simulated, by their ranks from 0, for `weight` groups. Groups share no command."""

    ranks: tuple[int, ...]
    weight: int


@dataclass(frozen=True)
class Fleet:
    """`rate`: requests a second on average, of all tenants; that of rank r is in proportion to 1/r."""

    name: str
    tenants: int
    rate: float
    processes: int

    def with_processes(self, processes: int) -> Fleet:
        return replace(self, processes=processes)

    def strata(self) -> list[Stratum]:
        """The group of the busiest tenant, and the middle one, which stands for all others.

        Tenants are dealt out by their ranks, to and fro: the order of slots has nothing to do with demand.
        """
        groups = ceil(self.tenants / GROUP_SIZE)
        members: list[list[int]] = [[] for _ in range(groups)]
        for rank in range(self.tenants):
            round_, place = divmod(rank, groups)
            members[groups - 1 - place if round_ % 2 else place].append(rank)
        first = Stratum(tuple(members[0]), 1)
        return [first] if groups == 1 else [first, Stratum(tuple(members[groups // 2]), groups - 1)]

    def rates(self) -> list[float]:
        total = sum(1 / rank for rank in range(1, self.tenants + 1))
        return [self.rate / total / rank for rank in range(1, self.tenants + 1)]


FLEETS = {
    "hobby": Fleet("hobby", 100, 1.0, 2),
    "startup": Fleet("startup", 2_000, 50.0, 8),
    "scale": Fleet("scale", 10_000, 1_000.0, 16),
    "published": Fleet("published", 10_000, 1_000.0, 4),
}


def plan_of(rate: float) -> Limits:
    """The plan of a tenant who asks for `rate` requests a second on average."""
    return next((plan for plan in PLANS if _suits(plan, rate)), PLANS[-1])


def _suits(plan: Limits, rate: float) -> bool:
    assert plan.per_minute is not None and plan.per_day is not None
    return plan.per_minute >= ROOM * rate * 60 and plan.per_day >= ROOM / 2 * rate * DAY


class Course:
    """How the rate of requests runs through a day. `hours` are in proportion, and recur."""

    def __init__(self, hours: Sequence[float] = HOURS) -> None:
        span, total = DAY / len(hours), sum(hours)
        self._span = span
        self._factors = [hour * len(hours) / total for hour in hours]
        self._sums = [0.0, *accumulate(factor * span for factor in self._factors)]

    def factor(self, now: float) -> float:
        """The rate at `now`, as a multiple of the mean."""
        return self._factors[int(now % DAY / self._span)]

    def after(self, now: float, amount: float) -> float:
        """The time at which so many average seconds' requests have come since `now`."""
        days, second = divmod(now, DAY)
        place = int(second / self._span)
        done = self._sums[place] + (second - place * self._span) * self._factors[place] + amount
        more, done = divmod(done, DAY)
        place = min(bisect_right(self._sums, done) - 1, len(self._factors) - 1)
        return (days + more) * DAY + place * self._span + (done - self._sums[place]) / self._factors[place]
