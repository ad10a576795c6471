"""Takes over two stores, of which one fails: minutes in Redis and the day in Postgres, as after any change that day."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable

import pytest

from tenantcache.errors import StoreError
from tenantcache.ratelimit.limiter import Limiter
from tenantcache.ratelimit.slots import MemorySlots
from tenantcache.tenant import Tenant
from tests.fakes import FakeClock, FakeCounters, limited
from tests.test_fleetcounters import Fleet

TENANT = limited(per_minute=600, per_day=100_000)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def fleet(clock: FakeClock) -> AsyncIterator[Fleet]:
    fleet = Fleet(clock)
    await fleet.open()
    fleet.keep_days_in_postgres()
    yield fleet
    await fleet.counters.close()


@pytest.fixture
async def limiter(fleet: Fleet, clock: FakeClock) -> AsyncIterator[Limiter]:
    limiter = Limiter(fleet.counters, MemorySlots(), server_now=clock.server_time, processes=lambda: 1)
    limiter.share_counters(fleet.counters.version_of, fleet.counters.note_lost, fleet.counters.is_billed)
    yield limiter
    for store in (fleet.redis, fleet.postgres):
        store.failing = store.losing = False
        store.error = None
    await limiter.close()


async def admitted_of(limiter: Limiter, tenant: Tenant, count: int) -> int:
    return sum([(await limiter.check(tenant)).allowed for _ in range(count)])


def role_without_insert(store: FakeCounters) -> None:
    store.error = StoreError("Postgres refused: permission denied for table counters", refused=True)


def gone(store: FakeCounters) -> None:
    store.failing = True


def counts_and_does_not_answer(store: FakeCounters) -> None:
    store.losing = True


FAULTS: list[Callable[[FakeCounters], None]] = [gone, role_without_insert, counts_and_does_not_answer]


@pytest.mark.parametrize("break_store", FAULTS)
async def test_a_day_that_cannot_be_asked_takes_no_minute(
    fleet: Fleet, limiter: Limiter, break_store: Callable[[FakeCounters], None], caplog: pytest.LogCaptureFixture
) -> None:
    break_store(fleet.postgres)
    for _ in range(32 * 4):
        assert not (await limiter.check(TENANT)).allowed
        fleet.clock.advance(0.25)
        fleet.pull()
    assert fleet.redis.total("minute") == 0
    assert limiter.degraded
    assert [record.name for record in caplog.records if record.levelno >= logging.WARNING] == [
        "tenantcache.ratelimit.outage"
    ]
    tries = [debit.amount for take in fleet.postgres.takes for debit in take][1:]
    assert set(tries) == {1}, "what is counted and not answered is one token a try"
    assert len(tries) <= 38, "and a try a second"
    fleet.postgres.failing = fleet.postgres.losing = False
    fleet.postgres.error = None
    fleet.later(1)
    assert (await limiter.check(TENANT)).allowed
    assert not limiter.degraded


@pytest.mark.parametrize("break_store", [gone, role_without_insert])
async def test_a_days_tokens_are_used_that_were_granted_before_the_minute_failed(
    fleet: Fleet, limiter: Limiter, break_store: Callable[[FakeCounters], None]
) -> None:
    break_store(fleet.redis)
    await limiter.check(TENANT)
    granted = fleet.postgres.total("day")
    assert granted > 1
    for _ in range(20):
        await limiter.check(TENANT)
        fleet.clock.advance(0.05)
    assert fleet.postgres.total("day") == granted, "they are here, and are not asked for again"
    fleet.redis.failing, fleet.redis.error = False, None
    fleet.later(1.5)
    assert await admitted_of(limiter, TENANT, 10) == 10
    assert fleet.postgres.total("day") == granted
    await limiter.close()
    assert (fleet.redis.total("minute"), fleet.postgres.total("day")) == (10, 10)


async def test_minutes_that_are_held_stay_when_the_day_fails(fleet: Fleet, limiter: Limiter) -> None:
    """The day's tokens run out while those of the minute are here."""
    tenant = limited(per_minute=600, per_day=70)
    assert (await limiter.check(tenant)).allowed
    gone(fleet.postgres)
    meter = limiter.meter_of(tenant)
    await admitted_of(limiter, tenant, meter.day)
    minute = fleet.redis.total("minute")
    assert meter.day == 0 < meter.minute + meter.low
    assert await admitted_of(limiter, tenant, 50) == 0
    assert fleet.redis.total("minute") == minute
    assert meter.minute + meter.low > 0


async def test_a_store_that_does_not_answer_is_asked_less_and_less(
    clock: FakeClock, fleet: Fleet, limiter: Limiter
) -> None:
    counts_and_does_not_answer(fleet.postgres)
    for _ in range(300):  # 30 s
        await limiter.check(TENANT)
        clock.advance(0.1)
        fleet.pull()
    assert 30 <= len(fleet.postgres.takes) <= 36
    assert all(debit.amount == 1 for take in fleet.postgres.takes[1:] for debit in take)


async def test_one_tenants_failure_ends_no_others_tokens(fleet: Fleet, limiter: Limiter) -> None:
    """Nor is it over, and logged anew, each time that another one is answered."""
    gone(fleet.postgres)
    minutes_only = limited("globex", per_minute=600)
    for _ in range(30):
        assert not (await limiter.check(TENANT)).allowed
        assert (await limiter.check(minutes_only)).allowed
        assert limiter.degraded
        fleet.later(1)
