"""What a start says: good news in one line at INFO, bad news once, and the reason why it failed."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import asyncpg
import pytest

from tenantcache import Settings, StoreUnavailableError, TenantCache
from tenantcache.devservers import free_port
from tests.fakes import FakeClock, FakeDatabase, make_cache, row, until
from tests.servers.databases import Databases


@pytest.fixture(autouse=True)
def _at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="tenantcache")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [f"{record.levelname} {record.getMessage()}" for record in caplog.records]


async def start(settings: Settings, caplog: pytest.LogCaptureFixture) -> list[str]:
    async with TenantCache(settings):
        await until(lambda: "tenantcache is open" in caplog.text)
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
        r"INFO tenantcache is open: Postgres at 127\.0\.0\.1:\d+, Redis at 127\.0\.0\.1:\d+, "
        r"limits counted in redis, 2 hosts in the index, 1 process follows the log, no warnings",
        lines[0],
    )


async def test_a_start_without_redis(seeded_url: str, caplog: pytest.LogCaptureFixture) -> None:
    (line,) = await start(Settings(database_url=seeded_url, host_index_max_hosts=0), caplog)
    assert ", no Redis, limits counted in postgres, no index of hosts, " in line
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
        await until(lambda: "tenantcache is open: stores of the application, 1 host in" in caplog.text)


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
