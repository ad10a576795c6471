"""What starts and stops cost on real servers: the first tokens of all tenants, a command for each group of them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tenantcache import Settings, TenantCache
from tenantcache.stores.rediscounters import MAX_OPERATIONS
from tests.patience import patience
from tests.servers.billing import BilledCommands

TENANTS = 2_100
"""Two groups, of 2,048 at most."""
PROCESSES = 3

pytestmark = pytest.mark.usefixtures(patience.__name__)


@contextlib.asynccontextmanager
async def fleet(database_url: str, redis_url: str, processes: int) -> AsyncIterator[list[TenantCache]]:
    """Engines that have been warmed up, one after the other, as a deployment starts them."""
    async with contextlib.AsyncExitStack() as stack:
        caches = []
        for _ in range(processes):
            cache = TenantCache(Settings(database_url=database_url, redis_url=redis_url, base_domains=["example.com"]))
            await stack.enter_async_context(cache)
            await asyncio.wait_for(cache.warm_up.wait(), 60)
            caches.append(cache)
        yield caches


async def ask(caches: list[TenantCache]) -> None:
    """A request for each seventh tenant, in each process."""
    for cache in caches:
        for number in range(1, TENANTS + 1, 7):
            tenant = await cache.resolve(f"t{number}.example.com")
            assert tenant is not None
            assert (await cache.check(tenant)).allowed


def minute_now() -> int:
    return int(time.time() // 60)


async def add_tenants(database_url: str, count: int) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "insert into tenantcache.tenants (id, name, subdomain) "
            "select 't' || n, 't' || n, 't' || n from generate_series(1, $1::int) n",
            count,
        )
        published = "more"
        while published not in ("nothing", "published"):
            published = await connection.fetchval("select tenantcache.publish(5000)")
    finally:
        await connection.close()


async def test_a_deployment_costs_a_few_commands_for_each_group(
    database_url: str, redis_url: str, billed_commands: BilledCommands
) -> None:
    """And the requests that follow cost none: all tenants have tokens of this minute and this day."""
    await add_tenants(database_url, TENANTS)
    began = minute_now()
    async with fleet(database_url, redis_url, PROCESSES) as caches:
        assert [cache.stats()["lookups"]["warm_up"] for cache in caches] == ["complete"] * PROCESSES
        started = billed_commands.total()
        # For each tenant its minute and the one before are read, its quarter of an hour is debited, and its day.
        a_process = 2 * (-(-3 * 2_048 // MAX_OPERATIONS)) + 2
        expiries = 2 * 2
        # Those that have started by then take anew with each minute that begins while others start.
        assert started <= (PROCESSES * a_process + expiries) * (1 + minute_now() - began)
        before, since = started, time.time()
        await ask(caches)
        while time.time() // 60 != (since - 5) // 60:
            # A minute has begun. Until its tokens are there, each tenant that is asked for takes its own.
            await asyncio.sleep(5)
            before, since = billed_commands.total(), time.time()
            await ask(caches)
        assert billed_commands.total() - before <= 2 * PROCESSES * a_process
        billed_commands.reset()
    stopped = billed_commands.total()
    assert stopped <= PROCESSES * (a_process + 2)


async def test_what_a_fleet_gives_back_is_there_to_take(database_url: str, redis_url: str) -> None:
    """A stop takes nothing of a limit away but what was spent."""
    await add_tenants(database_url, 300)
    async with fleet(database_url, redis_url, 2) as caches:
        minute = time.time() // 60
        tenant = await caches[0].resolve("t1.example.com")
        assert tenant is not None
        for cache in caches:
            assert (await cache.check(tenant)).allowed
    async with TenantCache(
        Settings(database_url=database_url, redis_url=redis_url, base_domains=["example.com"], warm_up=False)
    ) as cache:
        found = await cache.resolve("t1.example.com")
        assert found is not None
        left = {quota.name: quota.remaining for quota in await cache.peek(found)}
    assert left["day"] == 100_000 - 2
    is_same_minute = time.time() // 60 == minute
    assert left["minute"] in ({600 - 2} if is_same_minute else {600 - 2, 600 - 1, 600})
