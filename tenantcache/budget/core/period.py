"""The span of time that a provider bills, and that a budget is for: a month or a day, in UTC.

All times are seconds since the Unix epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DAY = 86_400
HOUR = 3_600

PeriodUnit = Literal["month", "day"]


@dataclass(frozen=True, slots=True)
class Period:
    """`start` belongs to it, `end` to the next one."""

    start: int
    end: int

    def holds(self, now: float) -> bool:
        return self.start <= now < self.end


def period_of(now: float, unit: PeriodUnit = "month", first_day: int = 1) -> Period:
    """The period that `now` belongs to. Months begin on their day `first_day`, from 1 to 28."""
    day = int(now // DAY)
    if unit == "day":
        return Period(day * DAY, (day + 1) * DAY)
    year, month, day_of_month = _date_of(day)
    if day_of_month < first_day:
        year, month = _month_after(year, month, -1)
    start, end = _number_of(year, month, first_day), _number_of(*_month_after(year, month, 1), first_day)
    return Period(start * DAY, end * DAY)


def _month_after(year: int, month: int, months: int) -> tuple[int, int]:
    year_more, month = divmod(month - 1 + months, 12)
    return year + year_more, month + 1


# Both ways between a date and the number of its day since 1970-01-01, by Howard Hinnant, "chrono-Compatible Low-Level
# Date Algorithms": years begin in March, so that the leap day is their last. `datetime` reads the clock, and so it may
# not be imported here.

_ERA = 146_097
"""Days of 400 years."""

_TO_1970 = 719_468
"""Days from 0000-03-01 to 1970-01-01."""


def _date_of(number: int) -> tuple[int, int, int]:
    era, day_of_era = divmod(number + _TO_1970, _ERA)
    year = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // (_ERA - 1)) // 365
    day_of_year = day_of_era - (365 * year + year // 4 - year // 100)
    month_from_march = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month_from_march + 2) // 5 + 1
    month = month_from_march + 3 if month_from_march < 10 else month_from_march - 9
    return era * 400 + year + (month <= 2), month, day


def _number_of(year: int, month: int, day: int) -> int:
    era, year_of_era = divmod(year - (month <= 2), 400)
    day_of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * _ERA + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - _TO_1970
