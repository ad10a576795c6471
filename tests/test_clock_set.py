"""The database server's clock is set: forward, back, over midnight. No request waits for a time that comes twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tenantcache import TenantCache, TenantMiddleware
from tenantcache.errors import StoreError
from tenantcache.ratelimit.core.redishealth import RedisEvent
from tenantcache.ratelimit.core.windows import DAY
from tests.asgi import get
from tests.fakes import SERVER_START, FakeClock, FakeCounters, FakeDatabase, limited, make_cache, row, until
from tests.test_fleetcounters import Fleet, lose_redis
from tests.test_middleware import Recorder

HOST = b"acme.example.com"
MIDNIGHT = DAY - SERVER_START % DAY
"""Seconds from where a fake clock begins to midnight."""


class World:
    def __init__(self, **settings: object) -> None:
        self.clock, self.counters = FakeClock(), FakeCounters()
        self.database = FakeDatabase(self.clock, row("acme"))
        self.cache: TenantCache = make_cache(self.database, self.clock, counters=self.counters, **settings)
        self.app = TenantMiddleware(Recorder(), cache=self.cache)

    async def set_clock(self, seconds: float) -> None:
        self.clock.set_server(seconds)
        await self.cache.sync()

    async def admitted(self, requests: int = 400) -> int:
        return [(await get(self.app, HOST)).status for _ in range(requests)].count(200)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World(limit_per_minute=200, limit_per_day=10_000)
    async with made.cache:
        yield made


@pytest.mark.parametrize("spent_before", [0, 1, 50, 200])
async def test_a_clock_that_was_set_forward_and_back_refuses_for_a_minute_at_most(
    world: World, spent_before: int
) -> None:
    """What was held of a minute that was left is lost, and what was spent of it stands in its counter."""
    assert await world.admitted(spent_before) == spent_before
    await world.set_clock(600)
    assert await world.admitted() == 200
    await world.set_clock(-600)
    assert await world.admitted() <= 200 - spent_before
    for _ in range(4):
        world.clock.advance(60)
        await world.cache.sync()
        assert 150 <= await world.admitted() <= 200


async def test_what_is_held_of_a_later_minute_is_not_spent_now(world: World) -> None:
    """Nor by requests that find their tokens in the middleware."""
    assert await world.admitted() == 200
    await world.set_clock(600)
    assert await world.admitted(3) == 3
    await world.set_clock(-600)
    assert await world.admitted() == 0


async def test_a_day_that_has_not_come_ends_when_the_clock_is_put_right() -> None:
    made = World(limit_per_minute=0, limit_per_day=30)
    async with made.cache:
        made.clock.advance(MIDNIGHT - 300)
        await made.cache.sync()
        assert await made.admitted(10) == 10
        await made.set_clock(600)
        assert await made.admitted() == 30
        await made.set_clock(-600)
        assert 10 <= await made.admitted() <= 20
        made.clock.advance(300)
        await made.cache.sync()
        assert await made.admitted() == 0, "the next day's counter has what was spent of it"


async def test_a_correction_of_a_few_seconds_costs_nothing(world: World) -> None:
    world.clock.advance(58)
    await world.set_clock(3)  # the next minute
    assert await world.admitted(2) == 2
    meter = world.cache._parts.limiter.meter_of(limited("acme"))
    assert meter is not None
    held, takes = meter.minute + meter.low, len(world.counters.takes)
    assert held > 0
    await world.set_clock(-3)
    assert await world.admitted(1) == 1
    assert meter.minute + meter.low == held - 1, "it goes on with what it holds"
    assert len(world.counters.takes) == takes


async def test_no_sweep_and_no_log_line_waits_for_the_clock_to_come_back() -> None:
    made = World(limits="shadow", limit_per_minute=1)
    async with made.cache:
        await made.set_clock(600)
        await made.admitted(3)
        assert made.cache._parts.shadow._logged_until
        await made.set_clock(-600)
        assert not made.cache._parts.shadow._logged_until


# The agreement on a store.


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    fleet = Fleet(FakeClock())
    await fleet.open()
    yield fleet
    await fleet.counters.close()


def set_clock(fleet: Fleet, seconds: float) -> None:
    fleet.clock.set_server(seconds)
    fleet.counters.clock_moved(seconds)


@pytest.mark.parametrize("seconds", [-600.0, 600.0])
async def test_a_log_that_is_lost_after_the_clock_was_set_is_missed_as_soon(fleet: Fleet, seconds: float) -> None:
    """Not ten minutes later, and not at once."""
    fleet.later(30)
    set_clock(fleet, seconds)
    fleet.pull()
    fleet.log_is_away = True
    fleet.counters.failover.redis_failed(RedisEvent.SILENT, "gone", fleet.clock.server_time())
    fleet.clock.advance(2.9)
    assert not fleet.counters.stats()["isolated"]
    fleet.clock.advance(0.2)
    assert fleet.counters.stats()["isolated"]


async def test_minutes_are_not_known_for_longer_because_the_clock_was_set_back(fleet: Fleet) -> None:
    fleet.later(30)
    fleet.log_is_away = True
    fleet.counters.failover.redis_failed(RedisEvent.SILENT, "gone", fleet.clock.server_time())
    set_clock(fleet, -600)
    assert fleet.counters.failover.store_of(fleet.minute().number) == "redis"
    assert fleet.counters.failover.store_of(fleet.minute(1).number) is None


@pytest.mark.parametrize("clock_set", [-600.0, 600.0])
async def test_a_redis_that_is_failing_is_gone_as_soon(fleet: Fleet, clock_set: float) -> None:
    fleet.later(30)
    store, asked = fleet.counters.failover, fleet.clock.server_time()
    store.redis_answered(asked, asked)
    for seconds in (0.2, 1.3):
        store.redis_failed(RedisEvent.SILENT, "gone", asked + seconds, asked=asked + seconds)
    fleet.clock.advance(1.3)
    set_clock(fleet, clock_set)
    assert not store.redis.is_unavailable(fleet.clock.server_time() + 0.6)
    assert store.redis.is_unavailable(fleet.clock.server_time() + 0.8)


@pytest.mark.parametrize("clock_set", [-600.0, 600.0])
async def test_a_redis_that_begins_to_fail_then_is_asked_as_long(fleet: Fleet, clock_set: float) -> None:
    """What failed before the clock was set, and once after it, is not a second of failures."""
    store, now = fleet.counters.failover, fleet.clock.server_time
    store.redis_answered(now() - 5, now() - 5)
    store.redis_failed(RedisEvent.SILENT, "gone", now(), asked=now())
    set_clock(fleet, clock_set)
    fleet.clock.advance(0.5)
    assert not store.redis.is_unavailable(now())
    store.redis_failed(RedisEvent.SILENT, "gone", now(), asked=now())
    assert not store.redis.is_unavailable(now())
    fleet.clock.advance(0.6)
    store.redis_failed(RedisEvent.SILENT, "gone", now(), asked=now())
    assert store.redis.is_unavailable(now())


async def test_redis_is_watched_on_when_the_clock_was_set_back(fleet: Fleet) -> None:
    fleet.link.error = StoreError("Redis is not running")
    fleet.later(1)
    await until(lambda: fleet.counters.stats()["redis"] == "failing")
    set_clock(fleet, -600)
    fleet.pull()
    fleet.link.error, pings = None, fleet.link.pings
    fleet.clock.advance(0.5)
    await until(lambda: fleet.link.pings > pings)
    await until(lambda: fleet.counters.stats()["redis"] == "answering")


@pytest.mark.parametrize("clock_set", [-600.0, 600.0])
async def test_a_postgres_that_does_not_count_is_given_up_as_soon(clock_set: float) -> None:
    fleet = Fleet(FakeClock(), has_redis=False)
    await fleet.open(redis_found=False)
    fleet.counters.failover.postgres_failed(fleet.clock.server_time())
    set_clock(fleet, clock_set)
    fleet.pull()
    assert not fleet.counters.failover.is_isolated(fleet.clock.server_time() + 2.9)
    assert fleet.counters.failover.is_isolated(fleet.clock.server_time() + 3.1)
    await fleet.counters.close()


async def test_a_postgres_that_counts_again_is_found_when_the_clock_was_set_back() -> None:
    fleet = Fleet(FakeClock(), has_redis=False)
    await fleet.open(redis_found=False)
    fleet.postgres.failing = True
    fleet.counters.failover.postgres_failed(fleet.clock.server_time())
    await until(lambda: fleet.counters.coordinator._next_try > fleet.clock.server_time())
    set_clock(fleet, -600)
    fleet.postgres.failing = False
    fleet.later(1.5)
    await until(lambda: fleet.counters.stats()["postgres"] == "answering")
    await fleet.counters.close()


@pytest.mark.parametrize("clock_set", [-600.0, 600.0])
async def test_the_lease_is_renewed_as_soon_as_the_clock_was_set(fleet: Fleet, clock_set: float) -> None:
    """Requests do not wait for it, and it is not another ten minutes old by then."""
    await fleet.debit(fleet.minute())
    asked = len(fleet.choices.holds)
    set_clock(fleet, clock_set)
    fleet.pull()
    assert await fleet.debit(fleet.minute()) == [1]
    await until(lambda: len(fleet.choices.holds) > asked)


@pytest.mark.parametrize(
    ("clock_set", "reports"), [(0.0, 1), (-0.02, 1), (-30.0, 1), (-46.0, 0), (30.0, 1), (-90.0, 0)]
)
async def test_a_minute_that_begins_again_is_not_handed_over(clock_set: float, reports: int) -> None:
    """What was granted of it the first time is not known any more; the change begins at the edge.

    A clock that is set back within the minute begins no minute again. At a start estimates of it move by milliseconds.
    """
    fleet = Fleet(FakeClock())
    await fleet.open()
    fleet.clock.advance(45 - fleet.clock.server_time() % 60)
    set_clock(fleet, clock_set)
    fleet.later(1)
    fleet.tokens.granted = {"acme": 3}
    fleet.choices.others_report = True
    await lose_redis(fleet)
    await asyncio.sleep(0.6)
    assert len(fleet.choices.reports) == reports
    await fleet.counters.close()
