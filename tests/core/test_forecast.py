"""The estimates that size a take."""

from __future__ import annotations

import pytest

from tenantcache.ratelimit.core.forecast import CounterLevel, Demand, Forecast, Pace
from tenantcache.ratelimit.core.policy import ReservePolicy

START = 20_000 * 86_400


def test_one_request_is_no_flood() -> None:
    assert Demand(START).rate(1, START) == 0.5


def test_a_new_demand_is_taken_as_it_shows() -> None:
    assert Demand(START).rate(36, START + 16) == 2.0


def test_the_past_weighs_as_much_as_half_a_minute() -> None:
    demand = Demand(START)
    demand.close(120, 1, START + 60)
    assert demand.mean == 120
    assert demand.rate(0, START + 60) == 2.0
    assert demand.rate(0, START + 90) == 1.0


def test_denied_requests_are_demand() -> None:
    demand = Demand(START)
    demand.denied = 60
    demand.close(60, 1, START + 60)
    assert demand.mean == 120
    assert demand.denied == 0


def test_a_first_minute_seen_in_part_is_scaled_up_to_twice_at_most() -> None:
    late = Demand(START + 40)
    late.close(30, 1, START + 60)
    assert late.mean == 60
    early = Demand(START + 12)
    early.close(40, 1, START + 60)
    assert early.mean == 50


def test_minutes_without_a_request_count_as_such() -> None:
    demand = Demand(START)
    demand.close(100, 1, START + 60)
    demand.close(0, 3, START + 240)
    assert demand.mean == pytest.approx(34.3)


def test_a_counter_is_believed_for_a_moment_and_then_assumed_to_rise() -> None:
    usage = CounterLevel(START)
    usage.see(100, START + 10)
    assert usage.estimate(START + 13, 600, pressed=True) == 100
    assert usage.estimate(START + 18, 600, pressed=True) == 200
    assert usage.estimate(START + 18, 600, pressed=False) == 100


def test_a_counter_not_seen_yet_is_assumed_to_rise_as_a_minute_ago() -> None:
    usage = CounterLevel(START)
    usage.see(300, START + 50)
    usage.close(1, START + 60)
    assert usage.estimate(START + 60 + 20, 600, pressed=False) == 100
    assert usage.peak() == 300
    usage.close(2, START + 180)
    assert usage.peak() == 0


def test_pace_tells_how_much_did_not_come() -> None:
    pace = Pace(0, 10.0, START)
    assert pace.missed(30, START + 1) == (0.0, 0.0)
    assert pace.missed(30, START + 3) == (2.0, 25.0), "an eighth of the way from 10 a second to 30"


@pytest.mark.parametrize(
    ("expected", "fair", "tokens"),
    [
        (100.0, 400.0, 140),  # four standard deviations on top
        (100.0, 150.0, 100),  # a third of the fair share stays for others
        (400.0, 150.0, 150),  # all of it will be spent here
        (400.0, 2.0, 6),  # the last tokens of the limit: a hundredth of it at a time
        (1.0, 400.0, 15),  # a seldom tenant: as much as is reserved of a minute
        (1.0, 4.0, 4),
        (0.0, 4.0, 4),
        (1.0, 0.0, 0),
    ],
)
def test_tokens_wanted(expected: float, fair: float, tokens: int) -> None:
    assert ReservePolicy().wanted(expected, fair, 15, 600) == tokens


def test_nothing_is_reserved_in_advance_near_the_limit() -> None:
    policy = ReservePolicy()
    assert policy.in_advance(600, 4, 540, mean=100) == 15
    assert policy.in_advance(600, 4, 541, mean=100) == 0
    assert policy.in_advance(7, 4, 0, mean=100) == 0


def test_what_is_reserved_in_advance_is_the_demand_and_its_noise_within_a_share_of_the_pool() -> None:
    policy = ReservePolicy()
    assert (policy.pool(600), policy.pool(7)) == (60, 0)
    assert policy.in_advance(600, 4, 0, mean=0) == 4, "demand may come"
    assert policy.in_advance(600, 4, 0, mean=1) == 6, "five standard deviations on top"
    assert policy.in_advance(600, 4, 0, mean=4) == 14
    assert policy.in_advance(600, 4, 0, mean=9) == 15, "a fourth of the pool"


def test_a_refill_is_worth_a_command_if_a_standard_deviation_more_may_be_asked_for() -> None:
    forecast = Forecast(ReservePolicy(), START)
    forecast.close(100, 1, START + 60)
    assert forecast.expected(0, START + 60, START + 120) == 100
    assert forecast.is_short(109, 0, START + 60, START + 120)
    assert not forecast.is_short(110, 0, START + 60, START + 120)


def test_a_day_chunk_is_an_hour_of_demand_within_the_reserve_and_half_a_fair_share() -> None:
    policy = ReservePolicy()
    assert policy.day_chunk(0, 100_000, 4) == 250, "a hundredth of the fair share"
    assert policy.day_chunk(100, 100_000, 4) == 6_000
    assert policy.day_chunk(1_000, 100_000, 4) == 12_500
    assert policy.day_chunk(1_000, 3, 4) == 0
