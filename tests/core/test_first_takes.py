"""What a process that starts learns of the demand from its first reply: what a minute before it took.

A limit of 600 a minute has a pool of 60, of which each of 4 processes may reserve 15.
"""

from __future__ import annotations

import pytest

from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.ratelimit.core.windows import Debit, Window
from tenantcache.tenant import Limits
from tests.core.test_advance import LIMITS, QUARTER, planned
from tests.core.test_reservation import NOON, Counters, minute

START = NOON + 90
"""In the second minute of a quarter of an hour."""
PROCESSES = 4


@pytest.fixture
def counters() -> Counters:
    return Counters()


def first(counters: Counters, limits: Limits = LIMITS) -> Reservation:
    """A process that starts, after the reply to its first take."""
    r = Reservation(limits, START)
    take = planned(r.plan_along(START, PROCESSES, day=True, is_first=True))
    assert r.settle(take, counters.send(take), START) is None
    return r


def test_what_the_minute_before_took_is_expected_from_the_first_request_on(counters: Counters) -> None:
    """200 in the minute before are 50 of each process, of which 25 are margin. Half a minute needs 12.5, and 14 as its
    margin."""
    counters.values[minute(0)] = 200
    r = first(counters)
    assert r.minute + r.low == 4
    take = planned(r.plan_second(START, PROCESSES))
    counters.send(take)
    assert take.debits == (Debit(minute(1), 22), Debit(QUARTER, 11))


def test_what_is_reserved_of_each_minute_is_demand_of_the_minute_before(counters: Counters) -> None:
    counters.values[QUARTER] = 60
    counters.values[minute(0)] = 140
    take = planned(first(counters, Limits(1_000, None)).plan_second(START, PROCESSES))
    assert take.debits[0].amount == 22, "as many as of 200 in the minute's own counter"


def test_it_is_learned_once(counters: Counters) -> None:
    """Else each reply would take half of a part of the day that is left, until none is."""
    counters.values[minute(0)] = 200
    r = first(counters, Limits(600, 1_000))
    take = planned(r.plan_second(START, PROCESSES))
    r.settle(take, counters.send(take), START)
    assert r.plan_second(START, PROCESSES) is None


def test_a_tenant_that_was_not_asked_for_needs_no_second_take(counters: Counters) -> None:
    """The other three have reserved what each process reserves."""
    counters.values[QUARTER] = 12
    assert first(counters).plan_second(START, PROCESSES) is None


@pytest.mark.parametrize(("before", "learns"), [(196, True), (204, False)])
def test_nothing_is_expected_of_a_tenant_that_is_not_far_below_its_limit(
    counters: Counters, before: int, learns: bool
) -> None:
    """All of its requests may come to another process, which would miss what is taken here."""
    counters.values[minute(0)] = before
    assert (first(counters).plan_second(START, PROCESSES) is not None) is learns


def test_nor_if_so_much_is_taken_of_this_minute(counters: Counters) -> None:
    counters.values[minute(0)] = 200
    counters.values[minute(1)] = 300
    assert first(counters).plan_second(START, PROCESSES) is None


def test_a_minute_before_in_another_key_is_not_read(counters: Counters) -> None:
    now = NOON + 10
    take = planned(Reservation(LIMITS, now).plan_along(now, PROCESSES, day=True, is_first=True))
    assert [debit.window for debit in take.debits] == [minute(0), QUARTER]


def test_nothing_is_asked_for_of_minutes_that_slide() -> None:
    r = Reservation(Limits(600, 100_000), START, slides=True)
    take = planned(r.plan_along(START, PROCESSES, day=True, is_first=True))
    assert [debit.window.unit for debit in take.debits] == ["day"]


def test_the_days_counter_tells_of_demand_when_the_minute_before_does_not(counters: Counters) -> None:
    """At noon, 47,000 tokens beyond what idle processes hold, over 13 hours: an hour's may be held. So each of 4
    processes is asked for 15.03 a minute, and takes an hour of that."""
    counters.values[Window("day", int(NOON) // 86_400)] = 47_000 + 2_386
    r = first(counters, Limits(600, 100_000))
    take = planned(r.plan_second(START, PROCESSES))
    amounts = {debit.window.unit: debit.amount for debit in take.debits}
    assert amounts == {"minute": 14, "quarter": 11, "day": 902}
