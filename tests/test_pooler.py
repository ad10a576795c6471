"""Behind a pooler in transaction mode, whose server connections go from client to client: LISTEN is not possible there.

PgBouncer with two server connections that live for a second, so that they change between statements.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest

from tenantcache import Settings, TenantCache
from tests.servers.pgbouncer import PgBouncer, require_pgbouncer
from tests.ticks import ticking

PULL_INTERVAL = 1.0
MARGIN = 0.5
"""Seconds for a machine that has other things to do."""


@pytest.fixture
def pooled_url(database_url: str) -> Iterator[str]:
    require_pgbouncer()
    with PgBouncer(database_url) as pooler:
        yield pooler.url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database_url)
    await connection.execute("insert into tenantcache.tenants (id, name, subdomain) values ('acme', 'v0', 'acme')")
    yield connection
    await connection.close()


def make(pooled_url: str, **settings: Any) -> TenantCache:
    return TenantCache(
        Settings(_environ={}, database_url=pooled_url, base_domains=["example.com"], limits="off", **settings)
    )


async def name_of(cache: TenantCache) -> str | None:
    tenant = await cache.resolve("acme.example.com")
    return None if tenant is None else tenant.name


async def seconds_until_seen(cache: TenantCache, database: Any, name: str) -> float:
    """Rename, and ask until the new name comes. Every answer has to come at once."""
    await database.execute("update tenantcache.tenants set name = $1", name)
    committed = time.monotonic()
    while await name_of(cache) != name:
        assert time.monotonic() - committed < 3, "that would be more than max_staleness"
        await asyncio.sleep(0.002)
    return time.monotonic() - committed


async def ticks_until_seen(cache: TenantCache, database: Any, name: str) -> float:
    """The same, in seconds that this process had."""
    async with ticking() as ticks:
        await seconds_until_seen(cache, database, name)
        return ticks.seconds


async def channels_of_servers(pooled_url: str) -> list[str]:
    """What the pooler's server connections listen to: both are held at once, so that both are asked."""
    clients = [await asyncpg.connect(pooled_url, statement_cache_size=0) for _ in range(2)]
    transactions = [client.transaction() for client in clients]
    for transaction in transactions:
        await transaction.start()
    found = [row[0] for client in clients for row in await client.fetch("select pg_listening_channels()")]
    for transaction, client in zip(transactions, clients, strict=True):
        await transaction.rollback()
        await client.close()
    return found


async def test_by_pull_alone_an_update_is_seen_within_the_interval(
    database: Any, pooled_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        async with make(pooled_url) as cache:
            assert await name_of(cache) == "v0"
            waits = [await seconds_until_seen(cache, database, f"v{number}") for number in range(1, 6)]
            assert max(waits) < PULL_INTERVAL + MARGIN
            assert max(waits) > 0.05, "somebody has listened"
            assert await channels_of_servers(pooled_url) == []
    assert "behind a pooler; set TENANTCACHE_LISTEN_URL" in caplog.text
    assert "the change log is lost" not in caplog.text, "its server connections have changed, and nobody has noticed"


async def test_with_an_address_to_listen_at_it_is_seen_at_once(
    database: Any, database_url: str, pooled_url: str
) -> None:
    async with make(pooled_url, listen_url=database_url) as cache:
        await asyncio.sleep(0.2)
        assert await name_of(cache) == "v0"
        waits = sorted([await ticks_until_seen(cache, database, f"v{number}") for number in range(1, 12)])
        assert waits[len(waits) // 2] < 0.1
        assert waits[-1] < PULL_INTERVAL + MARGIN


async def test_nobody_there_to_listen_to_changes_nothing_else(
    database: Any, pooled_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        async with make(pooled_url, listen_url="postgresql://postgres@127.0.0.1:1/nowhere") as cache:
            assert await name_of(cache) == "v0"
            assert await seconds_until_seen(cache, database, "v1") < PULL_INTERVAL + MARGIN
    assert caplog.text.count("cannot be listened for") == 1
    assert "is not running (connection refused)" in caplog.text


async def test_many_at_once_on_few_server_connections(
    database: Any, pooled_url: str, patience: None, caplog: pytest.LogCaptureFixture
) -> None:
    """More clients than servers: statements of different clients alternate on each, and nothing is mixed up."""
    await database.execute("""
        insert into tenantcache.tenants (id, name, subdomain)
            select n, 'name ' || n, 't' || n from generate_series(1, 100) n
    """)
    async with make(pooled_url, host_index_max_hosts=0) as one, make(pooled_url) as two:
        for cache in (one, two):
            await cache.sync()
        tenants = await asyncio.gather(
            *(cache.resolve(f"t{number}.example.com") for number in range(1, 101) for cache in (one, two))
        )
        names = [tenant.name for tenant in tenants if tenant is not None]
        assert names == [f"name {number}" for number in range(1, 101) for _ in (one, two)]
    assert "the change log is lost" not in caplog.text


async def test_a_pooler_that_is_restarted(database: Any, database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    require_pgbouncer()
    caplog.set_level(logging.INFO, "tenantcache.freshness")
    with PgBouncer(database_url) as pooler:
        async with make(pooler.url) as cache:
            assert await name_of(cache) == "v0"
            pooler.restart()
            assert await seconds_until_seen(cache, database, "v1") < 3
    assert [caplog.text.count(f"the change log is {what}") for what in ("lost", "followed again")] == [1, 1]
