"""Real servers that cannot count, each in its own way: a tenant that has used nothing is not told that it has."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import asyncpg
import pytest
from redis.asyncio import Redis

from tenantcache import Settings, TenantCache, TenantMiddleware
from tenantcache.devservers import RedisServer
from tenantcache.ratelimit.core import redishealth
from tests.asgi import Answer, get
from tests.test_middleware import Recorder

ACME = b"acme.localhost"
REDUCED = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "insert into tenantcache.tenants (id, name, subdomain, limit_per_minute, limit_per_day)"
        " values ('1', 'Acme', 'acme', 600, 100000)"
    )
    yield connection
    await connection.close()


@asynccontextmanager
async def serving(database_url: str, redis_url: str | None) -> AsyncIterator[TenantMiddleware]:
    """Nothing is held when it begins: a warm start takes tokens, sooner or later than a test breaks the store."""
    settings = Settings(database_url=database_url, redis_url=redis_url, on_limiter_error="deny", warm_up=False)
    async with TenantCache(settings) as cache:
        await cache.resolve(ACME.decode())
        yield TenantMiddleware(Recorder(), cache=cache)


def check_refusal(answer: Answer) -> None:
    assert (answer.status, answer.json()["type"]) == (503, REDUCED)
    assert answer.lines("ratelimit") == []
    assert int(answer.header("retry-after") or 0) >= 1
    assert "violated-policies" not in answer.json()


async def paused_for_writes(client: Redis) -> None:
    await client.client_pause(20_000, all=False)


async def out_of_memory(client: Redis) -> None:
    await client.config_set("maxmemory", 1)


async def without_replicas(client: Redis) -> None:
    await client.config_set("min-replicas-to-write", 1)


async def shut_down(client: Redis) -> None:
    await client.shutdown(nosave=True)


@pytest.mark.usefixtures("db")
async def test_a_redis_that_is_paused_has_used_nothing_up(
    database_url: str,
    redis_factory: Callable[..., RedisServer],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Longer than five requests take, however slow the machine is: until then the fleet stays with it.
    monkeypatch.setattr(redishealth, "UNAVAILABLE_AFTER", 60.0)
    redis = redis_factory()
    client = Redis.from_url(redis.url)
    async with serving(database_url, redis.url) as app:
        await paused_for_writes(client)
        for _ in range(5):
            check_refusal(await get(app, ACME))
        check_outage(app, caplog, refused=5)
        counters = app.cache.stats()["limits"]["counters"]
        assert (counters and counters["store"], app.cache.stats()["limits"]["degraded"]) == ("redis", True)
    await client.aclose()


@pytest.mark.usefixtures("db")
@pytest.mark.parametrize("break_redis", [out_of_memory, without_replicas, shut_down])
async def test_a_redis_that_does_not_count_has_used_nothing_up(
    database_url: str,
    redis_factory: Callable[..., RedisServer],
    break_redis: Callable[[Redis], Awaitable[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    redis = redis_factory()
    client = Redis.from_url(redis.url)
    async with serving(database_url, redis.url) as app:
        await break_redis(client)
        refused = 0
        # A fleet that has spent nothing in this minute changes its store at once, and goes on there.
        async with asyncio.timeout(20):
            while (answer := await get(app, ACME)).status != 200:
                check_refusal(answer)
                refused += 1
                await asyncio.sleep(0.02)
        assert refused >= 1
        check_outage(app, caplog, refused=refused)
        counters = app.cache.stats()["limits"]["counters"]
        assert counters and counters["store"] == "postgres"
    await client.aclose()


def check_outage(app: TenantMiddleware, caplog: pytest.LogCaptureFixture, *, refused: int) -> None:
    limits = app.cache.stats()["limits"]
    assert (limits["unavailable"], limits["denied"]) == (refused, 0)
    said = [record for record in caplog.records if record.name == "tenantcache.ratelimit.outage"]
    [error] = [record for record in said if record.levelno >= logging.WARNING]
    assert (error.levelno, "Redis" in error.getMessage()) == (logging.ERROR, True)


def keys_of_group(number: int, *, suffix: str = "") -> list[str]:
    """Those of this quarter of an hour, the next one, and of the dates around now."""
    now = datetime.now(UTC)
    quarters = [now - timedelta(seconds=now.timestamp() % 900), now + timedelta(seconds=900 - now.timestamp() % 900)]
    days = [f"{now + timedelta(days=days):%Y%m%d}:day" for days in (-1, 0, 1)]
    names = [f"{quarter:%Y%m%d:%H%M}" for quarter in quarters] + days
    return [f"tenantcache:ratelimit:{number}:{name}{suffix}" for name in names]


def check_that_redis_is_kept(app: TenantMiddleware) -> None:
    stats = app.cache.stats()
    counters = stats["limits"]["counters"]
    assert counters is not None
    assert (counters["store"], counters["changes_to"], counters["redis"]) == ("redis", None, "answering")
    assert stats["redis"] is not None and stats["redis"]["breaker"] == "closed"


async def test_keys_of_a_group_that_are_not_ours_change_no_limit(
    database_url: str,
    db: asyncpg.Connection,
    redis_factory: Callable[..., RedisServer],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Two processes find the same other keys."""
    await db.execute("update tenantcache.tenants set limit_per_day = 50")
    redis = redis_factory()
    client = Redis.from_url(redis.url)
    keys = keys_of_group(0)
    for key in keys:
        await client.lpush(key, "not ours")
    async with serving(database_url, redis.url) as one, serving(database_url, redis.url) as other:
        statuses = [(await get(app, ACME)).status for _ in range(60) for app in (one, other)]
        assert statuses.count(200) == 50
        assert statuses[-2:] == [429, 429]
        check_that_redis_is_kept(one)
        check_that_redis_is_kept(other)
    said = [record.getMessage() for record in caplog.records if record.name == "tenantcache.stores.rediscounters"]
    message = "the key {key} is not ours: it does not hold a string; limits are counted in {key}:2 instead"
    named = [key for key in keys if message.format(key=key) in said]
    # One of a day and one of a quarter of an hour, or more if one of these ends just now.
    assert {key.endswith(":day") for key in named} == {True, False}
    for key in named:
        assert await client.type(key) == b"list"
        assert await client.ttl(f"{key}:2") > 0
    await client.aclose()


@pytest.mark.usefixtures("db")
async def test_one_groups_broken_keys_move_no_fleet(
    database_url: str, redis_factory: Callable[..., RedisServer]
) -> None:
    redis = redis_factory()
    client = Redis.from_url(redis.url)
    for key in keys_of_group(0) + keys_of_group(0, suffix=":2"):
        await client.lpush(key, "not ours")
    async with serving(database_url, redis.url) as app:
        for _ in range(20):
            check_refusal(await get(app, ACME))
        await asyncio.sleep(2.5)
        check_refusal(await get(app, ACME))
        check_that_redis_is_kept(app)
    await client.aclose()


async def test_a_postgres_that_takes_no_writes_has_used_nothing_up(
    database_url: str, db: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(database_url, None) as app:
        assert (await get(app, ACME)).status == 200
        await db.execute("truncate tenantcache.counters")
        name = urlsplit(database_url).path.removeprefix("/")
        await db.execute(f"alter database {name} set default_transaction_read_only = on")
        await db.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        statuses = []
        for _ in range(700):
            answer = await get(app, ACME)
            statuses.append(answer.status)
            if answer.status != 200:
                break
        check_refusal(answer)
        assert statuses.count(200) < 600
        assert app.cache.stats()["limits"]["denied"] == 0
        assert [record.levelno for record in caplog.records if record.name == "tenantcache.ratelimit.outage"] == [
            logging.ERROR
        ]


async def test_a_role_without_insert_drains_no_minute(
    database_url: str,
    db: asyncpg.Connection,
    redis_factory: Callable[..., RedisServer],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The day is counted in Postgres after any change of store, and this role may not write there."""
    redis = redis_factory()
    await db.execute("create role counting_reader login password 'x'")
    try:
        await db.execute(
            "grant usage on schema tenantcache to counting_reader;"
            "grant select, insert, update, delete on all tables in schema tenantcache to counting_reader;"
            "grant usage on all sequences in schema tenantcache to counting_reader;"
            "grant execute on all functions in schema tenantcache to counting_reader;"
            "revoke insert on tenantcache.counters from counting_reader"
        )
        await db.execute(
            "update tenantcache.counter_store set version = 2, store = 'redis', previous = 'redis', previous_from = 0,"
            " from_minute = floor(extract(epoch from now()) / 60)"
        )
        parts = urlsplit(database_url)
        url = parts._replace(netloc=f"counting_reader:x@{parts.hostname}:{parts.port}").geturl()
        async with serving(url, redis.url) as app:
            for _ in range(30):
                check_refusal(await get(app, ACME))
                await asyncio.sleep(0.01)
            [said] = [record.getMessage() for record in caplog.records if record.name == "tenantcache.ratelimit.outage"]
            assert "does not let this user do that" in said
        client = Redis.from_url(redis.url)
        assert await client.keys("tenantcache:ratelimit:*") == []
        await client.aclose()
    finally:
        await db.execute("drop owned by counting_reader; drop role counting_reader")
