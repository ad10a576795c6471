"""What a Redis Cluster adds to the contracts: slots, redirections, masters that die, and what is billed for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tenantcache import Settings, TenantCache
from tenantcache.budget.core.meter import Purpose
from tenantcache.errors import StoreError
from tenantcache.ratelimit.core.windows import Debit, Window
from tenantcache.ratelimit.counterstore import Account, AccountDebits
from tenantcache.ratelimit.slots import GROUP_SIZE
from tenantcache.stores.redis import RedisLink
from tenantcache.stores.rediscopies import RedisCopies
from tenantcache.stores.rediscounters import RedisCounters
from tests.fakes import debit_one, until
from tests.servers.cluster import RedisCluster

MINUTE = Window("minute", 28_333_327)
TENANTS = [f"tenant-{number}" for number in range(20)]
"""Enough to have copies of some on each master: the odds against it are one in a thousand."""
GROUPS = range(20)
"""The same for the counters of groups."""


@pytest.fixture
async def link(redis_cluster: RedisCluster) -> AsyncIterator[RedisLink]:
    link = RedisLink(redis_cluster.url, timeout=5.0)
    yield link
    await link.close()


@pytest.fixture
async def counters(link: RedisLink) -> AsyncIterator[RedisCounters]:
    counters = RedisCounters(link, prefix="test")
    yield counters
    await counters.close()


def one_of_each(amount: int) -> list[AccountDebits]:
    """The debit of an account in each group."""
    return [AccountDebits(Account(f"t{group}", group * GROUP_SIZE), [Debit(MINUTE, amount)]) for group in GROUPS]


async def test_groups_are_counted_on_the_masters_that_have_them(
    counters: RedisCounters, redis_cluster: RedisCluster
) -> None:
    assert await counters.debit(one_of_each(3)) == [[3]] * len(GROUPS)
    await counters.close()
    keys = []
    for server in redis_cluster.servers[:3]:
        with redis_cluster.client_of(server) as client:
            keys.append(client.dbsize())
    assert sum(keys) == len(GROUPS)
    assert all(keys)


async def test_every_billed_command_is_counted(
    link: RedisLink, counters: RedisCounters, redis_cluster: RedisCluster
) -> None:
    """The cluster is explored by one command; a command on keys of several slots is several."""
    copies = RedisCopies(link, prefix="test", ttl=60, read_timeout=5.0)
    await link.open()
    await counters.debit(one_of_each(1))
    for tenant in TENANTS:
        await copies.put(tenant, b"value")
    await counters.close()
    assert await copies.get_many(TENANTS) == [b"value"] * len(TENANTS)
    await copies.drop(TENANTS)
    assert await copies.get_many(TENANTS) == [None] * len(TENANTS)
    assert link.billed == redis_cluster.billed()


async def test_values_of_several_slots_come_in_the_order_of_the_keys(link: RedisLink) -> None:
    copies = RedisCopies(link, prefix="test", ttl=60, read_timeout=5.0)
    for tenant in TENANTS[::2]:
        await copies.put(tenant, tenant.encode())
    expected = [tenant.encode() if number % 2 == 0 else None for number, tenant in enumerate(TENANTS)]
    assert await copies.get_many(TENANTS) == expected


async def test_a_slot_that_moves_takes_its_counters_along(
    link: RedisLink, counters: RedisCounters, redis_cluster: RedisCluster
) -> None:
    """ASK while it moves, MOVED afterwards: each debit is applied once."""
    key = "test:ratelimit:0:20231114:2200"
    window = Window("minute", 28_333_327)
    assert await debit_one(counters, "mover", [Debit(window, 1)]) == [1]
    await counters.close()
    source = redis_cluster.master_of(key)
    target = next(server for server in redis_cluster.servers[:3] if server is not source)
    with redis_cluster.client_of(source) as old, redis_cluster.client_of(target) as new:
        assert old.exists(key) == 1
        slot = old.execute_command("CLUSTER KEYSLOT", key)
        old_id, new_id = (one.execute_command("CLUSTER MYID").decode() for one in (old, new))
        new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", old_id)
        old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", new_id)
        old.execute_command("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
        assert await debit_one(counters, "mover", [Debit(window, 2)]) == [3]
        for one in (new, old):
            one.execute_command("CLUSTER SETSLOT", slot, "NODE", new_id)
        assert await debit_one(counters, "mover", [Debit(window, 4)]) == [7]
        assert await debit_one(counters, "mover", [Debit(window, 8)]) == [15]
        # Back again, for the other tests.
        old.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", new_id)
        new.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", old_id)
        new.execute_command("MIGRATE", "127.0.0.1", source.port, key, 0, 5000)
        for one in (old, new):
            one.execute_command("CLUSTER SETSLOT", slot, "NODE", old_id)
    assert await debit_one(counters, "mover", [Debit(window, 16)]) == [31]


async def test_a_cluster_that_is_resharded_is_not_explored_behind_the_meters_back(
    link: RedisLink, redis_cluster: RedisCluster
) -> None:
    """redis-py would explore it anew after each five slots that were moved."""
    key = "test:resharded"
    source = redis_cluster.master_of(key)
    target = next(server for server in redis_cluster.servers[:3] if server is not source)
    await RedisCopies(link, prefix="test", ttl=60, read_timeout=5.0).get_many(TENANTS)  # so it learns of the cluster
    explored, metered = explorations(redis_cluster), link.meter.by_command()["CLUSTER"].billed
    with redis_cluster.client_of(source) as old, redis_cluster.client_of(target) as new:
        slot = old.execute_command("CLUSTER KEYSLOT", key)
        ids = [one.execute_command("CLUSTER MYID").decode() for one in (new, old)]
        for move in range(12):
            # Else what the old owner has sent before may be believed, and both send the client to each other.
            (new, old)[move % 2].execute_command("CLUSTER BUMPEPOCH")
            for one in (new, old):
                one.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[move % 2])
            assert await link.run(Purpose.LOOKUP, "GET", key) is None
    assert explorations(redis_cluster) - explored == link.meter.by_command()["CLUSTER"].billed - metered


def explorations(cluster: RedisCluster) -> int:
    found = 0
    for server in cluster.servers:
        with cluster.client_of(server) as client:
            found += client.info("commandstats").get("cmdstat_cluster|slots", {"calls": 0})["calls"]
    return found


async def test_a_replica_takes_over_from_a_master_that_dies(tmp_path: Path) -> None:
    with RedisCluster(tmp_path) as cluster:
        link = RedisLink(cluster.url, timeout=0.5)
        counters = RedisCounters(link, prefix="test")
        assert await counters.debit(one_of_each(5)) == [[5]] * len(GROUPS)
        await counters.close()
        dead = cluster.master_of("test:ratelimit:0:20231114:2200")
        dead.stop(9)
        with pytest.raises(StoreError):
            await link.ping()  # it asks every master, since some groups are counted nowhere else
        await asyncio.to_thread(cluster.wait_until_whole)  # a node answers PING while it refuses what has a key
        await _until_it_answers(link)
        cluster.wait_until_whole()  # a node answers PING before it serves its slots again
        for values in await counters.debit(one_of_each(2)):
            assert values in ([7], [2])  # 2: the replica had not heard of it
        await counters.close()
        await link.close()


async def _until_it_answers(link: RedisLink) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            await link.ping()
            return
        except StoreError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


async def test_what_one_master_does_not_answer_leaves_the_values_of_the_others(
    link: RedisLink, counters: RedisCounters, redis_cluster: RedisCluster
) -> None:
    """Its connection breaks between the command and its answer."""
    await counters.debit(one_of_each(1))
    await counters.close()
    keys = [f"test:ratelimit:{group}:20231114:2200" for group in GROUPS]
    server = redis_cluster.master_of(keys[0])
    there = [redis_cluster.master_of(key) is server for key in keys]
    with redis_cluster.client_of(server) as client:
        client.execute_command("CLIENT", "PAUSE", 500, "WRITE")
        waiting = asyncio.create_task(counters.debit(one_of_each(1)))
        await asyncio.sleep(0.1)
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        with pytest.raises(StoreError) as caught:
            await waiting
        client.execute_command("CLIENT", "UNPAUSE")
    assert caught.value.values == [[None] if is_there else [2] for is_there in there]


async def test_an_engine_on_a_cluster(redis_cluster: RedisCluster, database_url: str, patience: None) -> None:
    """Copies and counters of tenants on every master, by nothing but the URL of one node."""
    connection = await asyncpg.connect(database_url)
    await connection.executemany(
        "insert into tenantcache.tenants (id, name, subdomain, limit_per_minute) values ($1, $1, $1, 5)",
        [(tenant,) for tenant in TENANTS],
    )
    await connection.close()
    settings = Settings(database_url=database_url, redis_url=redis_cluster.url, warm_up=False)
    async with TenantCache(settings) as cache:
        found = [await cache.resolve(f"{tenant}.localhost") for tenant in TENANTS]
        for tenant in found:
            assert tenant is not None
            assert [(await cache.check(tenant)).allowed for _ in range(7)] == [True] * 5 + [False] * 2
        await until(lambda: redis_cluster.count_keys("tenantcache:tenant:*") == len(TENANTS))
        counters = cache.stats()["limits"]["counters"]
        assert counters is not None and counters["store"] == "redis"
    assert 0 < redis_cluster.count_keys("tenantcache:ratelimit:*") <= 4, "all are of one group"
    async with TenantCache(settings) as cache:
        assert sorted(await cache.get_many(TENANTS)) == sorted(TENANTS)  # one command a slot


async def test_a_debit_that_may_have_been_applied_is_not_sent_again(
    link: RedisLink, counters: RedisCounters, redis_cluster: RedisCluster
) -> None:
    """The connection breaks between the command and its answer."""
    await debit_one(counters, "acme", [Debit(MINUTE, 1)])
    await counters.close()
    server = redis_cluster.master_of("test:ratelimit:0:20231114:2200")
    with redis_cluster.client_of(server) as client:
        client.execute_command("CLIENT", "PAUSE", 500, "WRITE")
        waiting = asyncio.create_task(debit_one(counters, "acme", [Debit(MINUTE, 10)]))
        await asyncio.sleep(0.1)
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        with pytest.raises(StoreError):
            await waiting
        client.execute_command("CLIENT", "UNPAUSE")
    assert await debit_one(counters, "acme", [Debit(MINUTE, 0)]) in ([1], [11])  # and never 21
