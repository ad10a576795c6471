"""`TENANTCACHE_COUNTERS=postgres`, on a real Postgres and a real Redis: Redis has copies, and counts nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tenantcache import Settings, Tenant, TenantCache
from tenantcache.stats import CounterStats
from tests.fakes import until
from tests.servers.billing import BilledCommands

LIMIT = 100


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        f"insert into tenantcache.tenants (id, name, subdomain, limit_per_minute) values ('1', 'Acme', 'acme', {LIMIT})"
    )
    yield connection
    await connection.close()


async def acme(cache: TenantCache) -> Tenant:
    tenant = await cache.resolve("acme.localhost")
    assert tenant is not None
    return tenant


def counters(cache: TenantCache) -> CounterStats:
    found = cache.stats()["limits"]["counters"]
    assert found is not None
    return found


async def admitted(*caches: TenantCache, each: int) -> int:
    return sum([(await cache.check(await acme(cache))).allowed for _ in range(each) for cache in caches])


async def time_in_this_minute() -> int:
    """The minute, if it has some time to go; else the next one."""
    if time.time() % 60 > 45:
        await asyncio.sleep(60 - time.time() % 60)
    return int(time.time() // 60)


@pytest.mark.usefixtures("database")
async def test_limits_hold_in_postgres_and_redis_has_copies_and_no_counters(
    database_url: str, redis_url: str, billed_commands: BilledCommands
) -> None:
    settings = Settings(database_url=database_url, redis_url=redis_url, counters="postgres", warm_up=False)
    async with TenantCache(settings) as first, TenantCache(settings) as second:
        minute = await time_in_this_minute()
        total = await admitted(first, second, each=LIMIT)
        assert total == LIMIT or int(time.time() // 60) > minute
        assert [counters(cache)["store"] for cache in (first, second)] == ["postgres", "postgres"]
        await until(lambda: billed_commands.by_command().get("set", 0) > 0)
    sent = billed_commands.by_command()
    assert "bitfield" not in sent and "expire" not in sent
    assert set(sent) <= {"get", "set"}


async def test_one_process_that_counts_in_postgres_takes_the_fleet_along_and_lets_it_go_back(
    database: asyncpg.Connection, database_url: str, redis_url: str, billed_commands: BilledCommands
) -> None:
    """A roll from one value to the other, and the way back."""
    await database.execute("update tenantcache.tenants set limit_per_minute = 10000")
    in_redis = Settings(database_url=database_url, redis_url=redis_url)
    in_postgres = Settings(database_url=database_url, redis_url=redis_url, counters="postgres")
    async with TenantCache(in_redis) as first, TenantCache(in_redis) as second:
        minute = await time_in_this_minute()
        for cache in (first, second):
            assert (await cache.check(await acme(cache), cost=1000)).allowed
        assert counters(first)["store"] == "redis"
        async with TenantCache(in_postgres) as third:
            tenant, began = await acme(third), time.time()
            while not (await third.check(tenant)).allowed:
                assert time.time() < began + 15
                await asyncio.sleep(0.05)
            await until(lambda: counters(first)["store"] == counters(second)["store"] == "postgres")
            assert counters(first)["why"] == "a process counts without Redis"
            # What Redis had granted is known to Postgres.
            counted = await database.fetchval("select value from tenantcache.counters where policy = 'minute'")
            assert counted >= 2001 or int(time.time() // 60) > minute
            assert not (await third.check(tenant, cost=8000)).allowed or int(time.time() // 60) > minute
            billed_commands.reset()
            await first.check(await acme(first), cost=5000)
            assert "bitfield" not in billed_commands.by_command()
        # It is gone, and reports no more. As if an hour had passed since:
        await database.execute("""
            update tenantcache.counter_store set
                complained_at = complained_at - interval '1 hour', from_minute = from_minute - 60
        """)
        await until(lambda: counters(first)["changes_to"] == counters(second)["changes_to"] == "redis", seconds=8)
