"""The span of time that is billed, against Python's own calendar."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantcache.budget.core.period import Period, period_of


def at(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp())  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("now", "first_day", "start", "end"),
    [
        ((2026, 11, 26, 10), 1, (2026, 11, 1), (2026, 12, 1)),
        ((2026, 12, 31, 23, 59, 59), 1, (2026, 12, 1), (2027, 1, 1)),
        ((2027, 1, 1), 1, (2027, 1, 1), (2027, 2, 1)),
        ((2028, 2, 29), 1, (2028, 2, 1), (2028, 3, 1)),
        ((2026, 1, 14), 15, (2025, 12, 15), (2026, 1, 15)),
        ((2026, 1, 15), 15, (2026, 1, 15), (2026, 2, 15)),
        ((2026, 3, 1), 28, (2026, 2, 28), (2026, 3, 28)),
    ],
)
def test_months(now: tuple[int, ...], first_day: int, start: tuple[int, ...], end: tuple[int, ...]) -> None:
    assert period_of(at(*now), "month", first_day) == Period(at(*start), at(*end))


def test_days() -> None:
    period = period_of(at(2026, 11, 26, 10), "day", 15)
    assert period == Period(at(2026, 11, 26), at(2026, 11, 27))
    assert period.holds(at(2026, 11, 26))
    assert not period.holds(at(2026, 11, 27))


@given(now=st.integers(0, at(2400, 1, 1)), first_day=st.integers(1, 28))
def test_a_month_begins_on_its_day_and_holds_the_time(now: int, first_day: int) -> None:
    period = period_of(now, "month", first_day)
    start, end = (datetime.fromtimestamp(edge, UTC) for edge in (period.start, period.end))
    assert period.holds(now)
    assert (start.day, end.day) == (first_day, first_day)
    assert (start.hour, start.minute, start.second) == (0, 0, 0)
    assert (end.year * 12 + end.month) - (start.year * 12 + start.month) == 1
