"""Hosts that no trigger has told of: a restore, or a job with triggers off that nothing else gives away."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tenantcache import Settings, TenantCache
from tenantcache.lookup import indexer
from tests.fakes import until

pytestmark = pytest.mark.usefixtures("patience")

OFF_AND_ON = """
    alter table tenantcache.tenants disable trigger all;
    insert into tenantcache.tenants (id, name, subdomain) values ('2', 'Globex', 'globex');
    alter table tenantcache.tenants enable trigger all, enable always trigger tenantcache_written,
        enable always trigger tenantcache_changed, enable always trigger tenantcache_truncated;
"""
UNTOLD = OFF_AND_ON + "update tenantcache.watched_tables w set definition = tenantcache.definition_of(w);"
"""In one transaction, and without a trace: what has changed about the triggers would be seen otherwise."""


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    await connection.execute("insert into tenantcache.tenants (id, name, subdomain) values ('1', 'Acme', 'acme')")
    yield connection
    await connection.close()


@pytest.fixture
async def cache(database_url: str, database: asyncpg.Connection) -> AsyncIterator[TenantCache]:
    settings = Settings(_environ={}, database_url=database_url, base_domains=["example.com"], limits="off")
    async with TenantCache(settings) as opened:
        yield opened


async def lose_sight_of_globex(cache: TenantCache, database: asyncpg.Connection) -> None:
    await until(lambda: cache.indexer.is_ready)
    await database.execute(UNTOLD)
    await cache.sync()
    assert await cache.resolve("globex.example.com") is None
    assert cache.stats()["lookups"]["ruled_out"] == 1


async def test_the_index_is_loaded_anew_from_time_to_time(
    monkeypatch: pytest.MonkeyPatch, database_url: str, database: asyncpg.Connection
) -> None:
    monkeypatch.setattr(indexer, "RELOAD_INTERVAL", 0.5)
    settings = Settings(_environ={}, database_url=database_url, base_domains=["example.com"], limits="off")
    async with TenantCache(settings) as cache:
        await until(lambda: cache.indexer.is_ready)
        await database.execute(UNTOLD)
        loads = cache.indexer.loads
        await until(lambda: cache.indexer.loads > loads + 1, seconds=20)
        found = await cache.resolve("globex.example.com")
    assert found is not None and found.id == "2"


async def test_invalidate_takes_the_names_from_postgres(cache: TenantCache, database: asyncpg.Connection) -> None:
    await lose_sight_of_globex(cache, database)
    await cache.invalidate("2")
    found = await cache.resolve("globex.example.com")
    assert found is not None and found.name == "Globex"


async def test_triggers_that_were_off_are_noticed(cache: TenantCache, database: asyncpg.Connection) -> None:
    await until(lambda: cache.indexer.is_ready)
    await database.execute(OFF_AND_ON)
    await until(lambda: cache.follower.fault is not None)
    await until(lambda: cache.follower.fault is None, seconds=20)
    found = await cache.resolve("globex.example.com")
    assert found is not None and found.id == "2"
