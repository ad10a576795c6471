"""Prices by hand: what a use costs in each plan, which is the cheapest, and when a quota is used up."""

from __future__ import annotations

import pytest

from tenantcache.budget.core.plans import (
    FREE_PLAN,
    GB,
    PAY_AS_YOU_GO,
    PLANS,
    MonthlyUse,
    break_even,
    cheapest,
    monthly_cost,
    project,
)

DAY = 86_400
FIXED = PLANS["upstash-fixed-250mb"]


@pytest.mark.parametrize(
    ("plan", "use", "dollars"),
    [
        ("upstash-free", MonthlyUse(500_000), 0.0),
        ("upstash-free", MonthlyUse(500_001), None),
        ("upstash-free", MonthlyUse(1, bytes_stored=(256 << 20) + 1), None),
        ("upstash-free", MonthlyUse(1, bytes_moved=11 * GB), None),
        ("upstash-payg", MonthlyUse(100_000), 0.20),
        ("upstash-payg", MonthlyUse(42_000_000), 84.0),  # the bill that a public report complains of
        ("upstash-payg", MonthlyUse(0, bytes_stored=3 * GB), 0.50),
        ("upstash-payg", MonthlyUse(0, bytes_moved=300 * GB), 3.0),
        ("upstash-payg", MonthlyUse(0, bytes_stored=101 * GB), None),
        ("upstash-fixed-250mb", MonthlyUse(1e9), 10.0),
        ("upstash-fixed-250mb", MonthlyUse(1, bytes_stored=251 << 20), None),
        ("upstash-fixed-1gb", MonthlyUse(1, bytes_stored=251 << 20), 20.0),
        ("upstash-fixed-250mb", MonthlyUse(1, bytes_moved=51 * GB), None),
        ("upstash-fixed-500gb", MonthlyUse(1, bytes_stored=500 * GB), 1_500.0),
    ],
)
def test_what_a_month_costs(plan: str, use: MonthlyUse, dollars: float | None) -> None:
    assert monthly_cost(PLANS[plan], use) == (None if dollars is None else pytest.approx(dollars))


def test_the_break_even_of_the_smallest_fixed_plan_is_five_million_commands() -> None:
    assert break_even(FIXED) == pytest.approx(5_000_000)
    below, above = MonthlyUse(4_999_000), MonthlyUse(5_001_000)
    assert [plan.name for use in (below, above) if (best := cheapest(use)) for plan in [best[0]]] == [
        "upstash-payg",
        "upstash-fixed-250mb",
    ]


def test_the_free_plan_is_the_cheapest_while_it_suffices_and_nothing_fits_everything() -> None:
    best = cheapest(MonthlyUse(1_000))
    assert best == (FREE_PLAN, 0.0)
    assert cheapest(MonthlyUse(1, bytes_stored=501 * GB)) is None


def test_a_quota_that_lasts() -> None:
    outlook = project(500_000, 0.1, elapsed=10 * DAY, length=30 * DAY)
    assert outlook.ends_in is None
    assert outlook.used == pytest.approx(86_400)
    assert outlook.full_month == pytest.approx(259_200)


def test_a_quota_that_ends_within_the_month() -> None:
    # 1 a second: 432,000 in 5 days, and the other 68,000 in as many seconds.
    outlook = project(500_000, 1.0, elapsed=5 * DAY, length=30 * DAY)
    assert outlook.ends_in == pytest.approx(68_000)
    assert outlook.full_month == pytest.approx(2_592_000)


def test_a_quota_that_is_used_up() -> None:
    assert project(500_000, 1.0, elapsed=6 * DAY, length=30 * DAY).ends_in == 0.0


def test_what_is_known_to_be_used_counts_and_not_the_rate() -> None:
    outlook = project(500_000, 1.0, elapsed=6 * DAY, length=30 * DAY, used=400_000)
    assert (outlook.used, outlook.ends_in) == (400_000, 100_000.0)


def test_a_rate_of_nothing_never_ends_a_quota() -> None:
    assert project(500_000, 0.0, elapsed=DAY, length=30 * DAY).ends_in is None


def test_pay_as_you_go_has_no_quota() -> None:
    assert PAY_AS_YOU_GO.quota is None
