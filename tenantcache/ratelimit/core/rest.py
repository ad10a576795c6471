"""What is left of a reservation at rest: numbers from which it is made anew.

A reservation rests if nothing of it is owed, refused, watched, or to be drained. Most tenants' reservations rest most
of the time. What they hold, and know of their counters and of their demand, is a few numbers then. One that is made of
them goes on as if it had been there all the time. If a take of it is in flight, that is kept beside them.
"""

from __future__ import annotations

from typing import NamedTuple

from tenantcache.ratelimit.core.windows import Calendar
from tenantcache.tenant import Limits


class RestingCounters(NamedTuple):
    """Of a minute of that `number` nothing is taken alone. `reserved` and `next_reserved` tokens are granted of each
    minute of its quarter and of the next one, in counters of `version`. The others are those of `Advance`."""

    number: int
    version: object
    reserved: int
    next_reserved: int
    asked: int
    barred: int


class RestingForecast(NamedTuple):
    """The fields of `Demand` and `CounterLevel`."""

    mean: float | None
    since: float
    used: int
    used_at: float
    used_before: int


class RestingMinute(NamedTuple):
    """`low` of the reserved tokens are below the low-water mark. None are spent."""

    low: int
    counters: RestingCounters
    forecast: RestingForecast


class RestingDay(NamedTuple):
    """Of the day that begins at `start`: tokens `taken` of it, and `spent`; its counter was at `used`."""

    start: float
    taken: int
    spent: int
    used: int


class Resting(NamedTuple):
    """`is_cautious`: its last take failed."""

    limits: Limits
    calendar: Calendar
    minute: RestingMinute
    day: RestingDay
    is_cautious: bool = False
