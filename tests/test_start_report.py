"""What a start says: good news in one line at INFO, bad news once, and the reason why it failed."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import asyncpg
import pytest

from tenantcache import Settings, StoreUnavailableError, TenantCache
from tenantcache.devservers import free_port
from tenantcache.wiring.statelog import StateLog
from tests.fakes import FakeClock, FakeDatabase, make_cache, row, until
from tests.servers.databases import Databases


@pytest.fixture(autouse=True)
def _at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="tenantcache")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [f"{record.levelname} {record.getMessage()}" for record in caplog.records]


async def start(settings: Settings, caplog: pytest.LogCaptureFixture) -> list[str]:
    async with TenantCache(settings):
        await until(lambda: "is open: " in caplog.text)
    return said(caplog)


@pytest.fixture
async def seeded_url(database_url: str) -> str:
    connection = await asyncpg.connect(database_url)
    await connection.execute("insert into tenantcache.tenants (name, subdomain) values ('A', 'a'), ('B', 'b')")
    await connection.close()
    return database_url


async def test_a_healthy_start_says_in_one_line_what_was_found(
    seeded_url: str, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    lines = await start(Settings(database_url=seeded_url, redis_url=redis_url), caplog)
    assert len(lines) == 1
    assert re.fullmatch(
        r"INFO tenantcache 0\.1\.0 is open: Postgres \d+\.\d+ at 127\.0\.0\.1:\d+, "
        r"Redis \d+\.\d+\.\d+ at 127\.0\.0\.1:\d+, "
        r"limits counted in redis, 2 tenants in memory, 2 hosts in the index, 1 process follows the log, no warnings",
        lines[0],
    )


async def test_a_start_without_redis(seeded_url: str, caplog: pytest.LogCaptureFixture) -> None:
    (line,) = await start(Settings(database_url=seeded_url, host_index_max_hosts=0), caplog)
    assert ", no Redis, limits counted in postgres, 2 tenants in memory, no index of hosts, " in line
    assert line.endswith("no warnings")


async def test_a_redis_that_is_not_there_is_said_once(seeded_url: str, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    lines = await start(Settings(database_url=seeded_url, redis_url=f"redis://:secret@127.0.0.1:{port}"), caplog)
    (warning, line) = lines
    assert warning.startswith("WARNING TENANTCACHE_REDIS_URL: Redis is not running (connection refused); start it")
    assert f"Redis at 127.0.0.1:{port} unavailable" in line
    assert line.endswith("1 warning")
    assert "secret" not in caplog.text


async def test_stores_that_were_brought_along(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    async with make_cache(FakeDatabase(clock, row("acme")), clock):
        await until(lambda: "is open: stores of the application, 0 tenants in memory, 1 host in" in caplog.text)


@pytest.fixture
def few_rights(databases: Databases) -> Iterator[str]:
    databases.execute("create role few_rights login")
    yield "few_rights"
    databases.execute("drop role few_rights")


async def test_a_start_that_fails_for_a_missing_grant_names_it(few_rights: str, database_url: str) -> None:
    cache = TenantCache(Settings(database_url=database_url.replace("postgres@", f"{few_rights}:secret@")))
    with pytest.raises(StoreUnavailableError) as caught:
        await cache.open()
    assert "permission denied for schema tenantcache" in str(caught.value)
    assert "its log says why" not in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_settings_that_differ_from_their_defaults_are_said_and_secrets_are_not(
    seeded_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    settings = Settings(
        database_url=seeded_url,
        limit_per_minute=50,
        base_domains=["example.com"],
        redis_monthly_budget=1_000,
        budget_webhook_url="https://hooks.example.com/s3cret",
        budget_webhook_secret=secret,
    )
    line = (await start(settings, caplog))[-1]
    found = re.findall(r"TENANTCACHE_\w+=\S+?(?=[ ,])", line)
    assert found == [
        "TENANTCACHE_BASE_DOMAINS=example.com",
        "TENANTCACHE_LIMIT_PER_MINUTE=50",
        "TENANTCACHE_REDIS_MONTHLY_BUDGET=1000",
        "TENANTCACHE_BUDGET_WEBHOOK_URL=***",
        "TENANTCACHE_BUDGET_WEBHOOK_SECRET=***",
    ]
    assert secret not in caplog.text
    assert "s3cret" not in caplog.text


# Changes of state.


def changes(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, str, str]]:
    records = [record for record in caplog.records if record.name == "tenantcache.wiring.statelog"]
    found = [(record.levelname, getattr(record, "tenantcache", {})) for record in records]
    return [(level, change["what"], change["before"], change["after"]) for level, change in found]


async def test_each_change_of_the_engines_state_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    database = FakeDatabase(clock, row("acme"))
    async with make_cache(database, clock, stale_if_error=60.0) as cache:
        states = StateLog(cache._parts)
        await until(lambda: cache.state == "ready")
        states.note()
        database.failing = True
        for seconds in (2.9, 0.2, 30.0, 30.0, 1.0):
            clock.advance(seconds)
            states.note()
            states.note()
        database.failing = False
        await cache.sync()
        states.note()
        states.note()
        told = changes(caplog)
    assert told == [
        ("WARNING", "the engine", "ready", "stale"),
        ("ERROR", "the engine", "stale", "lost"),
        ("INFO", "the engine", "lost", "ready"),
    ]
    assert "the engine: stale, before: ready (changes are not followed; tenants that are known" in caplog.text


async def test_a_redis_that_is_not_asked_any_more_is_said_with_the_reason(
    seeded_url: str, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with TenantCache(Settings(database_url=seeded_url, redis_url=redis_url)) as cache:
        states, link = StateLog(cache._parts), cache._parts.stores.link
        assert link is not None
        states.note()
        link.breaker.failed(0.0, suspended=True, reason="Redis refused: max requests limit exceeded")
        states.note()
        states.note()
        link.breaker.succeeded()
        states.note()
        told = [change for change in changes(caplog) if change[1] == "Redis"]
    assert told == [("WARNING", "Redis", "asked", "not asked"), ("INFO", "Redis", "not asked", "asked")]
    assert "Redis: not asked, before: asked (Redis refused: max requests limit exceeded)" in caplog.text
