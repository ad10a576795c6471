"""Tokens reserved in advance, against scripted counters: each rule of `advance.py` by itself.

A limit of 600 a minute has a pool of 60. A process that knows nothing of the demand reserves 4 of each minute.
"""

from __future__ import annotations

import pytest

from tenantcache.ratelimit.core.ledger import Take
from tenantcache.ratelimit.core.policy import ReservePolicy
from tenantcache.ratelimit.core.reservation import Reservation, one_version
from tenantcache.ratelimit.core.windows import Debit, Window
from tenantcache.tenant import Limits
from tests.core.test_reservation import NOON, Counters, minute

QUARTER, NEXT = (Window("quarter", int(NOON) // 900 + number) for number in (0, 1))
LIMITS = Limits(600, None)


@pytest.fixture
def counters() -> Counters:
    return Counters()


def planned(take: Take | None) -> Take:
    assert take is not None
    return take


def spendable(r: Reservation, now: float) -> int:
    """How many requests are served at `now` without a take."""
    return sum(r.spend(now, 1) for _ in range(1_000))


def with_reserve(counters: Counters, now: float = NOON) -> Reservation:
    """It holds 4 of each minute."""
    r = Reservation(LIMITS, now)
    assert counters.serve(r, now, processes=4).allowed
    assert counters.values[QUARTER] == 4
    return r


# The counter of a quarter.


def test_one_debit_serves_each_minute_of_the_quarter(counters: Counters) -> None:
    r = with_reserve(counters)
    assert [debit.window for debit in counters.takes[0]] == [minute(0), QUARTER]
    assert [spendable(r, NOON + 60 * late) for late in range(1, 16)] == [4] * 14 + [0]
    assert len(counters.takes) == 1


def test_a_minute_has_what_the_quarters_counter_leaves(counters: Counters) -> None:
    counters.values[QUARTER] = 60
    assert counters.exhaust(Reservation(LIMITS, NOON), NOON) == 540


def test_both_counters_are_in_each_take_from_the_same_moment(counters: Counters) -> None:
    r = with_reserve(counters)
    counters.exhaust(r, NOON + 61)
    assert all({debit.window.unit for debit in take} == {"minute", "quarter"} for take in counters.takes)


def test_what_is_reserved_must_fit_into_this_minute(counters: Counters) -> None:
    r = Reservation(LIMITS, NOON)
    take = planned(r.plan(NOON, 1, 4))
    [of_minute, of_quarter] = [debit.amount for debit in take.debits]
    back = planned(r.settle(take, [598, of_quarter], NOON))
    assert of_quarter == 4
    assert back.debits == (Debit(minute(0), 0), Debit(QUARTER, -2)), "598 + 2 of the 4 are the limit"
    assert of_minute <= r.minute + r.low <= of_minute + 2
    assert spendable(r, NOON + 60) == 2


@pytest.mark.parametrize(("reply", "reserved"), [(58.9, 4), (59.0, 0), (59.9, 0)])
def test_a_reply_within_a_second_of_the_edge_grants_nothing_in_advance(
    counters: Counters, reply: float, reserved: int
) -> None:
    r = Reservation(LIMITS, NOON)
    take = planned(r.plan(NOON + 57, 1, 4))
    back = r.settle(take, counters.send(take), NOON + reply)
    if back is not None:
        assert r.settle(back, counters.send(back), NOON + reply) is None
    assert counters.values[QUARTER] == reserved
    assert spendable(r, NOON + 60) == reserved


@pytest.mark.parametrize("reply", [60.1, 200.0])
def test_a_reply_in_a_later_minute_grants_nothing_and_the_debit_goes_back(counters: Counters, reply: float) -> None:
    r = Reservation(LIMITS, NOON)
    take = planned(r.plan(NOON, 1, 4))
    back = planned(r.settle(take, counters.send(take), NOON + reply))
    assert counters.send(back)[1] == 0
    assert spendable(r, NOON + reply) == 0


@pytest.mark.parametrize(("second", "asked"), [(57.9, 4), (58.0, 0), (59.9, 0)])
def test_nothing_is_asked_for_that_a_reply_would_come_too_late_for(second: float, asked: int) -> None:
    take = planned(Reservation(LIMITS, NOON).plan(NOON + second, 1, 4))
    assert take.debits[1] == Debit(QUARTER, asked)


# The pool.


def test_all_processes_together_reserve_a_tenth(counters: Counters) -> None:
    """Each of them believes that it is alone."""
    fleet = [Reservation(LIMITS, NOON) for _ in range(40)]
    for r in fleet:
        assert counters.serve(r, NOON).allowed
    assert counters.values[QUARTER] == 60
    assert sum(spendable(r, NOON + 60) for r in fleet) == 60
    assert counters.exhaust(fleet[0], NOON + 60) == 540


def test_the_next_quarter_is_reserved_within_the_pool_as_well(counters: Counters) -> None:
    fleet = [Reservation(Limits(40, None), NOON + 780) for _ in range(12)]
    for r in fleet:
        take = r.plan_along(NOON + 780, 1, ahead=True)
        while take is not None:
            take = r.settle(take, counters.send(take), NOON + 780)
    assert counters.values[NEXT] == 4
    assert sum(spendable(r, NOON + 900) for r in fleet) == 4


def test_a_quarter_that_grants_less_is_not_asked_again_and_gets_the_rest_back(counters: Counters) -> None:
    counters.values[QUARTER] = 58
    r = Reservation(LIMITS, NOON)
    assert counters.serve(r, NOON, processes=4).allowed
    assert counters.values[QUARTER] == 60
    assert counters.takes[-1] == (Debit(minute(0), 0), Debit(QUARTER, -2))
    counters.values[QUARTER] = 2
    counters.exhaust(r, NOON + 60)
    assert all(debit.amount == 0 for take in counters.takes[2:] for debit in take if debit.window == QUARTER)
    counters.serve(r, NOON + 900, processes=4)
    assert counters.values[NEXT] > 0, "the next one is asked"


def test_a_quarter_that_does_not_answer_is_not_asked_again(counters: Counters) -> None:
    """A store that counts and does not answer is not emptied, however often takes fail and are answered in turn."""
    r = Reservation(LIMITS, NOON)
    for second in range(1, 900, 10):
        if (take := r.plan(NOON + second, 100, 1)) is None:
            continue
        found = counters.send(take)
        if second % 20 == 1:
            r.fail(take, NOON + second)
        elif (more := r.settle(take, found, NOON + second)) is not None:
            r.settle(more, counters.send(more), NOON + second)
    assert counters.values[QUARTER] <= 60


def test_what_is_reserved_grows_with_the_demand(counters: Counters) -> None:
    r = Reservation(LIMITS, NOON)
    for step in range(40):
        assert counters.serve(r, NOON + step, processes=4).allowed
    counters.exhaust(r, NOON + 40, processes=4)
    assert counters.values[QUARTER] == 15, "a fourth of the pool"


def test_after_a_failure_nothing_is_reserved_until_a_take_is_answered(counters: Counters) -> None:
    r = Reservation(LIMITS, NOON + 780)
    r.fail(planned(r.plan(NOON + 780, 1, 4)), NOON + 781)
    take = planned(r.plan(NOON + 900, 1, 4, ahead=True))
    assert take.debits == (Debit(minute(15), 1), Debit(NEXT, 0))
    r.settle(take, counters.send(take), NOON + 900)
    assert planned(r.plan(NOON + 901, 2, 4)).debits[1].amount > 0


def test_a_limit_that_was_removed_and_set_again_has_nothing_in_advance(counters: Counters) -> None:
    r = with_reserve(counters)
    r.change(Limits(None, None), NOON + 1)
    r.change(Limits(3, None), NOON + 2)
    assert spendable(r, NOON + 60) == 0


# The next quarter.


@pytest.mark.parametrize(("second", "is_due"), [(719, False), (720, True), (897.9, True), (898, False)])
def test_the_next_quarter_is_reserved_in_the_last_three_minutes(second: float, is_due: bool) -> None:
    take = planned(Reservation(LIMITS, NOON + second).plan(NOON + second, 1, 4, ahead=True))
    assert (Debit(NEXT, 4) in take.debits) is is_due


def test_it_is_reserved_once_and_spent_in_each_of_its_minutes(counters: Counters) -> None:
    r = with_reserve(counters)
    for _ in range(2):
        take = r.plan(NOON + 780, 5, 4, ahead=True)
        assert take is not None
        assert r.settle(take, counters.send(take), NOON + 780) is None
        assert r.spend(NOON + 780, r.minute + r.low)
    assert [debit for take in counters.takes for debit in take if debit.window == NEXT] == [Debit(NEXT, 4)]
    assert [spendable(r, NOON + 900 + 60 * late) for late in range(16)] == [4] * 15 + [0]


def test_it_is_not_spent_in_the_quarter_after_it(counters: Counters) -> None:
    r = Reservation(LIMITS, NOON + 780)
    take = planned(r.plan_along(NOON + 780, 4, ahead=True))
    assert r.settle(take, counters.send(take), NOON + 780) is None
    assert spendable(r, NOON + 1800) == 0


def test_it_is_not_reserved_unless_the_command_touches_its_key() -> None:
    take = planned(Reservation(LIMITS, NOON + 780).plan(NOON + 780, 1, 4))
    assert NEXT not in [debit.window for debit in take.debits]


def test_it_is_reserved_along_with_other_tenants(counters: Counters) -> None:
    r = with_reserve(counters)
    assert r.plan_along(NOON + 780, 4, ahead=False) is None
    take = planned(r.plan_along(NOON + 780, 4, ahead=True))
    assert [debit for debit in take.debits if debit.window == NEXT] == [Debit(NEXT, 4)]
    assert r.settle(take, counters.send(take), NOON + 780) is None
    assert r.plan_along(NOON + 781, 4, ahead=True) is None
    assert spendable(r, NOON + 900) == 4


def test_it_grants_what_is_left_of_the_pool_and_gets_the_rest_back_at_once(counters: Counters) -> None:
    counters.values[NEXT] = 59
    r = Reservation(LIMITS, NOON + 780)
    take = planned(r.plan_along(NOON + 780, 4, ahead=True))
    back = planned(r.settle(take, counters.send(take), NOON + 780))
    counters.send(back)
    assert counters.values[NEXT] == 60
    assert spendable(r, NOON + 900) == 1


def test_it_is_granted_if_this_quarter_did_not_answer(counters: Counters) -> None:
    """They are in two keys, and perhaps on two servers."""
    r = Reservation(LIMITS, NOON + 780)
    take = planned(r.plan_along(NOON + 780, 4, ahead=True))
    [*_, reserved] = counters.send(take)
    assert r.settle(take, [None] * (len(take.debits) - 1) + [reserved], NOON + 780) is None
    assert spendable(r, NOON + 900) == 4


@pytest.mark.parametrize("reply", [899.5, 901.0])
def test_a_late_reply_grants_nothing_of_it_and_the_debit_goes_back(counters: Counters, reply: float) -> None:
    r = Reservation(LIMITS, NOON + 850)
    take = planned(r.plan_along(NOON + 850, 4, ahead=True))
    back = planned(r.settle(take, counters.send(take), NOON + reply))
    counters.send(back)
    assert counters.values[NEXT] == 0
    assert spendable(r, NOON + 902) == 0


def test_the_reply_of_a_minute_ago_may_grant_it(counters: Counters) -> None:
    """No process is in the next quarter yet."""
    r = Reservation(LIMITS, NOON + 780)
    take = planned(r.plan_along(NOON + 780, 4, ahead=True))
    r.settle(take, counters.send(take), NOON + 841)
    assert spendable(r, NOON + 900) == 4


# What is lost.


def test_a_lost_counter_takes_what_was_reserved_into_the_minute(counters: Counters) -> None:
    r = with_reserve(counters)
    held = r.minute + r.low
    counters.values.clear()
    take = planned(r.plan(NOON + 1, 100, 4))
    repair = planned(r.settle(take, counters.send(take), NOON + 1))
    assert repair.repairs
    r.settle(repair, counters.send(repair), NOON + 1)
    assert counters.values[minute(0)] >= held + 1, "what is held or spent is debited again"
    assert counters.values[QUARTER] == 0
    assert spendable(r, NOON + 60) == 0


def test_one_process_alone_keeps_its_limit_when_it_claims_from_a_counter_that_was_lost(counters: Counters) -> None:
    r = Reservation(LIMITS, NOON)
    for step in range(40):
        assert counters.serve(r, NOON + step).allowed
    r.change(Limits(400, None), NOON + 40)  # what was reserved is given up, and counts as paid in the next claim
    counters.values.clear()
    take = planned(r.plan(NOON + 61, 1, 1))
    for _ in range(3):
        following = r.settle(take, counters.send(take), NOON + 61)
        if following is None:
            break
        take = following
    assert counters.exhaust(r, NOON + 61) <= 400
    assert spendable(r, NOON + 120) <= counters.values[QUARTER]


class Versions:
    """Other counters from minute `change` on, unless it is not known which ones."""

    def __init__(self) -> None:
        self.change, self.is_known = 1 << 62, True

    def __call__(self, number: int) -> object:
        return number >= self.change if self.is_known else None


def test_what_was_reserved_in_other_counters_is_not_spent(counters: Counters) -> None:
    versions = Versions()
    r = Reservation(LIMITS, NOON, version_of=versions)
    assert counters.serve(r, NOON, processes=4).allowed
    versions.change = minute(2).number
    assert spendable(r, NOON + 60) == 4
    assert spendable(r, NOON + 120) == 0
    take = planned(r.plan(NOON + 120, 1, 4))
    assert take.debits[1].amount > 0, "it is reserved anew"


def test_what_was_reserved_is_not_spent_while_it_is_not_known_which_counters_count(counters: Counters) -> None:
    versions = Versions()
    r = Reservation(LIMITS, NOON, version_of=versions)
    assert counters.serve(r, NOON, processes=4).allowed
    versions.is_known = False
    assert spendable(r, NOON + 60) == 0
    r.restart(NOON + 61)
    assert spendable(r, NOON + 61) == 0
    versions.is_known = True
    assert spendable(r, NOON + 120) == 0, "it was given up"
    assert counters.serve(r, NOON + 120, processes=4).allowed
    assert counters.values[QUARTER] == spendable(r, NOON + 180) > 0, "and is claimed anew"


def test_what_a_minute_was_handed_over_with_is_of_that_minute_alone(counters: Counters) -> None:
    versions = Versions()
    r = Reservation(LIMITS, NOON, version_of=versions)
    assert counters.serve(r, NOON, processes=4).allowed
    held = r.minute + r.low
    assert r.hand_over(NOON + 1) == held + 1
    versions.change = minute(0).number
    counters.values.clear()
    counters.values[minute(0)] = held + 1
    assert spendable(r, NOON + 2) == held
    back = r.release(NOON + 3)
    assert back is None, "nothing is given back to a quarter that has not been debited"


def test_what_a_lowered_limit_has_ended_does_not_go_back_to_other_counters(counters: Counters) -> None:
    versions = Versions()
    r = Reservation(LIMITS, NOON, version_of=versions)
    assert counters.serve(r, NOON, processes=4).allowed
    r.change(Limits(500, None), NOON + 2)
    assert r.hand_over(NOON + 2) == 1
    versions.change = minute(0).number
    assert r.surplus(NOON + 3) is None


def test_what_a_lowered_limit_has_ended_pays_for_nothing_in_other_counters(counters: Counters) -> None:
    versions = Versions()
    r = Reservation(LIMITS, NOON, version_of=versions)
    assert counters.serve(r, NOON, processes=4).allowed
    r.change(Limits(500, None), NOON + 2)
    assert r.hand_over(NOON + 2) == 1
    versions.change = minute(0).number
    take = planned(r.plan(NOON + 3, 1, 4))
    assert [line.debit.amount for line in take.lines] == [line.claim for line in take.lines]


def test_what_is_given_up_after_the_report_goes_back_to_the_minute_alone_in_other_counters(counters: Counters) -> None:
    """The minute begins there with all that was reported, and the quarter with nothing."""
    versions = Versions()
    r = Reservation(LIMITS, NOON, version_of=versions)
    assert counters.serve(r, NOON, processes=4).allowed
    held = r.minute + r.low
    assert r.hand_over(NOON + 1) == held + 1
    r.change(Limits(500, None), NOON + 2)
    versions.change = minute(0).number
    take = planned(r.surplus(NOON + 3))
    assert take.debits == (Debit(minute(0), -(held - 4)), Debit(QUARTER, 0))


def test_nor_does_it_pay_for_anything_in_their_quarter(counters: Counters) -> None:
    versions = Versions()
    r = Reservation(LIMITS, NOON, version_of=versions)
    assert counters.serve(r, NOON, processes=4).allowed
    assert r.hand_over(NOON + 1) > 4
    r.change(Limits(500, None), NOON + 2)
    versions.change = minute(0).number
    of_quarter = planned(r.plan(NOON + 3, 1, 4)).lines[1]
    assert of_quarter.debit.amount == of_quarter.claim > 0


def test_what_others_have_reserved_in_other_counters_is_not_taken_for_ones_own(counters: Counters) -> None:
    versions = Versions()
    r = Reservation(LIMITS, NOON, version_of=versions)
    assert counters.serve(r, NOON, processes=4).allowed
    held = r.minute + r.low
    reported = r.hand_over(NOON + 1)
    versions.change = minute(0).number
    counters.values.clear()
    counters.values[minute(0)], counters.values[QUARTER] = reported, 40
    take = planned(r.plan(NOON + 2, held + 1, 4))
    assert r.settle(take, counters.send(take), NOON + 2) is None
    assert spendable(r, NOON + 60) == counters.values[QUARTER] - 40 > 0


def test_a_reset_in_other_counters_leaves_nothing(counters: Counters) -> None:
    versions = Versions()
    r = Reservation(LIMITS, NOON, version_of=versions)
    assert counters.serve(r, NOON, processes=4).allowed
    versions.change = minute(0).number
    r.restart(NOON + 1)
    assert spendable(r, NOON + 1) == 0


def test_a_reset_in_counters_that_are_not_known_leaves_nothing(counters: Counters) -> None:
    versions = Versions()
    r = Reservation(LIMITS, NOON, version_of=versions)
    assert counters.serve(r, NOON, processes=4).allowed
    versions.is_known = False
    r.restart(NOON + 1)
    assert spendable(r, NOON + 1) == 0


def test_what_is_idle_does_not_go_back_to_other_counters(counters: Counters) -> None:
    versions = Versions()
    r = Reservation(LIMITS, NOON, version_of=versions)
    for step in range(40):
        assert counters.serve(r, NOON + step, processes=2).allowed
    counters.exhaust(r, NOON + 40, processes=2)
    assert r.spend(NOON + 61, 1)
    assert r.surplus(NOON + 62) is None
    assert r.hand_over(NOON + 63) == 30
    versions.change = minute(1).number
    assert planned(r.surplus(NOON + 70)).debits == (Debit(minute(1), -17), Debit(QUARTER, 0))


def test_an_earlier_minute_is_entered_with_nothing(counters: Counters) -> None:
    r = with_reserve(counters, NOON + 600)
    assert spendable(r, NOON + 480) == 0


def test_a_clock_that_was_set_loses_the_next_quarter_too(counters: Counters) -> None:
    r = Reservation(LIMITS, NOON + 780)
    take = planned(r.plan_along(NOON + 780, 4, ahead=True))
    assert r.settle(take, counters.send(take), NOON + 780) is None
    r.clock_moved(2.0, NOON + 782)
    assert spendable(r, NOON + 900) == 0


@pytest.mark.parametrize(("seconds", "left"), [(0.9, 4), (-0.9, 4), (1.0, 0), (-1.0, 0), (61.0, 0)])
def test_a_clock_that_was_set_loses_it(counters: Counters, seconds: float, left: int) -> None:
    r = with_reserve(counters, NOON + 10)
    r.clock_moved(seconds, NOON + 10 + seconds)
    assert spendable(r, NOON + 130) == left


def test_what_was_spent_of_it_when_the_clock_was_set_is_debited_and_does_not_look_lost(counters: Counters) -> None:
    r = with_reserve(counters)
    assert spendable(r, NOON + 70) == 4
    r.clock_moved(-2.0, NOON + 68)
    take = planned(r.plan(NOON + 68, 1, 4))
    assert r.settle(take, counters.send(take), NOON + 68) is None
    assert counters.values[minute(1)] == 4 + take.lines[0].claim


@pytest.mark.parametrize(("before", "is_reserved"), [(400.0, False), (840.0, False), (894.0, False)])
def test_a_quarter_in_which_the_clock_was_before_is_not_reserved(
    counters: Counters, before: float, is_reserved: bool
) -> None:
    """Its later minutes may have been debited. The one after it is reserved."""
    r = Reservation(LIMITS, NOON + before)
    r.clock_moved(-before, NOON)
    for now in (NOON, NOON + 120):
        assert counters.serve(r, now, processes=4).allowed
        assert (counters.values[QUARTER] > 0) is is_reserved
    take = planned(r.plan(NOON + 780, 20, 4, ahead=True))
    assert take.debits[1].amount == 0
    assert take.debits[2].window == NEXT
    assert take.debits[2].amount > 0


def test_nor_is_the_next_one_in_which_it_was(counters: Counters) -> None:
    r = Reservation(LIMITS, NOON + 930)
    r.clock_moved(-130.0, NOON + 800)
    take = planned(r.plan(NOON + 800, 1, 4, ahead=True))
    assert [debit for debit in take.debits if debit.window != minute(13)] == [Debit(QUARTER, 0)]


def test_what_is_on_its_way_when_the_clock_is_set_grants_nothing_in_advance(counters: Counters) -> None:
    r = Reservation(LIMITS, NOON + 20)
    take = planned(r.plan(NOON + 20, 1, 4))
    found = counters.send(take)
    r.clock_moved(-5.0, NOON + 15)
    assert r.settle(take, found, NOON + 15) is None
    assert (spendable(r, NOON + 15), spendable(r, NOON + 60)) == (0, 0)


# Giving back.


def release(r: Reservation, counters: Counters, now: float) -> None:
    assert r.spend(now, 0)
    if (take := r.release(now)) is not None:
        counters.send(take)


@pytest.mark.parametrize("spent", [0, 1, 3, 4])
@pytest.mark.parametrize(("second", "stays"), [(0.0, True), (0.9, True), (1.0, False)])
def test_what_was_spent_of_it_goes_back_only_when_all_have_left_that_minute(
    counters: Counters, second: float, stays: bool, spent: int
) -> None:
    """A process whose clock is behind must see it there."""
    r = with_reserve(counters)
    for _ in range(spent):
        assert r.spend(NOON + 70, 1)
    release(r, counters, NOON + 120 + second)
    assert counters.values[QUARTER] == (spent if stays else 0)


def test_what_was_spent_of_the_minute_alone_does_not_keep_it(counters: Counters) -> None:
    r = with_reserve(counters)
    of_minute = counters.values[minute(0)]
    assert of_minute > 1
    for _ in range(of_minute - 1 + 2):
        assert r.spend(NOON + 1, 1)
    release(r, counters, NOON + 60)
    assert counters.values[QUARTER] == 2


def test_what_was_spent_two_minutes_before_does_not_keep_it(counters: Counters) -> None:
    r = with_reserve(counters)
    assert spendable(r, NOON + 70) == 4
    release(r, counters, NOON + 180)
    assert counters.values[QUARTER] == 0


def test_what_was_spent_in_another_quarter_does_not_keep_it(counters: Counters) -> None:
    r = with_reserve(counters, NOON + 800)
    take = planned(r.plan(NOON + 801, 500, 4, ahead=True))
    assert r.settle(take, counters.send(take), NOON + 801) is None
    assert spendable(r, NOON + 890) == 4 <= counters.values[NEXT]
    release(r, counters, NOON + 900)
    assert counters.values[NEXT] == 0


def test_what_was_spent_before_it_rested_is_not_known(counters: Counters) -> None:
    """So all of it is lost if it ends in the same second, and nothing one minute later."""
    for later, left in ((0, 4), (60, 0)):
        counters.values.clear()
        r = with_reserve(counters)
        assert r.spend(NOON + 61, 1)
        r.drain()
        resting = r.rest(NOON + 120.1, lambda resting: resting)
        assert resting is not None
        release(Reservation.resumed(resting, one_version), counters, NOON + 120.2 + later)
        assert counters.values[QUARTER] == left


@pytest.mark.parametrize(("second", "left"), [(60.9, 30), (61.0, 12)])
def test_what_is_idle_is_reserved_until_all_have_left_the_minute_before(
    counters: Counters, second: float, left: int
) -> None:
    """However soon the policy finds it idle. A fiftieth of the limit stays."""
    r = Reservation(LIMITS, NOON, ReservePolicy(quiet=0.1, missed=0.1))
    for step in range(40):
        assert counters.serve(r, NOON + step, processes=2).allowed
    counters.exhaust(r, NOON + 40, processes=2)
    assert counters.values[QUARTER] == 30
    assert r.spend(NOON + 60.5, 0)
    take = planned(r.surplus(NOON + second))
    assert r.settle(take, counters.send(take), NOON + second) is None
    assert counters.values[QUARTER] == left
    assert spendable(r, NOON + second) == 12
    assert spendable(r, NOON + 120) == left


def test_what_is_idle_is_reserved_no_longer_and_what_was_spent_of_it_is_debited_of_the_minute(
    counters: Counters,
) -> None:
    r = Reservation(LIMITS, NOON)
    for step in range(40):
        assert counters.serve(r, NOON + step, processes=2).allowed
    counters.exhaust(r, NOON + 40, processes=2)
    for _ in range(10):
        assert r.spend(NOON + 61, 1)
    assert r.surplus(NOON + 62) is None
    take = planned(r.surplus(NOON + 70))
    assert take.debits == (Debit(minute(1), 10), Debit(QUARTER, -18))
    assert r.settle(take, counters.send(take), NOON + 70) is None
    assert spendable(r, NOON + 70) == 12
    assert spendable(r, NOON + 120) == 12


def test_what_was_spent_of_it_is_debited_of_the_minute_when_it_goes_back(counters: Counters) -> None:
    r = with_reserve(counters)
    for _ in range(3):
        assert r.spend(NOON + 62, 1)
    take = planned(r.release(NOON + 62))
    assert take.debits == (Debit(minute(1), 3), Debit(QUARTER, -4))


def test_what_was_spent_stays_debited_when_a_take_comes_back_after_the_release(counters: Counters) -> None:
    r = with_reserve(counters)
    assert spendable(r, NOON + 70) == 4
    r.change(Limits(500, None), NOON + 71)
    take = planned(r.plan(NOON + 72, 1, 4))
    assert r.release(NOON + 72) is None
    counters.send(planned(r.settle(take, counters.send(take), NOON + 73)))
    assert counters.values[minute(1)] == 4


def test_a_limit_that_is_lowered_while_a_take_is_on_its_way_does_not_look_like_a_lost_counter(
    counters: Counters,
) -> None:
    """Two tenants whose counters were lost make a fleet change its store."""
    r = with_reserve(counters)
    assert spendable(r, NOON + 70) == 4
    take = planned(r.plan(NOON + 70, 1, 4))
    r.change(Limits(500, None), NOON + 70)
    back = planned(r.settle(take, counters.send(take), NOON + 70))
    assert not back.repairs
    counters.send(back)
    assert counters.values[minute(1)] == 4 + take.lines[0].claim
    assert counters.values[QUARTER] == take.lines[1].claim


def test_what_a_lowered_limit_has_ended_stays_in_the_counters_that_are_left(counters: Counters) -> None:
    """The minute is handed over with what was spent of it. It does not go back if these counters go on after all."""
    r = with_reserve(counters)
    assert spendable(r, NOON + 70) == 4
    r.change(Limits(500, None), NOON + 70)
    assert r.hand_over(NOON + 70) == 4
    assert r.surplus(NOON + 71) is None


def test_what_was_given_up_in_the_last_minute_stays_as_far_as_it_was_spent_there(counters: Counters) -> None:
    r = with_reserve(counters)
    for _ in range(3):
        assert r.spend(NOON + 70, 1)
    r.change(Limits(500, None), NOON + 119)
    take = planned(r.surplus(NOON + 121))
    assert take.debits == (Debit(minute(2), 0), Debit(QUARTER, -1))


def test_a_reset_leaves_what_is_reserved_and_what_was_spent_of_it(counters: Counters) -> None:
    """It may be heard of in the minute after the one that was reset."""
    r = with_reserve(counters)
    for _ in range(3):
        assert r.spend(NOON + 60, 1)
    r.restart(NOON + 60.5)
    assert spendable(r, NOON + 61) == 1
    assert spendable(r, NOON + 120) == 4
