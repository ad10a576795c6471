"""The database server's clock is set: forward, back, over midnight. No request waits for a time that comes twice."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tenantcache import TenantCache, TenantMiddleware
from tenantcache.core.windows import DAY
from tests.asgi import get
from tests.fakes import MINUTE_START, SERVER_EPOCH, FakeClock, FakeCounters, FakeDatabase, make_cache, row
from tests.test_fleetcounters import Fleet
from tests.test_middleware import Recorder

HOST = b"acme.example.com"
MIDNIGHT = DAY - (SERVER_EPOCH + MINUTE_START) % DAY
"""Seconds from where a fake clock begins to midnight."""


class World:
    def __init__(self, **settings: object) -> None:
        self.clock, self.counters = FakeClock(), FakeCounters()
        self.database = FakeDatabase(self.clock, row("acme"))
        self.cache: TenantCache = make_cache(self.database, self.clock, counters=self.counters, **settings)
        self.app = TenantMiddleware(Recorder(), cache=self.cache)

    async def set_clock(self, seconds: float) -> None:
        self.clock.server_epoch += seconds
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
    assert await world.admitted(5) == 5
    takes = len(world.counters.takes)
    await world.set_clock(-3)
    assert await world.admitted(5) == 5
    assert len(world.counters.takes) == takes, "it goes on with what it holds"


async def test_no_sweep_and_no_log_line_waits_for_the_clock_to_come_back() -> None:
    made = World(limits="shadow", limit_per_minute=1)
    async with made.cache:
        await made.set_clock(600)
        await made.admitted(3)
        assert made.cache.shadow._logged_until
        await made.set_clock(-600)
        assert not made.cache.shadow._logged_until


# The agreement on a store.


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    fleet = Fleet(FakeClock())
    await fleet.open()
    yield fleet
    await fleet.counters.close()


def set_clock(fleet: Fleet, seconds: float) -> None:
    fleet.clock.server_epoch += seconds
    fleet.counters.clock_moved(seconds)


@pytest.mark.parametrize("seconds", [-600.0, 600.0])
async def test_a_log_that_is_lost_after_the_clock_was_set_is_missed_as_soon(fleet: Fleet, seconds: float) -> None:
    """Not ten minutes later, and not at once."""
    fleet.later(30)
    set_clock(fleet, seconds)
    fleet.pull()
    fleet.log_is_away = True
    fleet.counters.fleet.redis_failed(fleet.clock.server_time(), "gone")
    fleet.clock.advance(2.9)
    assert not fleet.counters.stats()["alone"]
    fleet.clock.advance(0.2)
    assert fleet.counters.stats()["alone"]


async def test_minutes_are_not_known_for_longer_because_the_clock_was_set_back(fleet: Fleet) -> None:
    fleet.later(30)
    fleet.log_is_away = True
    fleet.counters.fleet.redis_failed(fleet.clock.server_time(), "gone")
    set_clock(fleet, -600)
    assert fleet.counters.fleet.store_of(fleet.minute().number) == "redis"
    assert fleet.counters.fleet.store_of(fleet.minute(1).number) is None


async def test_a_redis_that_is_failing_is_gone_as_soon(fleet: Fleet) -> None:
    fleet.later(30)
    fleet.counters.fleet.redis_failed(fleet.clock.server_time(), "gone")
    set_clock(fleet, -600)
    assert not fleet.counters.fleet.redis_gone(fleet.clock.server_time() + 1.9)
    assert fleet.counters.fleet.redis_gone(fleet.clock.server_time() + 2.1)
