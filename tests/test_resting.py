"""Meters at rest: each is made live by what it is needed for, and nothing that it holds is lost or spent twice."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence

import pytest

from tenantcache.ratelimit.core.decision import Decision
from tenantcache.ratelimit.core.packing import Packed
from tenantcache.ratelimit.core.windows import QUARTER
from tenantcache.ratelimit.limiter import Limiter
from tenantcache.ratelimit.meter import Meter, Worker
from tenantcache.ratelimit.meters import IDLE
from tenantcache.tenant import Limits, Tenant
from tests.fakes import FakeClock, FakeCounters, FakeSlots, limited
from tests.handingover import handed_over

PER_MINUTE, PER_DAY = 600, 100_000
MANY = [limited(f"t{number}", PER_MINUTE, PER_DAY) for number in range(50)]
FIRST = MANY[0]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def counters() -> FakeCounters:
    return FakeCounters()


@pytest.fixture
def cached() -> set[str]:
    """The ids of the tenants that are in memory."""
    return {tenant.id for tenant in MANY}


@pytest.fixture
async def limiter(clock: FakeClock, counters: FakeCounters, cached: set[str]) -> AsyncIterator[Limiter]:
    """All tenants have their first tokens, and none has sent a request."""
    slots, is_cached = FakeSlots(), cached.__contains__
    limiter = Limiter(counters, slots, server_now=clock.server_time, processes=lambda: 1, is_cached=is_cached)
    await limiter.warm(MANY)
    yield limiter
    await limiter.close()


def at_rest(limiter: Limiter) -> int:
    return len(limiter._meters.resting)


def held(limiter: Limiter, tenant: Tenant) -> int:
    """The tokens of the minute that are here."""
    reservation = limiter.meter_of(tenant)
    limiter.quotas(tenant)  # enters the minute
    return reservation.minute + reservation.low


async def test_all_are_at_rest_with_their_tokens(limiter: Limiter, counters: FakeCounters) -> None:
    assert (len(limiter), at_rest(limiter), limiter._meters.of_tenants) == (len(MANY), len(MANY), {})
    assert held(limiter, FIRST) * len(MANY) == counters.total("quarter") > 0
    assert at_rest(limiter) == len(MANY) - 1


async def test_garbage_collection_has_nothing_to_look_at_for_each(limiter: Limiter) -> None:
    gc.collect()
    parts = [*limiter._meters.resting._records.parts, *limiter._meters.resting._groups.values()]
    assert [part for part in parts if gc.is_tracked(part)] == []


async def test_a_request_needs_no_take(limiter: Limiter, counters: FakeCounters) -> None:
    takes = len(counters.takes)
    assert (await limiter.check(FIRST)).allowed
    assert len(counters.takes) == takes
    assert (len(limiter), at_rest(limiter)) == (len(MANY), len(MANY) - 1)
    assert limiter.meter_of(FIRST) is limiter.meter_of(FIRST)


async def test_closing_gives_back_what_they_hold_in_one_command(limiter: Limiter, counters: FakeCounters) -> None:
    assert (await limiter.check(FIRST)).allowed
    batches = len(counters.batches)
    await limiter.close()
    assert len(counters.batches) == batches + 1
    assert (counters.total("minute") + counters.total("quarter"), counters.total("day")) == (1, 1)
    assert (len(limiter), at_rest(limiter)) == (0, 0)


async def test_each_quarter_reserves_for_them_along_with_others(
    limiter: Limiter, counters: FakeCounters, clock: FakeClock
) -> None:
    clock.advance(QUARTER + 1)
    assert (await limiter.check(FIRST)).allowed
    await limiter._meters.groups.finish()
    batches = len(counters.batches)
    assert at_rest(limiter) == len(MANY) - 1, "they rest again"
    for tenant in MANY[1:]:
        assert (await limiter.check(tenant)).allowed
    assert len(counters.batches) == batches


async def test_those_at_rest_are_asked_once_in_a_quarter(
    limiter: Limiter, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    make = limiter._meters.resting.make

    def note(owner: str, worker: Worker) -> Meter | None:
        made.append(owner)
        return make(owner, worker)

    monkeypatch.setattr(limiter._meters.resting, "make", note)
    clock.advance(QUARTER + 1)
    for number in range(3):
        assert (await limiter.check(limited(f"new{number}", PER_MINUTE, PER_DAY))).allowed
        await limiter._meters.groups.finish()
    # Once for the take, and once for its answer.
    assert [made.count(tenant.id) for tenant in MANY] == [2] * len(MANY)


async def test_they_are_handed_over_with_the_others(limiter: Limiter, clock: FakeClock) -> None:
    tokens = held(limiter, FIRST)
    assert handed_over(limiter) == {tenant.id: tokens for tenant in MANY}
    clock.advance(60)
    assert handed_over(limiter) == {tenant.id: tokens for tenant in MANY}
    clock.advance(QUARTER)
    assert handed_over(limiter) == {}


@pytest.mark.parametrize("seconds", [-90.0, 90.0])
async def test_what_was_reserved_is_lost_if_the_servers_clock_is_set(
    limiter: Limiter, clock: FakeClock, seconds: float
) -> None:
    assert (await limiter.check(FIRST)).allowed
    clock.set_server(seconds)
    limiter.clock_moved(seconds)
    clock.advance(60)
    assert held(limiter, FIRST) == held(limiter, MANY[1]) == 0


async def test_new_limits_are_put_in_force(limiter: Limiter) -> None:
    assert limiter.update(MANY[1]) is None
    assert at_rest(limiter) == len(MANY)
    assert limiter.update(limited(FIRST.id, 7, 8)) is not None
    assert limiter.meter_of(FIRST).limits == Limits(7, 8)
    assert at_rest(limiter) == len(MANY) - 1


async def test_a_refund_and_a_restart_find_them(limiter: Limiter) -> None:
    assert limiter.refund(FIRST, 1, "today") == 0
    tokens = held(limiter, MANY[1])
    limiter.restart(MANY[1].id)
    assert held(limiter, MANY[1]) == tokens, "what is reserved stays"
    assert limiter.meter_of(MANY[1]).day == 0
    assert at_rest(limiter) == len(MANY) - 2


async def test_one_that_was_not_asked_for_lately_goes_to_rest(limiter: Limiter, clock: FakeClock) -> None:
    assert (await limiter.check(FIRST)).allowed
    list(limiter.drain())
    clock.advance(IDLE - 60)
    await limiter.upkeep.sweep()
    assert at_rest(limiter) == len(MANY) - 1
    clock.advance(121)
    await limiter.upkeep.sweep()
    assert at_rest(limiter) == len(MANY)
    assert (await limiter.check(FIRST)).allowed


async def test_one_that_has_left_memory_gives_back_what_it_holds(
    limiter: Limiter, counters: FakeCounters, clock: FakeClock, cached: set[str]
) -> None:
    cached.discard(FIRST.id)
    day = counters.total("day")
    await limiter.upkeep.sweep()
    assert at_rest(limiter) == len(MANY)
    clock.advance(IDLE + 61)
    await limiter.upkeep.sweep()
    assert at_rest(limiter) == len(limiter) == len(MANY) - 1
    assert counters.total("day") == day * (len(MANY) - 1) // len(MANY)


async def test_one_that_is_woken_while_its_slot_is_asked_for_gives_up_anothers(
    limiter: Limiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = limiter._supply.slots
    assign = slots.assign
    [before] = await assign([FIRST.id])

    async def restored(owners: Sequence[str]) -> list[int]:
        if len(owners) > 1:
            assert (await limiter.check(FIRST)).allowed  # a request comes while the database answers
        return [
            slot + len(MANY) * (owner == FIRST.id) for owner, slot in zip(owners, await assign(owners), strict=True)
        ]

    monkeypatch.setattr(slots, "assign", restored)
    await limiter.upkeep.renew_slots()
    assert (await limiter.check(FIRST)).allowed
    assert limiter._meters.of_tenants[FIRST.id].slot == before + len(MANY)


async def test_what_was_spent_of_anothers_slot_is_handed_over(
    limiter: Limiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis has granted it. That its counter turned out to be another account's changes nothing about that."""
    slots = limiter._supply.slots
    assign = slots.assign

    async def restored(owners: Sequence[str]) -> list[int]:
        return [slot + len(MANY) for slot in await assign(owners)]

    for _ in range(10):
        assert (await limiter.check(FIRST)).allowed
    monkeypatch.setattr(slots, "assign", restored)
    await limiter.upkeep.renew_slots()
    assert handed_over(limiter) == {FIRST.id: 10}
    assert (await limiter.check(FIRST)).allowed
    assert handed_over(limiter)[FIRST.id] > 10, "and what its own counter has granted since"


@pytest.fixture
async def in_flight(limiter: Limiter, counters: FakeCounters, clock: FakeClock) -> asyncio.Task[Decision]:
    """A request of the first tenant waits for a command that takes for all of them, while `counters.gate` is clear."""
    clock.advance(QUARTER + 1)
    counters.gate.clear()
    batches = len(counters.batches)
    asked = asyncio.create_task(limiter.check(FIRST, 50))
    while len(counters.batches) == batches:
        await asyncio.sleep(0)
    return asked


async def test_they_rest_while_they_are_taken_for(
    limiter: Limiter, counters: FakeCounters, in_flight: asyncio.Task[Decision]
) -> None:
    assert limiter._meters.resting.taking == [tenant.id for tenant in MANY[1:]]
    assert (at_rest(limiter), list(limiter._meters.of_tenants)) == (len(MANY) - 1, [FIRST.id])
    counters.gate.set()
    assert (await in_flight).allowed
    await limiter._meters.groups.finish()
    assert limiter._meters.resting.taking == []
    assert at_rest(limiter) == len(MANY) - 1
    tokens = sum(held(limiter, tenant) for tenant in MANY)
    assert counters.total("minute") + counters.total("quarter") == tokens + 50 + len(MANY) * held(limiter, MANY[1])


async def test_a_request_that_wakes_one_meanwhile_waits_for_that_take(
    limiter: Limiter, counters: FakeCounters, in_flight: asyncio.Task[Decision]
) -> None:
    batches = len(counters.batches)
    woken = asyncio.create_task(limiter.check(MANY[1]))
    await asyncio.sleep(0)
    assert limiter.meter_of(MANY[1]).is_taking
    counters.gate.set()
    assert (await woken).allowed
    assert (await in_flight).allowed
    await limiter._meters.groups.finish()
    assert len(counters.batches) == batches
    assert not limiter.meter_of(MANY[1]).is_taking


async def test_a_take_that_is_not_answered_leaves_them_at_rest_and_cautious(
    limiter: Limiter, counters: FakeCounters, in_flight: asyncio.Task[Decision]
) -> None:
    counters.losing = True
    counters.gate.set()
    await in_flight
    await limiter._meters.groups.finish()
    assert limiter._meters.resting.taking == []
    assert at_rest(limiter) == len(MANY) - 1
    meter = limiter._meters.find(MANY[1].id)
    assert meter is not None and not meter.reservation.is_taking
    assert meter.reservation.plan_along(meter._supply.server_now(), 1, day=True) is None, "no more than is needed"


async def test_what_was_taken_for_when_its_event_loop_was_closed_is_made_anew(
    limiter: Limiter, counters: FakeCounters, in_flight: asyncio.Task[Decision]
) -> None:
    limiter.leave_loop()
    in_flight.cancel()
    assert (len(limiter), at_rest(limiter), limiter._meters.resting.taking) == (0, 0, [])
    counters.gate.set()
    assert (await limiter.check(MANY[1])).allowed


async def test_one_that_cannot_be_packed_stays_live_with_what_it_holds(
    limiter: Limiter, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await limiter.check(FIRST)).allowed
    list(limiter.drain())
    day = limiter.meter_of(FIRST).day

    def fail(_packed: Packed) -> bytes:
        raise OverflowError

    monkeypatch.setattr(limiter._meters.resting.packing, "pack", fail)
    clock.advance(IDLE + 61)
    with pytest.raises(OverflowError):
        await limiter.upkeep.sweep()
    assert limiter.meter_of(FIRST).day == day > 0


async def test_they_rest_though_no_usage_is_written(counters: FakeCounters, clock: FakeClock, cached: set[str]) -> None:
    limiter = Limiter(
        counters,
        FakeSlots(),
        server_now=clock.server_time,
        processes=lambda: 1,
        counts_spending=False,
        is_cached=cached.__contains__,
    )
    await limiter.warm([FIRST])
    assert (await limiter.check(FIRST)).allowed
    assert at_rest(limiter) == 0
    clock.advance(IDLE + 61)
    await limiter.upkeep.sweep()
    assert at_rest(limiter) == 1
    cached.clear()
    assert (await limiter.check(FIRST)).allowed
    clock.advance(IDLE + 61)
    await limiter.upkeep.sweep()
    assert len(limiter) == 0
    assert list(limiter.drain()) == [], "what has left is kept for none to drain"
    await limiter.close()


async def test_a_fork_holds_nothing(limiter: Limiter) -> None:
    limiter.forget()
    assert (len(limiter), at_rest(limiter), handed_over(limiter)) == (0, 0, {})


async def test_a_fast_path_that_was_left_behind_spends_nothing(limiter: Limiter, clock: FakeClock) -> None:
    assert (await limiter.check(FIRST)).allowed
    left = limiter.meter_of(FIRST)
    list(limiter.drain())
    clock.advance(IDLE + 61)
    await limiter.upkeep.sweep()
    assert (left.until, left.left, left.minute, left.day) == (0.0, 0, 0, 0)
    assert limiter.meter_of(FIRST) is not left
