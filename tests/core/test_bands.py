"""The bands of a budget: edges, and what takes a fleet from one to another. `budget/core/bands.py` has the rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tenantcache.budget.core.bands import (
    CHANGES,
    DWELL,
    LAPSE,
    LATE,
    QUIET,
    SHARES,
    WANTED_INTERVAL,
    Band,
    BandChoice,
    BandProposal,
    Cause,
    Use,
    edges_of,
    has_to_want,
    propose,
    unreported_at_most,
)

PERIOD = 1_700_000_000.0
NOW = PERIOD + 86_400.0

USE = Use(PERIOD, used=0, budget=1_000_000, rate=1.0, processes=4)
THRIFT = BandChoice(1, Band.THRIFT, PERIOD, 1_000_000, 700_000, NOW - 3600, NOW - QUIET)
NO_COPIES = BandChoice(2, Band.NO_COPIES, PERIOD, 1_000_000, 900_000, NOW - DWELL, NOW - QUIET)
NO_REDIS = BandChoice(3, Band.NO_REDIS, PERIOD, 1_000_000, 980_000, NOW - 3600, NOW - QUIET)


def used(commands: int, **others: Any) -> Use:
    return replace(USE, used=commands, **others)


# Edges.


@pytest.mark.parametrize(
    ("use", "thrift", "no_copies", "no_redis"),
    [
        # The margin is less than 2 %: 2 * 1 * 200 + 20 * 4 = 480.
        (USE, 700_000, 900_000, 980_000),
        # 2 * 10 * 200 + 20 * 8 = 4,160 below the budget, and 2 * 10 * 300 below that.
        (Use(PERIOD, 0, 100_000, 10.0, 8), 70_000, 89_840, 95_840),
        # 2 * 30 * 200 + 20 = 12,020, and 18,000 below that: thrift begins with it.
        (Use(PERIOD, 0, 100_000, 30.0, 1), 69_980, 69_980, 87_980),
        # A budget for less than the time that it takes to leave Redis is used up from the start.
        (Use(PERIOD, 0, 1_000, 100.0, 1), 0, 0, 0),
    ],
)
def test_edges_leave_room_for_what_is_sent_until_redis_is_left(
    use: Use, thrift: int, no_copies: int, no_redis: int
) -> None:
    assert edges_of(use) == {Band.THRIFT: thrift, Band.NO_COPIES: no_copies, Band.NO_REDIS: no_redis}


def test_each_band_above_normal_has_a_share_and_each_band_a_row() -> None:
    assert set(CHANGES) == set(Band)
    assert set(SHARES) == set(Band) - {Band.NORMAL}
    assert [band for band in Band if Cause.RISES not in CHANGES[band]] == [Band.NO_REDIS]


# Up.


@pytest.mark.parametrize(
    ("row", "commands", "expected"),
    [
        (BandChoice(), 699_999, None),
        (BandChoice(), 700_000, Band.THRIFT),
        (BandChoice(), 999_999, Band.THRIFT),
        (THRIFT, 899_999, None),
        (THRIFT, 900_000, Band.NO_COPIES),
        (NO_COPIES, 979_999, None),
        (NO_COPIES, 980_000, Band.NO_REDIS),
        (NO_REDIS, 2_000_000, None),
    ],
)
def test_a_band_begins_at_its_edge_one_step_at_a_time(row: BandChoice, commands: int, expected: Band | None) -> None:
    proposal = propose(row, used(commands), NOW)
    if expected is None:
        assert proposal is None
    else:
        edge = int(SHARES[expected] * 1_000_000)
        assert proposal == BandProposal(row.version, expected, PERIOD, 1_000_000, edge, Cause.RISES)


def test_redis_is_left_only_after_the_dwell_in_the_band_before() -> None:
    row = replace(NO_COPIES, changed_at=NOW)
    assert propose(row, used(1_000_000), NOW + DWELL - 0.001) is None
    left = propose(row, used(1_000_000), NOW + DWELL)
    assert left is not None and left.band is Band.NO_REDIS


# Down.


@pytest.mark.parametrize(
    ("row", "least", "expected"),
    [(THRIFT, 680_000, Band.NORMAL), (NO_COPIES, 880_000, Band.THRIFT), (NO_REDIS, 960_000, Band.NO_COPIES)],
)
def test_a_band_is_left_downwards_below_its_edge_by_the_hysteresis(row: BandChoice, least: int, expected: Band) -> None:
    assert propose(row, used(least), NOW) is None
    assert has_to_want(row, used(least), NOW)
    proposal = propose(row, used(least - 1), NOW)
    assert proposal is not None
    assert (proposal.band, proposal.cause) == (expected, Cause.FALLS)
    assert not has_to_want(row, used(least - 1), NOW)


def test_a_band_stays_while_any_process_wants_it() -> None:
    row = replace(THRIFT, wanted_at=NOW)
    assert propose(row, used(0), NOW + QUIET - 0.001) is None
    assert propose(row, used(0), NOW + QUIET) is not None
    fresh = replace(THRIFT, changed_at=NOW, wanted_at=NOW - 1000)
    assert propose(fresh, used(0), NOW + QUIET - 0.001) is None


def test_a_process_says_that_it_wants_the_band_now_and_then() -> None:
    row = replace(THRIFT, wanted_at=NOW)
    assert not has_to_want(row, used(900_000), NOW + WANTED_INTERVAL - 0.001)
    assert has_to_want(row, used(900_000), NOW + WANTED_INTERVAL)
    assert not has_to_want(row, None, NOW + 1000)
    assert not has_to_want(BandChoice(), used(900_000), NOW + 1000)


def test_the_edge_of_a_band_stays_where_it_was_when_the_fleet_has_gone_quiet() -> None:
    """With no rate there is no margin: by itself the edge would be at 98 % again."""
    row = replace(NO_REDIS, edge=900_000)
    assert propose(row, used(900_000, rate=0.0), NOW) is None
    assert has_to_want(row, used(900_000, rate=0.0), NOW)


def test_a_budget_that_was_raised_ends_a_band() -> None:
    row, raised = replace(NO_REDIS, edge=900_000), used(985_000, budget=2_000_000)
    assert propose(replace(row, wanted_at=NOW), raised, NOW) is None  # another process still has the old one
    proposal = propose(row, raised, NOW)
    assert proposal is not None and proposal.cause is Cause.FALLS
    assert (proposal.band, proposal.budget, proposal.edge) == (Band.NO_COPIES, 2_000_000, 1_960_000)


def test_a_band_that_was_left_downwards_does_not_begin_again_at_once() -> None:
    falls = propose(NO_COPIES, used(879_999), NOW)
    assert falls is not None and falls.band is Band.THRIFT
    row = BandChoice(3, Band.THRIFT, PERIOD, 1_000_000, falls.edge, NOW, NOW)
    assert propose(row, used(879_999), NOW) is None
    assert propose(row, used(879_999), NOW + 3600) is None


# The period's edge.


@pytest.mark.parametrize("row", [THRIFT, NO_COPIES, NO_REDIS])
def test_a_new_period_begins_with_normal_a_minute_late(row: BandChoice) -> None:
    end = PERIOD + 30 * 86_400
    use = used(3, period=end)
    assert propose(row, use, end + LATE - 0.001) is None
    proposal = propose(row, use, end + LATE)
    assert proposal == BandProposal(row.version, Band.NORMAL, end, 1_000_000, 0, Cause.NEW_PERIOD)


def test_until_then_the_band_is_wanted() -> None:
    end = PERIOD + 30 * 86_400
    assert has_to_want(NO_REDIS, used(0, period=end), end + 1)


def test_a_process_that_is_still_in_the_period_before_changes_nothing() -> None:
    end = PERIOD + 30 * 86_400
    row = replace(THRIFT, period=end, changed_at=end)
    assert propose(row, used(1_000_000), end - 1) is None


def test_use_of_a_new_period_counts_against_that() -> None:
    end = PERIOD + 30 * 86_400
    assert propose(replace(THRIFT, band=Band.NORMAL), used(700_000, period=end), end + 1) == BandProposal(
        1, Band.THRIFT, end, 1_000_000, 700_000, Cause.RISES
    )


@pytest.mark.parametrize("earlier", [86_400, 14 * 86_400])
def test_a_period_that_began_earlier_counts_for_the_process_that_has_it(earlier: int) -> None:
    """The day of the bill was changed, or a budget for a day became one for a month, with the same number. What was
    used since then is more, and no later period would come for weeks."""
    row = replace(THRIFT, period=PERIOD + 86_400, changed_at=NOW)
    risen = propose(row, used(950_000, period=row.period - earlier), NOW)
    assert risen is not None and (risen.band, risen.cause) == (Band.NO_COPIES, Cause.RISES)
    assert has_to_want(row, used(690_000, period=row.period - earlier), NOW)
    assert not has_to_want(row, used(600_000, period=row.period - earlier), NOW)


def test_its_edge_is_not_that_of_another_period() -> None:
    row = replace(THRIFT, period=PERIOD + 60, edge=100_000)
    assert not has_to_want(row, used(600_000), NOW)


def test_two_processes_whose_periods_begin_at_other_times_do_not_take_turns() -> None:
    """That of one of them began yesterday, and little was used in it. The row was chosen by the other one today."""
    since_yesterday = used(1_000, period=NOW - 86_400)
    row = replace(NO_REDIS, period=PERIOD - 14 * 86_400, changed_at=NOW, wanted_at=NOW)
    assert propose(row, since_yesterday, NOW + 5) is None
    assert propose(row, since_yesterday, NOW + QUIET - 0.001) is None


def test_what_was_read_long_ago_does_not_take_a_band_down() -> None:
    assert propose(THRIFT, used(0), NOW) is not None
    assert propose(THRIFT, used(0, is_current=False), NOW) is None
    assert propose(BandChoice(), used(700_000, is_current=False), NOW) is not None


# Without a budget.


def test_a_band_that_no_process_wants_lapses() -> None:
    row = replace(NO_REDIS, changed_at=NOW - 1000, wanted_at=NOW)
    assert propose(row, None, NOW + LAPSE - 0.001) is None
    assert propose(row, None, NOW + LAPSE) == BandProposal(3, Band.NORMAL, PERIOD, 0, 0, Cause.LAPSED)
    assert propose(BandChoice(), None, NOW) is None


# Reports.


def test_reports_come_closer_together_as_an_edge_does() -> None:
    assert unreported_at_most(BandChoice(), used(0)) == 700_000 // 8
    assert unreported_at_most(THRIFT, used(899_200)) == 100
    assert unreported_at_most(NO_COPIES, used(979_990)) == 10
    assert unreported_at_most(NO_REDIS, used(980_000)) == 2_500
