"""Sliding minutes against scripted counters: what the previous minute leaves, and until when a refusal is final."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.ratelimit.core.sliding import allowance, free_at
from tenantcache.ratelimit.core.windows import OUT_OF_REACH, Window
from tenantcache.tenant import Limits
from tests.core.test_reservation import MINUTE, NOON, Counters, minute


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.mark.parametrize(
    ("limit", "previous", "elapsed", "expected"),
    [(100, 0, 0, 100), (100, 100, 0, 0), (100, 100, 30, 50), (100, 60, 15, 55), (100, 100, 59.5, 99), (10, 7, 3, 3)],
)
def test_the_previous_minute_weighs_less_by_the_second(
    limit: int, previous: int, elapsed: float, expected: int
) -> None:
    assert allowance(limit, previous, elapsed) == expected


@example(limit=5_500, previous=10_000, used=0, tokens=1)
@example(limit=69, previous=100, used=11, tokens=3)
@given(
    limit=st.integers(1, 10_000),
    previous=st.integers(0, 10_000),
    used=st.integers(0, 10_000),
    tokens=st.integers(1, 10_000),
)
def test_free_at_is_neither_early_nor_late(limit: int, previous: int, used: int, tokens: int) -> None:
    """From both sides: at that time there is room, and just before there was none."""
    used = min(used, limit - 1)
    tokens = min(tokens, limit - used)
    at = free_at(limit, previous, used, tokens)
    assert allowance(limit, previous, at) >= used + tokens
    assert at <= 0.001 or limit - previous * (1 - (at - 0.00106) / 60) < used + tokens + 1e-6


def test_the_previous_minute_is_read_with_each_take_and_nothing_is_reserved(counters: Counters) -> None:
    r = Reservation(Limits(600, None), NOON, slides=True)
    counters.serve(r, NOON, processes=4)
    assert [debit.window for debit in counters.takes[0]] == [minute(0), minute(-1)]
    assert counters.takes[0][1].amount == 0


def test_half_a_minute_later_half_of_it_is_free(counters: Counters) -> None:
    counters.values[minute(-1)] = 100
    r = Reservation(Limits(100, None), NOON, slides=True)
    assert counters.exhaust(r, NOON + 30) == 50
    assert counters.values[minute(0)] == 50, "the overshoot went back"


def test_no_burst_at_the_minutes_edge(counters: Counters) -> None:
    """What fixed windows allow, and sliding ones are there to prevent: the limit twice within two seconds."""
    r = Reservation(Limits(100, None), NOON, slides=True)
    assert counters.exhaust(r, NOON + 59) == 100
    assert counters.exhaust(r, NOON + 60) == 0
    assert counters.exhaust(r, NOON + 61) <= 2


def test_a_refusal_is_final_until_enough_has_become_free(counters: Counters) -> None:
    counters.values[minute(-1)] = 600
    r = Reservation(Limits(600, None), NOON, slides=True)
    refused = counters.serve(r, NOON + 6)
    assert refused.allowed, "a tenth of the weight is gone"
    counters.exhaust(r, NOON + 6)
    refused, sent = counters.serve(r, NOON + 6), len(counters.takes)
    assert (refused.allowed, refused.violated) == (False, ("minute",))
    assert refused.retry_after is not None
    assert refused.retry_after == pytest.approx(2.0, abs=0.002), "20 tokens, a thirtieth of the limit, at 10 a second"
    assert refused.retry_after >= 2.0
    for now in (NOON + 6.5, NOON + 7.99):
        assert not counters.serve(r, now).allowed
    assert len(counters.takes) == sent, "no commands meanwhile"
    assert counters.serve(r, NOON + 6 + refused.retry_after).allowed


def test_a_refusal_goes_on_into_the_minute_in_which_this_one_weighs(counters: Counters) -> None:
    r = Reservation(Limits(600, None), NOON, slides=True)
    counters.exhaust(r, NOON + 50)
    refused, sent = counters.serve(r, NOON + 50), len(counters.takes)
    assert refused.retry_after == pytest.approx(12.0, abs=0.002)
    assert not counters.serve(r, NOON + 61).allowed
    assert len(counters.takes) == sent
    assert counters.serve(r, NOON + 50 + (refused.retry_after or 0)).allowed


def test_a_larger_cost_waits_longer(counters: Counters) -> None:
    counters.values[minute(-1)] = 60
    r = Reservation(Limits(60, None), NOON, slides=True)
    one, ten = counters.serve(r, NOON, 2), counters.serve(r, NOON, 10)
    assert one.retry_after == pytest.approx(2.0, abs=0.002)
    assert ten.retry_after == pytest.approx(10.0, abs=0.002)
    assert counters.serve(r, NOON + 10.001, 10).allowed


def test_a_minute_long_ago_does_not_weigh(counters: Counters) -> None:
    r = Reservation(Limits(60, None), NOON, slides=True)
    counters.exhaust(r, NOON)
    assert counters.exhaust(r, NOON + 120) == 60


def test_headers_tell_what_the_weight_leaves(counters: Counters) -> None:
    counters.values[minute(-1)] = 100
    r = Reservation(Limits(100, None), NOON, slides=True)
    counters.serve(r, NOON + 30)
    [quota] = r.quotas(NOON + 30)
    assert (quota.limit, quota.remaining, quota.reset) == (100, 49, 30)


def test_midnight_lies_between_two_keys_and_two_minutes() -> None:
    r = Reservation(Limits(600, None), NOON, slides=True)
    take = r.plan(NOON, 1, 1)
    assert take is not None
    assert take.debits[1].window == Window("minute", MINUTE - 1)


def test_a_minute_out_of_reach_weighs_as_if_it_had_been_used_up() -> None:
    """The fleet has changed its counter store: the minute before is counted in the one that it has left."""
    r = Reservation(Limits(60, None), NOON, slides=True)
    take = r.plan(NOON + 30, 1, 1)
    assert take is not None
    wanted = [debit.amount for debit in take.debits if debit.window == minute(0)]
    values = [OUT_OF_REACH if debit.window == minute(-1) else debit.amount for debit in take.debits]
    r.settle(take, values, NOON + 30)
    assert sum(wanted) > 0
    [quota] = r.quotas(NOON + 30)
    assert quota.remaining == 30


def test_a_refusal_for_a_minute_out_of_reach_says_so() -> None:
    """Nothing is known to be used up: what was spent of the minute before cannot be read."""
    r = Reservation(Limits(60, None), NOON, slides=True)
    take = r.plan(NOON, 1, 1)
    assert take is not None
    values = [OUT_OF_REACH if debit.window == minute(-1) else debit.amount for debit in take.debits]
    following = r.settle(take, values, NOON)
    assert following is not None
    assert r.settle(following, [0], NOON) is None
    refused = r.decide(NOON, 1)
    assert refused is not None
    assert (refused.allowed, refused.unavailable, refused.violated, refused.quotas) == (False, True, (), ())
    assert refused.retry_after == pytest.approx(2, abs=0.1)
    never = r.decide(NOON, 61)
    assert never is not None
    assert (never.unavailable, never.violated) == (False, ("minute",))
