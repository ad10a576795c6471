"""What becomes of loads: callers that join them or do not, failures, early loads, ends, and what they leave behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import pytest

from tenantcache import Settings, StoreUnavailableError, TenantCache
from tenantcache.budget.core.bands import Band
from tenantcache.freshness.log import Doubt, LogEntry
from tenantcache.values.core.valuekey import value_name
from tenantcache.values.valuestore import CopyToWrite
from tenantcache.wiring.stores import Stores
from tests.fakes import FakeClock, FakeCounters, FakeDatabase, make_cache
from tests.values.test_values import Loader, getter, settle
from tests.values.world import LoopTime


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def database(clock: FakeClock) -> FakeDatabase:
    return FakeDatabase(clock)


@pytest.fixture
async def cache(database: FakeDatabase, clock: FakeClock) -> AsyncIterator[TenantCache]:
    async with make_cache(database, clock, values_max_entries=10) as cache:
        yield cache


class Gated:
    """A loader each of whose calls waits for a gate of its own, and gives its number."""

    def __init__(self) -> None:
        self.gates: list[asyncio.Event] = []

    async def __call__(self) -> int:
        self.gates.append(gate := asyncio.Event())
        number = len(self.gates)
        await gate.wait()
        return number


async def pass_time(cache: TenantCache, clock: FakeClock, seconds: float) -> None:
    """Followed all the time."""
    clock.advance(seconds)
    await cache.sync()


# Overtaken loads.


async def test_a_later_caller_does_not_wait_for_a_load_that_was_overtaken(cache: TenantCache) -> None:
    loader = Gated()
    get = getter(cache, loader, ttl=60)  # type: ignore[arg-type]
    earlier = asyncio.create_task(get())
    await settle()
    await cache.values.invalidate("a", tenant="acme")
    later = asyncio.create_task(get())
    await settle()
    loader.gates[1].set()
    assert await later == 2
    loader.gates[0].set()
    assert await earlier == 1
    assert await get() == 2, "what was overtaken has not taken its place"


async def test_a_load_that_was_overtaken_leaves_the_later_one_to_be_joined(cache: TenantCache) -> None:
    loader = Gated()
    get = getter(cache, loader, ttl=60)  # type: ignore[arg-type]
    earlier = asyncio.create_task(get())
    await settle()
    await cache.values.invalidate("a", tenant="acme")
    later = asyncio.create_task(get())
    await settle()
    loader.gates[0].set()
    await earlier
    latest = asyncio.create_task(get())
    await settle()
    assert len(loader.gates) == 2
    loader.gates[1].set()
    assert [await later, await latest] == [2, 2]


# Loads of what is still served.


async def test_it_is_loaded_again_before_its_end(cache: TenantCache, clock: FakeClock) -> None:
    loader = Loader("old")
    get = getter(cache, loader, ttl=100, soft_timeout=5)
    await get()
    await pass_time(cache, clock, 79)
    await get()
    await settle()
    assert loader.calls == 1
    await pass_time(cache, clock, 17)
    loader.now = "new"
    loader.gate.clear()
    assert await get() == "old", "it is not stale, so it is not waited for"
    loader.gate.set()
    await settle()
    assert [await get(), loader.calls, cache.values.stats()["stale_served"]] == ["new", 2, 0]


async def test_a_load_that_fails_is_not_tried_at_each_hit(cache: TenantCache, clock: FakeClock) -> None:
    loader = Loader("old")
    get = getter(cache, loader, fresh=60, stale=600)
    await get()
    await pass_time(cache, clock, 61)
    loader.now = ZeroDivisionError("no")
    for _ in range(3):
        assert await get() == "old"
        await settle()
    assert [loader.calls, cache.values.stats()["failed_reloads"]] == [2, 1]
    await pass_time(cache, clock, 1.1)
    await get()
    await settle()
    assert loader.calls == 3


async def test_what_is_set_and_not_confirmed_ends_all_the_same(cache: TenantCache, clock: FakeClock) -> None:
    loader = Loader(ZeroDivisionError("no"))
    get = getter(cache, loader, ttl=60)
    await cache.values.set("a", "set", tenant="acme", ttl=60)
    await pass_time(cache, clock, 2.9)
    assert await get() == "set"
    await settle()
    await pass_time(cache, clock, 0.2)
    loader.now = "loaded"
    assert await get() == "loaded"


async def test_what_lapses_while_it_is_loaded_again_is_waited_for(cache: TenantCache, clock: FakeClock) -> None:
    """Once the log is lost, it is served only if it cannot be loaded."""
    loader = Loader("old")
    get = getter(cache, loader, fresh=60, stale=600, soft_timeout=0.5)
    time = LoopTime()
    await get()
    await pass_time(cache, clock, 61)
    loader.now = "new"
    loader.gate.clear()
    asking = asyncio.create_task(get())
    await settle()
    clock.advance(3.1)
    time.advance(0.5)
    await settle()
    assert not asking.done()
    loader.gate.set()
    assert await asking == "new"


# What the log says.


async def test_what_a_notification_doubts_is_loaded_again(cache: TenantCache) -> None:
    loader, other = Loader("old"), Loader("kept")
    get = getter(cache, loader, ttl=60)
    await get()
    await cache.values.get_or_load("b", other, tenant="acme", ttl=60)
    loader.now = "new"
    cache._parts.in_loop.follower._notified(doubt=Doubt("", (value_name("acme", "a"),)))
    assert await get() == "new"
    assert await cache.values.get_or_load("b", other, tenant="acme", ttl=60) == "kept"
    assert [loader.calls, other.calls] == [2, 1]


async def test_an_entry_that_says_everything_leaves_nothing(cache: TenantCache, database: FakeDatabase) -> None:
    loader = Loader("old")
    get = getter(cache, loader, ttl=60)
    await get()
    loader.now = "new"
    database._entries.append(LogEntry.from_columns(database.head.seq + 1, database._now(), None, None))
    await cache.sync()
    assert cache.values.stats()["entries"] == 0
    assert await get() == "new"


# Memory.


@pytest.mark.parametrize("changes", [False, True])
async def test_what_was_asked_for_again_outlives_a_scan(cache: TenantCache, changes: bool) -> None:
    """Whether the hits find it tested already, or test it again after a change."""
    loader = Loader("hot")
    get = getter(cache, loader, ttl=60)
    for _ in range(3):
        await get()
        if changes:
            await cache.values.invalidate("other", tenant="acme")
    for number in range(50):
        await cache.values.get_or_load(f"scan{number}", Loader("x"), tenant="acme", ttl=60)
    await get()
    assert loader.calls == 1


# Ends.


async def test_a_loader_that_is_cancelled_says_so(cache: TenantCache) -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match="the loader of 'a' was cancelled"):
        await cache.values.get_or_load("a", cancelled, tenant="acme", ttl=60)


@pytest.mark.parametrize(
    ("given", "told"), [([1], "gave a list"), (None, "gave a NoneType"), ({7: "x"}, "gave a value of 7")]
)
async def test_a_loader_of_many_gives_them_by_their_keys(cache: TenantCache, given: Any, told: str) -> None:
    async def load(_: Sequence[str]) -> Any:
        return given

    with pytest.raises(TypeError, match=told):
        await cache.values.get_many(["7"], load, tenant="acme", ttl=60)


async def test_closing_ends_the_loads_and_tells_those_who_wait(cache: TenantCache) -> None:
    loader = Gated()
    asking = asyncio.create_task(getter(cache, loader, ttl=60)())  # type: ignore[arg-type]
    await settle()
    await cache.close()
    with pytest.raises(StoreUnavailableError, match="the engine is closing"):
        async with asyncio.timeout(60):
            await asking


class SilentCopies:
    """`ValueCopies` that do not answer."""

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        await asyncio.get_running_loop().create_future()
        return []

    async def put_many(self, copies: Sequence[CopyToWrite]) -> None: ...


def test_a_load_does_not_outlive_its_event_loop(clock: FakeClock, database: FakeDatabase) -> None:
    stores = Stores(database, database, database, FakeCounters(), values=SilentCopies())
    cache = TenantCache(Settings(_environ={}, database_url="postgresql://127.0.0.1:1/none"), stores=stores, clock=clock)

    async def begin() -> None:
        await cache.open()
        asyncio.create_task(getter(cache, Loader("old"), ttl=60)())  # noqa: RUF006
        await settle()

    async def go_on() -> Any:
        async with cache:
            stores.in_force.band = Band.NO_COPIES
            return await asyncio.wait_for(getter(cache, Loader("new"), ttl=60)(), 60)

    first = asyncio.new_event_loop()
    first.run_until_complete(begin())
    tasks = asyncio.all_tasks(first)
    first.close()
    assert asyncio.run(go_on()) == "new"
    for task in tasks:  # their loop, which is closed, cannot be told of their end
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        with suppress(RuntimeError):
            task.get_coro().close()
