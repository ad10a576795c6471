"""Fixed windows on the server's clock.

A window is named by its unit and its number since the Unix epoch. So two processes that agree on the server's time
agree on the window without talking. Minutes and quarters of an hour are those of UTC. Days are those of the tenant's
time zone: a day's number is that of its date (1970-01-01 is 0). A `Calendar` tells when it starts and ends, because
zones come from files. Limits are of minutes and days. The counter of a quarter holds what is reserved of each of its
minutes at once (`advance.py`). Times are seconds since the Unix epoch, as floats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import Final, Literal, NamedTuple

Policy = Literal["minute", "day"]
Unit = Literal["minute", "quarter", "day"]

MINUTE = 60
QUARTER = 900
MINUTES_PER_QUARTER = 15
DAY = 86_400
MINUTES_PER_DAY = 1440

SECONDS: Mapping[Unit, int] = {"minute": MINUTE, "quarter": QUARTER, "day": DAY}

UNLIMITED = 1 << 62
"""Tokens of a window without a limit: more than any process can spend."""


class Window(NamedTuple):
    """`Window("minute", 29_000_000)`."""

    unit: Unit
    number: int

    @property
    def start(self) -> int:
        """When it starts in UTC; a day in another time zone starts up to 14 hours earlier or 12 later."""
        return self.number * SECONDS[self.unit]


def minute_at(server_time: float) -> int:
    return int(server_time // MINUTE)


class Day(NamedTuple):
    """A day of some time zone: the number of its date, when it starts, and the first second after it."""

    number: int
    start: float
    end: float


Calendar = Callable[[float], Day]
"""The day in which a server time lies. Days of one calendar follow each other without gap or overlap."""


def utc_day(server_time: float) -> Day:
    return _utc_day(int(server_time // DAY))


@lru_cache(maxsize=8)  # all tenants share their days
def _utc_day(number: int) -> Day:
    return Day(number, number * DAY, (number + 1) * DAY)


def minute_end(number: int) -> int:
    """First second after the minute of that number."""
    return (number + 1) * MINUTE


class OutOfReach(Enum):
    """Read in place of a past minute's counter that is in another store, which the fleet has left."""

    OUT_OF_REACH = "out of reach"


OUT_OF_REACH: Final = OutOfReach.OUT_OF_REACH

CounterValue = int | OutOfReach
"""What a counter held after a debit. Only a past minute that was not debited is out of reach."""

CounterValues = Sequence[Sequence[CounterValue | None]]
"""What stores have answered to a batch, by account and debit; None: it is not known."""


def quarter_of(minute: int) -> int:
    """The number of the quarter of an hour in which the minute of that number lies."""
    return minute // MINUTES_PER_QUARTER


class Debit(NamedTuple):
    """Tokens to take from a window's counter (amount > 0), to give back (< 0), or only to read (0)."""

    window: Window
    amount: int
