"""`cache.values` on real servers: what it costs by the servers' own count, and two processes that share values."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from tenantcache import Settings, TenantCache
from tenantcache.budget.core.bands import Band
from tenantcache.budget.core.meter import Purpose
from tenantcache.devservers import RedisServer
from tenantcache.errors import StoreError
from tenantcache.runtime import clock
from tenantcache.stores.redis import RedisLink
from tenantcache.stores.redisvalues import RedisValues
from tenantcache.values.valuestore import CopyToWrite
from tests.fakes import until
from tests.servers.billing import BilledCommands

pytestmark = pytest.mark.usefixtures("patience")

BOUND = 3.0
"""Seconds: `max_staleness` by default."""


def make(database_url: str, redis_url: str, **settings: Any) -> TenantCache:
    """The log vouches for memory, and so for copies in Redis, for longer than a busy machine stands still."""
    terms: dict[str, Any] = {"redis_pricing": "flat", "warm_up": False, "usage_interval": 0, "max_staleness": 60}
    terms |= settings
    return TenantCache(Settings(database_url=database_url, redis_url=redis_url, **terms))


async def written(cache: TenantCache) -> None:
    await until(lambda: not cache.values.parts.sharing.is_writing)


class Loader:
    def __init__(self, value: object) -> None:
        self.value, self.calls = value, 0

    async def __call__(self) -> Any:
        self.calls += 1
        return self.value


async def load_upper(keys: Sequence[str]) -> Mapping[str, str]:
    return {key: key.upper() for key in keys}


async def test_what_each_call_costs(database_url: str, redis_url: str, billed_commands: BilledCommands) -> None:
    async with make(database_url, redis_url) as cache:

        async def get() -> object:
            return await cache.values.get_or_load("a", Loader({"x": 1}), tenant="acme", ttl=60, tags=["t"])

        billed_commands.reset()
        await get()
        await written(cache)
        assert billed_commands.by_command() == {"get": 1, "set": 1}
        billed_commands.reset()
        for _ in range(100):
            await get()
        assert billed_commands.by_command() == {}
        await cache.values.invalidate("a", tenant="acme")
        await cache.values.invalidate(tag="t", tenant="acme")
        await cache.values.expire(tag="t", tenant="acme")
        await cache.values.set("b", 1, tenant="acme", ttl=60)
        assert billed_commands.by_command() == {}
        asked: list[int] = []

        async def load(keys: Sequence[str]) -> Mapping[str, str]:
            asked.append(len(keys))
            return {key: "x" for key in keys}

        keys = [f"k{number}" for number in range(100)]
        assert len(await cache.values.get_many(keys, load, tenant="acme", ttl=60)) == 100
        await written(cache)
        assert billed_commands.by_command() == {"mget": 1, "set": 100}
        assert asked == [100]


async def test_another_process_finds_what_one_has_loaded(
    database_url: str, redis_url: str, billed_commands: BilledCommands
) -> None:
    async with make(database_url, redis_url) as one:
        keys = [f"k{number}" for number in range(100)]
        await one.values.get_many(keys, load_upper, tenant="acme", ttl=60)
        await written(one)
        billed_commands.reset()
        async with make(database_url, redis_url) as two:
            loader = Loader("x")
            assert await two.values.get_or_load("k0", loader, tenant="acme", ttl=60) == "K0"
            found = await two.values.get_many(keys, load_upper, tenant="acme", ttl=60)
            assert found == {key: key.upper() for key in keys}
            assert (loader.calls, two.values.stats()["loads"]) == (0, 0)
            assert billed_commands.by_command() == {"get": 1, "mget": 1}
            assert two.values.explain("k1", tenant="acme").tier == "redis"


async def test_nothing_is_written_at_a_first_miss_if_commands_are_billed(
    database_url: str, redis_url: str, billed_commands: BilledCommands
) -> None:
    async with make(database_url, redis_url, redis_pricing="per-command") as cache:
        billed_commands.reset()
        for expected in ({"get": 1}, {"get": 2, "set": 1}):
            await cache.values.get_or_load("a", Loader("x"), tenant="acme", ttl=60)
            await written(cache)
            assert billed_commands.by_command() == expected
            await cache.values.invalidate("a", tenant="acme")


@pytest.mark.parametrize("by_tag", [False, True])
async def test_what_redis_has_from_before_an_invalidation_is_refused(
    database_url: str, redis_url: str, by_tag: bool
) -> None:
    async with make(database_url, redis_url) as one, make(database_url, redis_url) as two:
        await one.values.get_or_load("a", Loader("old"), tenant="acme", ttl=60, tags=["t"])
        await written(one)
        if by_tag:
            await one.values.invalidate(tag="t", tenant="acme")
        else:
            await one.values.invalidate("a", tenant="acme")
        await two.sync()
        assert await two.values.get_or_load("a", Loader("new"), tenant="acme", ttl=60) == "new"
        assert two.values.stats()["redis_refused"] == 1


async def test_a_process_that_starts_later_knows_what_was_invalidated(database_url: str, redis_url: str) -> None:
    async with make(database_url, redis_url) as one:
        await one.values.get_or_load("a", Loader("old"), tenant="acme", ttl=60, tags=["t"])
        await one.values.get_or_load("b", Loader("kept"), tenant="acme", ttl=60)
        await written(one)
        await one.values.invalidate(tag="t", tenant="acme")
        async with make(database_url, redis_url) as two:
            kept = Loader("loaded")
            assert await two.values.get_or_load("a", Loader("new"), tenant="acme", ttl=60, tags=["t"]) == "new"
            assert await two.values.get_or_load("b", kept, tenant="acme", ttl=60) == "kept"
            assert two.values.stats()["redis_refused"] == 1


async def test_a_person_may_say_that_everything_has_changed(database_url: str, redis_url: str) -> None:
    async with make(database_url, redis_url) as one, make(database_url, redis_url) as two:
        await one.values.get_or_load("a", Loader("lost"), tenant="acme", ttl=60)
        await written(one)
        connection = await asyncpg.connect(database_url)
        await connection.execute("select tenantcache.log_change(null, null)")
        await connection.close()
        for cache in (one, two):
            await cache.sync()
        assert await two.values.get_or_load("a", Loader("there"), tenant="acme", ttl=60) == "there"
        assert two.values.stats()["redis_refused"] == 1
        assert await one.values.get_or_load("a", Loader("there"), tenant="acme", ttl=60) == "there"


async def test_what_is_stored_can_be_read_by_a_person(database_url: str, redis_url: str) -> None:
    async with make(database_url, redis_url) as cache:
        await cache.values.get_or_load("a:b", Loader({"theme": "dark"}), tenant="ac:me", fresh=60, stale=5, tags=["t"])
        await written(cache)
        async with Redis.from_url(redis_url) as redis:
            stored = await redis.get("tenantcache:value:ac%3Ame:a:b")
            ttl = await redis.ttl("tenantcache:value:ac%3Ame:a:b")
        mark = cache.freshness.mark
        assert mark is not None
        assert stored is not None
        document = json.loads(stored)
        loaded = document.pop("loaded")
        assert abs(loaded - cache.server_now()) < 5
        assert document == {
            "tenantcache": 1,
            "epoch": cache.freshness.epoch,
            "log": [mark.seq, mark.at],
            "fresh": 60,
            "stale": 5,
            "tags": ["t"],
            "value": {"theme": "dark"},
        }
        assert 58 <= ttl <= 65


async def test_a_value_that_is_too_large_is_not_stored(
    database_url: str, redis_url: str, billed_commands: BilledCommands, caplog: pytest.LogCaptureFixture
) -> None:
    async with make(database_url, redis_url, max_value_bytes=1000) as cache:
        billed_commands.reset()
        for key in ("a", "a"):
            await cache.values.get_or_load(key, Loader("x" * 2000), tenant="acme", ttl=60)
            await cache.values.invalidate(key, tenant="acme")
        await cache.values.get_or_load("b", Loader("x" * 2000), tenant="acme", ttl=60)
        assert "set" not in billed_commands.by_command()
        assert cache.values.stats()["too_large"] == 3
    told = [line for line in caplog.messages if "is not stored in Redis" in line]
    assert len(told) == 2  # once for each place of the application
    assert all(f"{__file__}:" in line for line in told)


async def test_a_redis_that_refuses_writes_is_read_and_seldom_written(
    redis_factory: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 100.0
    monkeypatch.setattr(clock, "now", lambda: now)
    full = redis_factory(options={"maxmemory": "1", "maxmemory-policy": "noeviction"})
    link = RedisLink(full.url)
    values = RedisValues(link)
    copies = [CopyToWrite("a", b"x", 60.0), CopyToWrite("b", b"x", 60.0)]
    for batches in (3, 1):  # then there is a pause, and one more is tried after it
        for _ in range(10):
            with pytest.raises(StoreError):
                await values.put_many(copies)
            assert await values.get_many(["a"]) == [None]
        info = await link.info()
        assert info["errorstat_OOM"]["count"] == 2 * batches
        await link.run(Purpose.PROBE, "CONFIG", "RESETSTAT")
        now += 1.0
    await link.close()
    [told] = [line for line in caplog.messages if "are not written into Redis" in line]
    assert "maxmemory" in told


async def test_without_copies_redis_is_not_asked(
    database_url: str, redis_url: str, billed_commands: BilledCommands
) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "update tenantcache.counter_store set band = 'no copies', band_version = 1, band_period = now()"
    )
    await connection.close()
    async with make(database_url, redis_url) as cache:
        assert cache._parts.stores.in_force.band is Band.NO_COPIES
        billed_commands.reset()
        await cache.values.get_or_load("a", Loader("x"), tenant="acme", ttl=60)
        await written(cache)
        assert billed_commands.by_command() == {}


async def test_what_is_not_a_copy_is_a_miss(database_url: str, redis_url: str) -> None:
    async with make(database_url, redis_url) as cache, Redis.from_url(redis_url) as redis:
        for number, octets in enumerate(
            (b"", b"\xff\x00", b"[1]", b'{"tenantcache":1,"value":1}', b'{"x":1,"value":{}}')
        ):
            await redis.set(f"tenantcache:value:acme:k{number}", octets)
            assert await cache.values.get_or_load(f"k{number}", Loader("x"), tenant="acme", ttl=60) == "x"
        await redis.lpush("tenantcache:value:acme:list", "x")
        assert await cache.values.get_or_load("list", Loader("x"), tenant="acme", ttl=60) == "x"


# Two processes.


class Process:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(await self._process.stdout.readline())

    async def do(self, *command: str | int) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        return await self.answer()

    async def end(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.close()
        return await self._process.wait()


@asynccontextmanager
async def processes(database_url: str, redis_url: str, count: int = 2) -> AsyncIterator[list[Process]]:
    environ = {
        **os.environ,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "TENANTCACHE_REDIS_PRICING": "flat",
    }
    pipe = asyncio.subprocess.PIPE
    started = [
        Process(
            await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.values.process", stdin=pipe, stdout=pipe, env=environ, limit=1 << 26
            )
        )
        for _ in range(count)
    ]
    for process in started:
        assert await process.answer() == "ready"
    yield started
    assert [await process.end() for process in started] == [0] * count


@pytest.mark.parametrize(
    "how",
    ["key", *(pytest.param(how, marks=pytest.mark.slow) for how in ("transaction", "tag", "set"))],
)
async def test_two_processes_follow_each_change(database_url: str, redis_url: str, how: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("create table public.things (key text primary key, version integer not null)")
    await connection.execute("insert into public.things values ('a', 1)")
    await connection.close()
    async with processes(database_url, redis_url) as fleet:
        for process in fleet:
            await process.do("get")
            await process.do("start")
        writes = []
        for number in range(20):
            writes.append(await fleet[number % 2].do("write", how))
            for process in fleet:
                await process.do("see", writes[-1]["version"])
        reads = [await process.do("stop") for process in fleet]
    for write in writes:
        # Its own process serves nothing older once it was told; what is newer is another writer's.
        assert write["own"] is None or write["own"] >= write["version"]
    for process_reads in reads:
        assert process_reads[-1][2] == 21
        assert {version for _, _, version in process_reads} >= set(range(2, 22))
        for began, _, version in process_reads:
            known = [write["version"] for write in writes if write["told"] < began - BOUND]
            assert version >= max(known, default=1)
