"""What will have been used at a period's end."""

from __future__ import annotations

from random import Random

import pytest

from tenantcache.budget.core.forecast import forecast
from tenantcache.budget.core.period import DAY, HOUR, Period

START = 20_000 * DAY
MONTH = Period(START, START + 30 * DAY)
FIRST = START // HOUR


def steady(days: int, per_hour: float = 10.0, first: int = FIRST) -> dict[int, float]:
    return dict.fromkeys(range(first, first + 24 * days), per_hour)


def test_what_never_varies_is_known_to_the_unit() -> None:
    found = forecast(2_400, steady(10), START + 10 * DAY, MONTH, budget=4_800)
    assert (found.low, found.expected, found.high) == (7_200, 7_200, 7_200)
    assert (found.per_day, found.days) == (240, 10)
    assert found.exhausted_at == pytest.approx(START + 20 * DAY, abs=1)
    assert found.exhausted_from == pytest.approx(START + 20 * DAY, abs=1)


def test_a_budget_that_suffices_is_not_exhausted() -> None:
    found = forecast(2_400, steady(10), START + 10 * DAY, MONTH, budget=7_201)
    assert (found.exhausted_at, found.exhausted_from) == (None, None)


def test_a_budget_that_is_used_up_was_exhausted_by_now() -> None:
    now = START + 10 * DAY
    found = forecast(2_400, steady(10), now, MONTH, budget=2_400)
    assert (found.exhausted_at, found.exhausted_from) == (now, now)


def test_the_days_before_the_period_count_as_well() -> None:
    found = forecast(0, steady(4, first=FIRST - 96), float(START), MONTH)
    assert (found.low, found.expected, found.high) == (7_200, 7_200, 7_200)


def test_only_the_last_four_weeks_count() -> None:
    hours = steady(100, first=FIRST - 2_400) | steady(28, 1.0, first=FIRST - 28 * 24)
    found = forecast(0, hours, float(START), MONTH)
    assert (found.expected, found.days) == (720, 28)


def test_the_course_of_a_day_does_not_tell_in_the_forecast() -> None:
    """Use comes in one hour of the day: whatever the hour of the look is, a day is a day."""
    hours = {FIRST + 24 * day + 12: 240.0 for day in range(11)} | {FIRST: 0.0}
    for hour in range(24):
        now = START + 9 * DAY + hour * HOUR
        used = sum(billed for number, billed in hours.items() if number * HOUR < now)
        found = forecast(used, hours, now, MONTH)
        assert found.per_day == pytest.approx(240)


def test_before_two_days_were_seen_the_interval_is_wide() -> None:
    found = forecast(100, {FIRST: 50.0, FIRST + 1: 50.0}, START + 2 * HOUR, MONTH)
    assert found.expected == 100 + 50 * (30 * 24 - 2)
    assert (found.low, found.high) == (100 + 25 * (30 * 24 - 2), 100 + 250 * (30 * 24 - 2))


def test_without_any_use_nothing_is_expected() -> None:
    found = forecast(0, {}, float(START), MONTH, budget=10)
    assert (found.low, found.expected, found.high, found.exhausted_at) == (0, 0, 0, None)


def test_at_the_end_it_is_what_was_used() -> None:
    found = forecast(7_200, steady(30), MONTH.end - 1e-6, MONTH)
    assert (found.low, found.expected, found.high) == (7_200, 7_200, 7_200)


@pytest.mark.parametrize("seen", [4, 7, 14, 21])
def test_the_interval_holds_the_truth_nineteen_times_in_twenty(seen: int) -> None:
    """Days that are independent, with a spread of a quarter, each with a course of its own."""
    runs, held, width = 400, 0, 0.0
    for seed in range(runs):
        random = Random(f"{seen}/{seed}")
        days = [max(0.0, random.gauss(1_000, 250)) for _ in range(30)]
        hours = {FIRST + 24 * day + hour: days[day] / 24 for day in range(seen) for hour in range(24)}
        found = forecast(sum(days[:seen]), hours, START + seen * DAY, MONTH)
        held += found.low <= sum(days) <= found.high
        width += (found.high - found.low) / 30_000
    assert 0.925 <= held / runs <= 0.98
    assert width / runs < {4: 0.8, 7: 0.45, 14: 0.23, 21: 0.14}[seen]
