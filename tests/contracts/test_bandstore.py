"""`BandStore`, in the row of a real Postgres and in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import asyncpg
import pytest

from tenantcache.budget.bandstore import BandStore
from tenantcache.budget.core.bands import DWELL, Band, BandChoice, BandProposal, Cause
from tenantcache.ratelimit.core.agreement import Proposal
from tenantcache.stores.bands import PostgresBands
from tenantcache.stores.changelog import PostgresLog
from tenantcache.stores.counterchoice import PostgresChoices
from tenantcache.stores.postgres import PostgresTenants
from tenantcache.testing.bands import TELLING, MemoryBands

PERIOD = 1_700_000_000.0

_PASS = """
    update tenantcache.counter_store set band_changed_at = band_changed_at - $1::interval,
        band_wanted_at = band_wanted_at - $1::interval, band_telling_since = band_telling_since - $1::interval
"""


@dataclass
class World:
    bands: BandStore
    read: Callable[[], Awaitable[BandChoice]]
    let_pass: Callable[[float], Awaitable[None]]
    now: Callable[[], float]


@asynccontextmanager
async def in_memory() -> AsyncIterator[World]:
    now = [PERIOD]
    bands = MemoryBands(lambda: now[0])

    async def read() -> BandChoice:
        return bands.row

    async def let_pass(seconds: float) -> None:
        now[0] += seconds

    yield World(bands, read, let_pass, lambda: now[0])


@asynccontextmanager
async def in_postgres(url: str) -> AsyncIterator[World]:
    postgres, log = PostgresTenants(url, timeout=5.0), PostgresLog(url, timeout=5.0)
    await postgres.open()
    await log.open(lambda *_, **__: None)

    async def read() -> BandChoice:
        pulled = await log.pull((await log.tail(1, 1)).head, 10, 10)
        return pulled.band

    async def let_pass(seconds: float) -> None:
        await postgres.fetch("a test", _PASS.replace("$1", f"'{seconds} s'"))

    yield World(PostgresBands(postgres), read, let_pass, time.time)
    await log.close()
    await postgres.close()


@pytest.fixture(params=["memory", "postgres"])
def making(request: pytest.FixtureRequest) -> AbstractAsyncContextManager[World]:
    return in_memory() if request.param == "memory" else in_postgres(request.getfixturevalue("database_url"))


@pytest.fixture
async def world(making: AbstractAsyncContextManager[World]) -> AsyncIterator[World]:
    async with making as world:
        yield world


def to(version: int, band: Band) -> BandProposal:
    return BandProposal(version, band, PERIOD, 500_000, 350_000, Cause.RISES)


async def test_a_row_begins_with_normal(world: World) -> None:
    row = await world.read()
    assert (row.version, row.band, row.budget, row.told) == (0, Band.NORMAL, 0, 0)
    assert row.period < 0 and row.wanted_at < 0


async def test_a_change_comes_back_with_the_pulls(world: World) -> None:
    assert await world.bands.change(to(0, Band.THRIFT))
    row = await world.read()
    assert (row.version, row.band, row.period, row.budget, row.edge) == (1, Band.THRIFT, PERIOD, 500_000, 350_000)
    assert abs(row.changed_at - world.now()) < 10
    assert row.wanted_at == pytest.approx(row.changed_at, abs=1)


async def test_of_two_changes_one_is_made(world: World) -> None:
    made = await asyncio.gather(*(world.bands.change(to(0, Band.THRIFT)) for _ in range(4)))
    assert sorted(made) == [False, False, False, True]
    assert not await world.bands.change(to(0, Band.NO_COPIES))
    assert (await world.read()).version == 1


async def test_redis_is_left_from_the_band_before_alone_and_after_its_dwell(world: World) -> None:
    assert not await world.bands.change(to(0, Band.NO_REDIS))
    await world.bands.change(to(0, Band.THRIFT))
    await world.let_pass(DWELL + 5)
    assert not await world.bands.change(to(1, Band.NO_REDIS))
    await world.bands.change(to(1, Band.NO_COPIES))
    await world.let_pass(DWELL - 10)
    assert not await world.bands.change(to(2, Band.NO_REDIS))
    await world.let_pass(15)
    assert await world.bands.change(to(2, Band.NO_REDIS))
    assert (await world.read()).band is Band.NO_REDIS


async def test_wanting_a_band_is_noted_for_its_version(world: World) -> None:
    await world.bands.change(to(0, Band.THRIFT))
    await world.let_pass(100)
    before = (await world.read()).wanted_at
    await world.bands.want(0)
    assert (await world.read()).wanted_at == before
    await world.bands.want(1)
    assert (await world.read()).wanted_at > before + 90


async def test_one_process_at_a_time_has_to_tell_of_a_change(world: World) -> None:
    await world.bands.change(to(0, Band.THRIFT))
    assert not await world.bands.claim(1)  # the one that has made it is at it
    await world.let_pass(TELLING + 5)
    assert not await world.bands.claim(0)
    claimed = await asyncio.gather(*(world.bands.claim(1) for _ in range(4)))
    assert sorted(claimed) == [False, False, False, True]
    await world.let_pass(TELLING + 5)
    assert await world.bands.claim(1)
    await world.bands.told(1)
    await world.let_pass(TELLING + 5)
    assert not await world.bands.claim(1)
    assert (await world.read()).told == 1


async def test_the_row_refuses_redis_in_the_last_band(database_url: str) -> None:
    async with in_postgres(database_url) as world:
        for version, band in enumerate((Band.THRIFT, Band.NO_COPIES, Band.NO_REDIS)):
            assert await world.bands.change(to(version, band))
            await world.let_pass(DWELL + 5)
        connection = await asyncpg.connect(database_url)
        postgres = PostgresTenants(database_url, timeout=5.0)
        await postgres.open()
        choices = PostgresChoices(postgres)
        assert not await choices.choose(Proposal(0, "redis", "there", 60.0))  # not even at first
        assert await choices.choose(Proposal(0, "postgres", "there", 60.0))
        await connection.execute("update tenantcache.counter_store set complained_at = '-infinity'")
        assert not await choices.choose(Proposal(1, "redis", "back", 60.0))
        assert await world.bands.change(to(3, Band.NORMAL))
        assert await choices.choose(Proposal(1, "redis", "back", 60.0))
        await postgres.close()
        await connection.close()


async def test_a_pull_during_a_change_proves_nothing(database_url: str) -> None:
    """A process that has not heard of a band may count on in Redis for as long as its last pull vouches for."""
    async with in_postgres(database_url) as world:
        writer = await asyncpg.connect(database_url)
        log = PostgresLog(database_url, timeout=5.0)
        await log.open(lambda *_, **__: None)
        async with writer.transaction():
            await writer.fetchval("select tenantcache.change_band(0, 'thrift', 0, 1, 1)")
            pull = await log.tail(1, 1)
            assert (pull.settled_until, pull.band.version) == (None, 0)
        pull = await log.tail(1, 1)
        assert pull.settled_until is not None
        assert pull.band.version == 1
        await log.close()
        await writer.close()
        assert (await world.read()).band is Band.THRIFT
