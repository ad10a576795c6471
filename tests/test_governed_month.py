"""The governed month in short: a day of a small fleet that would use three times its budget for a day."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.governed_month import SMALL, TIMES, Outcome, Terms, faults, live, table
from tenantcache.budget.core.bands import Band

FLEET = replace(SMALL, tenants=8, rate=0.4)

# Two days of 30,000 requests each, before the first test.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def days() -> tuple[Outcome, Outcome]:
    """Without a budget, and with a third of what that used."""
    free = live(FLEET, Terms(None, is_daily=True), 1)
    return free, live(FLEET, Terms(free.life.by_period[0] // TIMES, is_daily=True), 1)


def test_a_fleet_that_would_use_three_times_its_budget_stays_within(days: tuple[Outcome, Outcome]) -> None:
    free, governed = days
    assert free.life.changes == []
    assert free.life.by_period[0] > 300
    assert faults(governed) == []
    assert governed.life.by_period[0] <= free.life.by_period[0] / TIMES
    assert [band for _, band in governed.life.changes] == [
        Band.THRIFT,
        Band.NO_COPIES,
        Band.NO_REDIS,
        Band.NORMAL,
    ]
    assert governed.life.stores.failover.choice.store == "redis"  # it is back after the day's edge
    assert governed.answers.requests == pytest.approx(free.answers.requests, rel=0.05)
    assert governed.answers.unavailable <= 3  # in the last second before a move no tokens of a day are taken


def test_the_table_adds_up(days: tuple[Outcome, Outcome]) -> None:
    free, governed = days
    text = table(governed, free)
    assert f"Without a budget: {free.total:,} billed commands" in text
    assert sum(stretch.commands for stretch in governed.life.by_band.values()) == governed.life.by_period.total()
    assert governed.life.by_period.total() == sum(governed.life.counters.bill.commands.values())


def test_a_budget_that_is_passed_and_a_limit_that_is_broken_are_faults(days: tuple[Outcome, Outcome]) -> None:
    _, governed = days
    governed.life.by_period[7] = 1_000_000
    governed.life.failed_lookups += 1
    governed.answers.over += 2
    try:
        assert faults(governed) == [
            "period 7 was billed 1000000 commands",
            "2 requests were admitted beyond their limits",
            "1 lookups failed",
        ]
    finally:
        del governed.life.by_period[7]
        governed.life.failed_lookups = governed.answers.over = 0
