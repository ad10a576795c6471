"""The meter against the server's own count, to the command, on real engines; and what the fleet tells itself of it."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from tenantcache import Settings, TenantCache
from tenantcache.budget.core.prices import FREE
from tests.fakes import until
from tests.servers.billing import BilledCommands
from tests.servers.cluster import RedisCluster
from tests.settling import settle

pytestmark = pytest.mark.usefixtures("patience")

TENANTS = [f"tenant-{number}" for number in range(20)]

QUIET = 2.5
"""Seconds. What an engine does by itself it does once a second; nothing here can be told to do it sooner."""


@pytest.fixture
async def url(database_url: str) -> str:
    connection = await asyncpg.connect(database_url)
    await connection.executemany(
        "insert into tenantcache.tenants (id, name, subdomain, limit_per_minute) values ($1, $1, $1, 50)",
        [(tenant,) for tenant in TENANTS],
    )
    await connection.close()
    return database_url


def make(database_url: str, redis_url: str, **settings: Any) -> TenantCache:
    return TenantCache(Settings(database_url=database_url, redis_url=redis_url, warm_up=False, **settings))


async def use(cache: TenantCache) -> None:
    """Lookups, fills, takes, reads, a reset, removals, and a connection that is lost."""
    for name in TENANTS:
        found = await cache.resolve(f"{name}.localhost")
        assert found is not None
        tenant = found
        for _ in range(60):
            await cache.check(tenant)
    await cache.get_many(TENANTS)
    await cache.peek(tenant)
    link = cache._parts.stores.link
    assert link is not None
    await settle(cache)
    await link._redis.connection_pool.disconnect(inuse_connections=False)
    await cache.check_named(tenant, "login", tenant.limits)
    await cache.invalidate(TENANTS[0])
    await cache.resolve(f"{TENANTS[0]}.localhost")
    await cache.reset(TENANTS[1])
    await link.try_to_count()
    await settle(cache)


def sent_by(cache: TenantCache) -> dict[str, int]:
    """Billed commands by name, as the server calls them."""
    found = {each.name.lower(): each.billed for each in cache.budget.by_command if each.name not in FREE}
    return {name: billed for name, billed in found.items() if billed}


async def test_the_meter_is_the_servers_count(url: str, redis_url: str, billed_commands: BilledCommands) -> None:
    async with make(url, redis_url) as cache:
        await use(cache)
    assert cache.stats()["redis"]["billed_commands"] == billed_commands.total()
    assert sent_by(cache) == billed_commands.by_command()
    purposes = {each.purpose: each.billed for each in cache.budget.by_purpose}
    assert purposes == dict(cache.stats()["redis"]["billed_by_purpose"])
    assert {name for name, billed in purposes.items() if not billed} == set()
    assert sum(billed for billed in purposes.values()) == billed_commands.total()
    commands = billed_commands.by_command()
    assert (purposes["lookup"], purposes["fill"]) == (commands["get"] + commands.get("mget", 0), commands["set"])
    assert purposes["invalidation"] == commands["unlink"]
    assert purposes["reservation"] + purposes["return"] + 1 == commands["bitfield"], "and that of the probe"


async def test_a_clusters_count_is_the_sum_of_its_masters(url: str, redis_cluster: RedisCluster) -> None:
    async with make(url, redis_cluster.url) as cache:
        await use(cache)
    async with make(url, redis_cluster.url) as again:
        await again.get_many(TENANTS)  # one command for each slot
    total = sum(each.stats()["redis"]["billed_commands"] for each in (cache, again))
    assert total == redis_cluster.billed()


async def test_read_regions_bill_writes_again(url: str, redis_url: str, billed_commands: BilledCommands) -> None:
    async with make(url, redis_url, redis_read_regions=2) as cache:
        await use(cache)
    commands = billed_commands.by_command()
    reads = commands["get"] + commands.get("mget", 0)
    assert cache.budget.used == reads + 3 * (billed_commands.total() - reads)


async def test_flat_plans_count_commands_and_bill_none(
    url: str, redis_url: str, billed_commands: BilledCommands
) -> None:
    async with make(url, redis_url, redis_pricing="flat") as cache:
        await use(cache)
    sent = sum(each.commands for each in cache.budget.by_command if each.name not in FREE)
    assert (cache.budget.used, sent) == (0, billed_commands.total())
    assert "memory" in cache.budget.note


async def test_ecpus_are_at_least_the_commands(url: str, redis_url: str, billed_commands: BilledCommands) -> None:
    async with make(url, redis_url, redis_pricing="ecpu") as cache:
        await use(cache)
        await cache.get_many(TENANTS)
    commands = {each.name: each for each in cache.budget.by_command}
    assert cache.budget.unit == "ECPUs"
    assert commands["SET"].billed == commands["SET"].commands == billed_commands.by_command()["set"]
    assert commands["MGET"].billed > commands["MGET"].commands, "20 keys"
    assert cache.budget.used == sum(each.billed for each in commands.values())


async def test_a_fleet_knows_what_it_has_used(url: str, redis_url: str, billed_commands: BilledCommands) -> None:
    async with make(url, redis_url) as first, make(url, redis_url) as second:
        await use(first)
        await use(second)
    async with make(url, redis_url) as third:
        await until(lambda: third.budget.read_at is not None)
        assert third.budget.used == billed_commands.total() + third.budget.own
        assert third.budget.own == 0
        purposes = {each.purpose: each.billed for each in third.budget.by_purpose}
        assert purposes["reservation"] > 0


async def test_an_engine_that_rests_sends_nothing(url: str, redis_url: str, billed_commands: BilledCommands) -> None:
    async with make(url, redis_url) as cache:
        await asyncio.sleep(QUIET)
        assert billed_commands.total() == 0
        assert cache.budget.used == 0


async def test_every_key_expires(url: str, redis_url: str) -> None:
    async with make(url, redis_url) as cache:
        await use(cache)
    async with Redis.from_url(redis_url) as plain:
        keys = await plain.keys("*")
        assert len(keys) > len(TENANTS)
        assert [key for key in keys if await plain.ttl(key) <= 0] == []


@pytest.mark.parametrize(
    "statement", ["drop table tenantcache.redis_usage", "revoke all on tenantcache.redis_usage from app"]
)
async def test_what_cannot_be_reported_hurts_nothing(
    url: str, redis_url: str, billed_commands: BilledCommands, statement: str, caplog: pytest.LogCaptureFixture
) -> None:
    connection = await asyncpg.connect(url)
    name = url.rpartition("/")[2]
    role = f"app_of_{name}"
    await connection.execute(
        f"create role {role} login password 'secret'; grant usage on schema tenantcache to {role};"
        f" grant select, insert, update, delete on all tables in schema tenantcache to {role};"
        f" grant usage on all sequences in schema tenantcache to {role};"
        f" grant execute on all routines in schema tenantcache to {role}"
    )
    await connection.execute(statement.replace("app", role))
    try:
        async with make(as_role(url, role), redis_url) as cache:
            await use(cache)
            await until(lambda: "what the fleet uses of Redis is not known" in caplog.text)
            assert cache.budget.used == billed_commands.total()
            assert cache.budget.read_at is None
    finally:
        await connection.execute(f"drop owned by {role}; drop role {role}")
        await connection.close()


def as_role(url: str, role: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{role}:secret@{rest.rpartition('@')[2]}"
