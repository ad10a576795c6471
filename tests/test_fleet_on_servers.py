"""A fleet of engines on a real Postgres and a real Redis that dies: what they agree on, and what they say of it.

How limits fare meanwhile takes minutes to see: `make overadmission`.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import pytest
from redis.asyncio import Redis

from tenantcache import Settings, Tenant, TenantCache
from tenantcache.devservers import RedisServer
from tenantcache.stats import CounterStats
from tests.fakes import until


@pytest.fixture
async def redis(redis_factory: Callable[..., RedisServer]) -> RedisServer:
    return redis_factory()


@pytest.fixture
async def fleet(database_url: str, redis: RedisServer) -> AsyncIterator[list[TenantCache]]:
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "insert into tenantcache.tenants (id, name, subdomain, limit_per_minute, limit_per_day)"
        " values ('1', 'Acme', 'acme', 1000000, 1000000)"
    )
    await connection.close()
    settings = Settings(database_url=database_url, redis_url=redis.url, warm_up=False)
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(TenantCache(settings)) for _ in range(2)]


def counters(cache: TenantCache) -> CounterStats:
    found = cache.stats()["limits"]["counters"]
    assert found is not None
    return found


def is_leaving(cache: TenantCache) -> bool:
    """Whether it knows that Postgres is to count, now or soon."""
    return "postgres" in (counters(cache)["changes_to"], counters(cache)["store"])


async def acme(cache: TenantCache) -> Tenant:
    tenant = await cache.resolve("acme.localhost")
    assert tenant is not None
    return tenant


@pytest.fixture
async def a_killed_process(database_url: str) -> None:
    """It was a holder of tokens, and reports no more."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "insert into tenantcache.counter_holders values (gen_random_uuid(), 1000000000, now() - interval '20 seconds')"
    )
    await connection.close()


async def kill(redis: RedisServer) -> None:
    await asyncio.get_running_loop().run_in_executor(None, redis.stop, 9)


async def test_a_fleet_that_is_all_there_goes_on_in_postgres_within_the_minute(
    fleet: list[TenantCache], redis: RedisServer, database_url: str
) -> None:
    tenants = [await acme(cache) for cache in fleet]
    spent = 0
    for cache, tenant in zip(fleet, tenants, strict=True):
        for _ in range(5):
            spent += (await cache.check(tenant, cost=1000)).allowed * 1000
    stopped = time.time()
    await kill(redis)
    await until(lambda: all(counters(cache)["store"] == "postgres" for cache in fleet), seconds=10)
    assert time.time() - stopped < 4
    while not (await fleet[0].check(tenants[0], cost=50_000)).allowed:  # more than is held
        assert time.time() - stopped < 4
    connection = await asyncpg.connect(database_url)
    minute = await connection.fetchval("select from_minute from tenantcache.counter_store")
    assert int(stopped // 60) <= minute <= int(time.time() // 60)
    counted = await connection.fetchval("select value from tenantcache.counters where policy = 'minute'")
    await connection.close()
    assert counted >= spent + 50_000 or minute > int(stopped // 60)


async def test_a_fleet_that_starts_anew_while_redis_is_away_goes_on_at_once(
    database_url: str, redis_factory: Callable[..., RedisServer]
) -> None:
    """Every process leaves in order, and Redis is gone when they start."""
    redis = redis_factory()
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "insert into tenantcache.tenants (id, name, subdomain, limit_per_minute) values ('1', 'Acme', 'acme', 100)"
    )
    settings = Settings(database_url=database_url, redis_url=redis.url)
    async with TenantCache(settings) as first, TenantCache(settings) as second:
        if time.time() % 60 > 50:
            await asyncio.sleep(60 - time.time() % 60)
        await until(lambda: first.stats()["freshness"]["processes"] == 2)
        for cache in (first, second):
            for _ in range(10):
                assert (await cache.check(await acme(cache))).allowed
    await kill(redis)
    began = time.time()
    async with TenantCache(settings) as first, TenantCache(settings) as second:
        tenant = await acme(second)
        while not (await second.check(tenant)).allowed:
            assert time.time() - began < 4
            await asyncio.sleep(0.05)
        admitted = 1
        for _ in range(100):
            admitted += (await first.check(tenant)).allowed + (await second.check(tenant)).allowed
        minute = await connection.fetchval("select from_minute from tenantcache.counter_store")
        assert minute == int(began // 60)
    # The 20 of before are known. What was debited while a store was not known to count is spent, and not granted: nine
    # tenths are left for use. Should a minute have begun meanwhile, it has a limit of its own.
    assert 72 <= admitted <= 80 or int(time.time() // 60) > minute
    await connection.close()


async def test_a_deployment_that_drops_redis_waits_for_no_minute(fleet: list[TenantCache], database_url: str) -> None:
    for cache in fleet:
        assert (await cache.check(await acme(cache))).allowed
    await fleet[0].close()
    began = time.time()
    async with TenantCache(Settings(database_url=database_url)) as without:
        tenant = await acme(without)
        while not (await without.check(tenant)).allowed:
            assert time.time() - began < 3
            await asyncio.sleep(0.05)
        assert counters(fleet[1])["store"] == "postgres"


@pytest.mark.usefixtures("a_killed_process")
async def test_who_has_redis_keeps_it_to_the_edge_where_a_process_is_missing(
    fleet: list[TenantCache], database_url: str
) -> None:
    """It would be given up in vain: the minute cannot be handed over."""
    while time.time() % 60 > 50:
        await asyncio.sleep(0.1)
    tenant = await acme(fleet[0])
    assert (await fleet[0].check(tenant)).allowed
    async with TenantCache(Settings(database_url=database_url)) as without:
        await without.check(await acme(without))
        await until(lambda: counters(fleet[0])["changes_to"] == "postgres")
        await asyncio.sleep(0.6)
        for _ in range(5):
            assert (await fleet[0].check(tenant, cost=100_000)).allowed
        assert counters(fleet[0])["store"] == "redis"


@pytest.mark.usefixtures("a_killed_process")
async def test_all_hear_of_a_redis_that_is_gone_and_leave_it_at_one_minutes_edge(
    fleet: list[TenantCache], redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """If one of them cannot report."""
    tenant = await acme(fleet[0])
    assert (await fleet[0].check(tenant)).allowed
    assert [counters(cache)["store"] for cache in fleet] == ["redis", "redis"]
    stopped = time.time()
    await asyncio.get_running_loop().run_in_executor(None, redis.stop, 9)
    await until(lambda: all(is_leaving(cache) for cache in fleet), seconds=10)
    first, second = (counters(cache)["changes_at"] for cache in fleet)
    assert first == second
    assert isinstance(first, float)
    assert first % 60 == 0
    assert stopped + 5 <= first <= time.time() + 65
    # A request for more than is held hears when there will be more.
    await asyncio.sleep(3.2)  # as long as the minute may yet be handed over, that is at once
    refused = await fleet[1].check(await acme(fleet[1]), cost=100_000)
    assert not refused.allowed
    assert refused.retry_after == pytest.approx(first - time.time(), abs=1.0)
    assert (refused.unavailable, refused.violated) == (True, ())
    errors = [record for record in caplog.records if record.name == "tenantcache.ratelimit.counters"]
    assert len(errors) == len(fleet)  # once in each process
    assert all("limits are counted in postgres instead of redis" in record.getMessage() for record in errors)


async def test_what_redis_has_counted_of_a_day_stands_in_postgres(
    fleet: list[TenantCache], redis: RedisServer, database_url: str
) -> None:
    for cache in fleet:
        assert (await cache.check(await acme(cache), cost=1000)).allowed
    await asyncio.get_running_loop().run_in_executor(None, redis.stop, 9)
    await until(lambda: all(is_leaving(cache) for cache in fleet), seconds=10)
    connection = await asyncpg.connect(database_url)
    for _ in range(200):
        value = await connection.fetchval("select value from tenantcache.counters where policy = 'day'")
        if value is not None and value >= 2000:
            break
        await asyncio.sleep(0.02)
    await connection.close()
    assert value >= 2000


@asynccontextmanager
async def a_redis_past_its_quota() -> AsyncIterator[tuple[str, list[bytes]]]:
    """It goes on answering PING, as providers do, and refuses everything else; the URL, and what it refused."""
    refused: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while command := await reader.read(65_536):
            if b"PING" in command:
                writer.write(b"+PONG\r\n")
            else:
                refused.append(command)
                answer = b"-ERR max requests limit exceeded. Limit: 500000, Usage: 500000.\r\n"
                writer.write(answer * len(re.findall(rb"(?:^|\r\n)\*\d+\r\n", command)))  # one for each of a pipeline

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", refused


async def test_a_quota_that_is_used_up_is_left_at_once_and_does_not_hide(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("insert into tenantcache.tenants (id, name, subdomain) values ('1', 'Acme', 'acme')")
    await connection.close()
    async with (
        a_redis_past_its_quota() as (url, refused),
        TenantCache(Settings(database_url=database_url, redis_url=url, warm_up=False)) as cache,
    ):
        tenant = await acme(cache)  # it is answered by Postgres
        await cache.check(tenant)
        await until(lambda: is_leaving(cache), seconds=2)
        assert counters(cache)["redis"] == "suspended"
        sent = len(refused)
        for _ in range(50):
            await cache.check(tenant)
        await asyncio.sleep(1.5)
        assert len(refused) == sent  # what is refused may be billed
    about_the_store = ("tenantcache.ratelimit.rediswatch", "tenantcache.ratelimit.counters")
    records = [record for record in caplog.records if record.name in about_the_store]
    errors = [record.getMessage() for record in records if record.levelname == "ERROR"]
    assert len(errors) == 2
    assert errors[0].startswith("Redis refuses this account")
    assert "limits are counted in postgres instead of redis" in errors[1]


async def test_a_redis_that_is_read_only_is_left_although_it_answers_ping(
    fleet: list[TenantCache], redis: RedisServer
) -> None:
    client = Redis.from_url(redis.url)
    await client.config_set("min-replicas-to-write", 1)  # NOREPLICAS for every write
    assert await client.ping()
    assert not (await fleet[0].check(await acme(fleet[0]))).allowed
    await until(lambda: all(is_leaving(cache) for cache in fleet), seconds=10)
    assert "NOREPLICAS" in str(counters(fleet[1])["why"])
    await client.aclose()


async def test_a_redis_that_is_paused_for_writes_is_left_although_it_answers_ping(
    fleet: list[TenantCache], redis: RedisServer
) -> None:
    """A failover, or an operator's CLIENT PAUSE: takes hang, and PING goes on."""
    tenant = await acme(fleet[0])
    await fleet[0].check(tenant)
    client = Redis.from_url(redis.url)
    await client.execute_command("CLIENT", "PAUSE", "60000", "WRITE")  # type: ignore[no-untyped-call]
    assert await client.ping()
    assert not (await fleet[0].check(tenant, cost=100_000)).allowed
    began = time.time()
    await until(lambda: fleet[0]._parts.fleet_counters.failover.choice.store == "postgres", seconds=10)  # type: ignore[union-attr]
    assert time.time() - began < 5
    assert counters(fleet[0])["redis"] == "refusing"
    await client.aclose()


async def test_a_process_whose_event_loop_is_blocked_does_not_move_the_fleet(
    fleet: list[TenantCache], redis: RedisServer
) -> None:
    """Every answer of Redis comes too late for it, and it alone is to blame."""
    tenant = await acme(fleet[0])
    began = time.time()
    while time.time() < began + 4:
        checks = [asyncio.create_task(fleet[0].check(tenant, cost=1000)) for _ in range(3)]
        for _ in range(4):
            await asyncio.sleep(0)
        time.sleep(0.5)  # noqa: ASYNC251 - that is what is tried
        await asyncio.gather(*checks)
    await asyncio.sleep(1)
    assert counters(fleet[0])["redis"] == "answering"
    assert all(counters(cache)["store"] == "redis" and counters(cache)["changes_to"] is None for cache in fleet)


@pytest.mark.parametrize("how", ["read-only", "locked"])
async def test_a_postgres_that_does_not_count_is_found_out_and_so_is_its_return(database_url: str, how: str) -> None:
    """What follows is in test_fleetcounters.py: minutes pass at once there."""
    admin = await asyncpg.connect(database_url)
    await admin.execute(
        "insert into tenantcache.tenants (id, name, subdomain, limit_per_minute) values ('1', 'Acme', 'acme', 10)"
    )
    name = await admin.fetchval("select current_database()")
    others = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname = $1"
    async with TenantCache(Settings(database_url=database_url)) as cache:
        assert (await cache.check(await acme(cache))).allowed
        if how == "read-only":
            await admin.execute(f"alter database {name} set default_transaction_read_only = on")
            await admin.execute(others, name)
            await asyncio.sleep(0.5)
        else:
            await admin.execute("begin; lock table tenantcache.counters in access exclusive mode")
        assert not (await cache.check(await acme(cache), cost=10)).allowed
        assert counters(cache)["postgres"] == "failing"
        if how == "read-only":
            await admin.execute("set default_transaction_read_only = off")
            await admin.execute(f"alter database {name} reset default_transaction_read_only")
            await admin.execute(others, name)
        else:
            await admin.execute("commit")
        await until(lambda: counters(cache)["postgres"] == "answering", seconds=8)
    await admin.close()
