"""What will have been used at a period's end, with an interval, and when a budget will be used up.

The mean method: the rest of the period goes on as the last days went on average. Days are spans of 24 hours that end
now, so that each of them has a whole course of day and night. If the use of days is independent, with a standard
deviation s that was estimated from n of them, the sum of d days to come misses d times the mean by a standard deviation
of s * sqrt(d + d * d / n): the first part is the days' own, the second the mean's. 95 % lie within t times that, by
Student's distribution with n - 1 degrees of freedom. Source: Hyndman and Athanasopoulos, "Forecasting: Principles and
Practice" (3rd edition), 5.2 and 5.5, for sums of days.

Before two days were seen, the course of a day is not known, and the interval is from half to five times the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

from tenantcache.budget.core.period import DAY, HOUR, Period

MOST_DAYS = 28
"""Days that are looked back: four of each weekday."""

HOURS_PER_DAY = DAY // HOUR

LEAST, MOST = 0.5, 5.0
"""Of what the rate of a part of a day promises. At its peak a fleet's rate is about twice the mean; at night the mean
is five times the rate."""

T_95 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13)
"""Student's t for 95 %, two-sided, by degrees of freedom from 1 on."""
T_95_MORE = 2.1
"""The same for any more of them, up to 27."""

_STEPS = 40
"""Halvings of a time that is looked for: 31 days to the second take 22."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Billed units at the period's end: `expected`, and 95 % of periods like this end from `low` to `high`.

    `per_day` is the mean of the `days` (24 hours each, up to 28) that it goes by. `exhausted_at` is when the budget is
    expected to be used up, in seconds since the Unix epoch, and `exhausted_from` the earliest time that the interval
    allows; None: not in this period, or there is no budget.
    """

    expected: int
    low: int
    high: int
    per_day: float
    days: float
    exhausted_at: float | None
    exhausted_from: float | None


@dataclass(frozen=True, slots=True)
class _Trend:
    per_day: float
    deviation: float
    days: float

    def after(self, days: float) -> tuple[float, float, float]:
        """What is used in so many days to come: at least, as expected, at most."""
        expected = self.per_day * days
        if self.days < 2:
            return expected * LEAST, expected, expected * MOST
        degrees = int(self.days) - 1
        t = T_95[degrees - 1] if degrees <= len(T_95) else T_95_MORE
        margin = t * self.deviation * sqrt(days + days * days / int(self.days))
        return max(0.0, expected - margin), expected, expected + margin


def forecast(
    used: float, hours: Mapping[int, float], now: float, period: Period, budget: int | None = None
) -> Forecast:
    """`used`: in `period` until `now`. `hours`: what was used by number of the hour since the Unix epoch, in earlier
    periods too; the one of `now` is not complete. An hour without an entry after the first one was without use."""
    trend = _trend_of(hours, now)
    low, expected, high = (used + more for more in trend.after((period.end - now) / DAY))

    def reached(place: int) -> float | None:
        return None if budget is None else _reached(trend, place, budget - used, now, period.end)

    return Forecast(
        *(round(expected), round(low), round(high), trend.per_day, trend.days),
        exhausted_at=reached(1),
        exhausted_from=reached(2),
    )


def _trend_of(hours: Mapping[int, float], now: float) -> _Trend:
    """The days are counted back from the last full hour. Before one is complete, the hours there are stand for it."""
    last = int(now // HOUR)
    first = max(min(hours, default=last), last - MOST_DAYS * HOURS_PER_DAY)
    days = [
        sum(hours.get(hour, 0.0) for hour in range(end - HOURS_PER_DAY, end))
        for end in range(last, first + HOURS_PER_DAY - 1, -HOURS_PER_DAY)
    ]
    if len(days) < 2:
        seen = max(now / HOUR - first, 1.0)
        total = sum(hours.get(hour, 0.0) for hour in range(first, last + 1))
        return _Trend(total * HOURS_PER_DAY / seen, 0.0, seen / HOURS_PER_DAY)
    mean = sum(days) / len(days)
    return _Trend(mean, sqrt(sum((day - mean) ** 2 for day in days) / (len(days) - 1)), len(days))


def _reached(trend: _Trend, place: int, left: float, now: float, end: float) -> float | None:
    """When `left` is used up, by one of the three courses of `trend`; None if not before `end`."""
    if left <= 0:
        return now
    early, late = 0.0, (end - now) / DAY
    if trend.after(late)[place] < left:
        return None
    for _ in range(_STEPS):
        middle = (early + late) / 2
        if trend.after(middle)[place] < left:
            early = middle
        else:
            late = middle
    return now + late * DAY
