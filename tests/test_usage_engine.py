"""Usage from requests to `cache.usage`, on real servers. It is what was let through, each request once, with and
without limits, and costs no command and no query for any of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from starlette.responses import PlainTextResponse

from tenantcache import Settings, TenantCache, TenantMiddleware
from tenantcache.devservers import PostgresServer, RedisServer
from tenantcache.freshness.core.servertime import ServerTime
from tenantcache.ratelimit.memorycounters import MemoryCounters
from tenantcache.schema import install as schema
from tenantcache.wiring.stores import Stores
from tests.asgi import get
from tests.end_to_end.workers import Fleet
from tests.fakes import FakeCounters, until
from tests.servers.billing import BilledCommands

pytestmark = pytest.mark.usefixtures("patience")

TENANTS = {"both": (1000, 1000), "minute": (1000, 0), "day": (0, 1000), "unlimited": (0, 0), "few": (5, 0)}

EXPECTED = {"both": 40, "minute": 40, "day": 40, "unlimited": 40, "few": 5}

NEVER = 3600.0


def make(database_url: str, redis_url: str | None = None, **settings: Any) -> TenantCache:
    values: dict[str, Any] = {"base_domains": ["example.com"], "usage_interval": NEVER} | settings
    return TenantCache(Settings(database_url=database_url, redis_url=redis_url, warm_up=False, **values))


@pytest.fixture
async def url(database_url: str) -> str:
    await add_tenants(database_url)
    return database_url


async def add_tenants(url: str) -> None:
    connection = await asyncpg.connect(url)
    for name, limits in TENANTS.items():
        await connection.execute(
            "insert into tenantcache.tenants (id, name, subdomain, limit_per_minute, limit_per_day)"
            " values ($1, $1, $1, $2, $3)",
            name,
            *limits,
        )
    await connection.close()


async def send(cache: TenantCache, requests: int) -> None:
    app = TenantMiddleware(PlainTextResponse("hello"), cache=cache)
    for name in TENANTS:
        for _ in range(requests):
            await get(app, f"{name}.example.com".encode())


async def totals(cache: TenantCache) -> dict[str, int]:
    """Added up over days: midnight may come in between."""
    return {name: sum(day.requests for day in await cache.usage.read(name)) for name in TENANTS}


async def test_two_engines_count_every_request_once(url: str, redis_url: str) -> None:
    first, second = make(url, redis_url), make(url, redis_url)
    async with first, second:
        await send(first, 10)
        await first.usage.flush()
        await send(first, 10)
        await send(second, 20)
        assert await totals(first) == dict.fromkeys(TENANTS, 10) | {"few": 5}
    async with make(url, redis_url) as reader:
        assert await totals(reader) == EXPECTED


async def test_two_processes_lose_nothing_on_an_orderly_stop(url: str, redis_url: str) -> None:
    async with Fleet(ports=2, database_url=url, redis_url=redis_url, usage_interval="0.1") as fleet:
        await fleet.connect()
        for connection in fleet.connections:
            for name in TENANTS:
                for _ in range(20):
                    await connection.get(f"{name}.example.com")
        fleet.stop()
    async with make(url, redis_url) as reader:
        assert await totals(reader) == EXPECTED


async def test_requests_cost_nothing_for_it(url: str, redis_url: str, billed_commands: BilledCommands) -> None:
    async with make(url, redis_url) as cache:
        app = TenantMiddleware(PlainTextResponse("hello"), cache=cache)
        await get(app, b"unlimited.example.com")
        await until(lambda: billed_commands.by_command().get("set") == 1 and cache.indexer.is_ready)
        billed_commands.reset()
        queries = cache.stats()["postgres"]["queries"]
        for _ in range(1000):
            await get(app, b"unlimited.example.com")
        assert billed_commands.by_command() == {}
        assert cache.stats()["postgres"]["queries"] == queries
        await cache.usage.flush()
        assert cache.stats()["postgres"]["queries"] == queries + 1, "one batch"
        assert (await totals(cache))["unlimited"] == 1001


async def test_when_a_tenant_was_last_seen(url: str) -> None:
    async with make(url) as cache:
        before = datetime.now(UTC)
        await send(cache, 1)
        await cache.usage.flush()
        seen = await cache.usage.last_seen(["both", "nobody", "unlimited"])
        assert sorted(seen) == ["both", "unlimited"]
        assert all(
            before - timedelta(seconds=1) <= at <= datetime.now(UTC) + timedelta(seconds=1) for at in seen.values()
        )
        [today] = (await cache.usage.read("both"))[-1:]
        assert today.last_seen_at == seen["both"]


async def test_usage_goes_by_days(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Midnight comes between two requests, and not when usage is collected."""
    settings = make(url).settings
    # Postgres would know that the clock is wrong, and so which of its counters belongs to the minute would be unknown.
    stores = replace(Stores.from_settings(settings), counters=MemoryCounters())
    async with TenantCache(settings, stores=stores) as cache:
        monkeypatch.setattr(ServerTime, "observe", lambda *_: None)  # it would set the clock right again
        app = TenantMiddleware(PlainTextResponse("hello"), cache=cache)
        today = datetime.now(UTC).date()
        for offset, requests in ((0, 3), (86_400, 2)):
            cache.server_time.offset += offset
            cache._parts.changes.clock_moved()
            for _ in range(requests):
                for name in ("unlimited", "day", "both"):
                    await get(app, f"{name}.example.com".encode())
        await cache.usage.flush()
        for name in ("unlimited", "day", "both"):
            days = [(day.day, day.requests) for day in await cache.usage.read(name, today)]
            assert days == [(today, 3), (today + timedelta(days=1), 2)]


@pytest.mark.parametrize(("limits", "few"), [("shadow", 20), ("off", 20), ("enforce", 5)])
async def test_what_is_let_through_counts_whatever_the_limits_say(url: str, limits: str, few: int) -> None:
    async with make(url, limits=limits) as cache:
        await send(cache, 20)
        await cache.usage.flush()
        assert await totals(cache) == dict.fromkeys(TENANTS, 20) | {"few": few}


async def test_paths_without_a_limit_are_usage_too(url: str) -> None:
    async with make(url, unlimited_paths=["/hooks"]) as cache:
        app = TenantMiddleware(PlainTextResponse("hello"), cache=cache)
        statuses = [(await get(app, b"few.example.com", "/hooks/x")).status for _ in range(20)]
        assert statuses == [200] * 20
        await cache.usage.flush()
        assert (await totals(cache))["few"] == 20


async def test_a_refund_is_no_usage(url: str) -> None:
    async with make(url) as cache:
        tenant = await cache.resolve("both.example.com")
        assert tenant is not None
        for _ in range(5):
            await cache.check(tenant)
        await cache.usage.flush()
        assert cache.refund(tenant, 2) == 2
        await cache.check(tenant)
        await cache.usage.flush()
        assert (await totals(cache))["both"] == 4


async def test_who_waits_for_a_token_at_the_stop_is_counted(url: str) -> None:
    settings = make(url).settings
    stores = Stores.from_settings(settings)
    stores.counters = counters = FakeCounters()
    cache = TenantCache(settings, stores=stores)
    await cache.open()
    counters.gate.clear()
    app = TenantMiddleware(PlainTextResponse("hello"), cache=cache)
    waiting = [asyncio.create_task(get(app, b"both.example.com")) for _ in range(3)]
    await until(lambda: len(counters.takes) == 1)
    closing = asyncio.create_task(cache.close())
    await asyncio.sleep(0.05)
    counters.gate.set()
    await closing
    assert [(await task).status for task in waiting] == [200] * 3
    async with make(url) as reader:
        assert (await totals(reader))["both"] == 3


async def test_it_may_be_switched_off(url: str) -> None:
    settings = make(url, usage_interval=0, host_index_max_hosts=0).settings
    stores = replace(Stores.from_settings(settings), counters=MemoryCounters())  # nothing else asks Postgres
    async with TenantCache(settings, stores=stores) as cache:
        await send(cache, 3)
        queries = cache.stats()["postgres"]["queries"]
        assert await totals(cache) == dict.fromkeys(TENANTS, 0)
        assert cache.stats()["postgres"]["queries"] == queries + len(TENANTS)
    async with make(url) as reader:
        assert await totals(reader) == dict.fromkeys(TENANTS, 0)


async def test_it_waits_while_postgres_is_away(
    postgres_factory: Callable[..., PostgresServer], redis_factory: Callable[..., RedisServer]
) -> None:
    postgres, redis = postgres_factory(), redis_factory()
    connection = await asyncpg.connect(postgres.url)
    await schema.install(connection)
    await connection.close()
    await add_tenants(postgres.url)
    async with make(postgres.url, redis.url, usage_interval=0.05) as cache:
        await send(cache, 5)
        postgres.stop()
        await send(cache, 5)
        written = cache.usage.batches
        await send(cache, 10)
        await until(lambda: cache.stats()["usage"]["waiting"] >= len(TENANTS))
        postgres.start()
        await until(lambda: cache.usage.batches > written, seconds=20)
    async with make(postgres.url) as reader:
        assert await totals(reader) == dict.fromkeys(TENANTS, 20) | {"few": 5}


async def test_get_many_is_one_mget_and_one_query(url: str, redis_url: str, billed_commands: BilledCommands) -> None:
    async with make(url, redis_url) as first:
        await first.get_many(["both", "day"])
        await until(lambda: billed_commands.by_command().get("set") == 2)
    async with make(url, redis_url) as second:
        await second.resolve("minute.example.com")
        await until(lambda: second.indexer.is_ready)  # it asks Postgres as well
        billed_commands.reset()
        queries = second.stats()["postgres"]["queries"]
        found = await second.get_many(["both", "day", "unlimited", "few", "nobody"])
        assert sorted(found) == ["both", "day", "few", "unlimited"]
        await until(lambda: billed_commands.by_command().get("set") == 2)
        assert billed_commands.by_command() == {"mget": 1, "set": 2}, "the two that were not there yet are copied"
        assert second.stats()["postgres"]["queries"] == queries + 1
        await second.get_many(["both", "day", "unlimited", "few"])
        assert billed_commands.by_command() == {"mget": 1, "set": 2}
        assert second.stats()["postgres"]["queries"] == queries + 1
