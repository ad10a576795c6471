"""The index of known hosts on a real Postgres: it follows the log, and rules nothing out that it cannot know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest

from tenantcache import Settings, TenantCache
from tenantcache.lookup.core import hostindex
from tenantcache.lookup.sources import AliasStream, HostSource
from tenantcache.runtime import clock
from tenantcache.wiring import parts
from tenantcache.wiring.stores import Stores

OpenCache = Callable[..., Awaitable[TenantCache]]


@dataclass
class HeldSource:
    """Hands the batches of `source` out, and holds the stream before its end until `go_on` is set."""

    source: HostSource
    batch: int = 1
    reached_end: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    def stream_aliases(self, batch: int) -> AbstractAsyncContextManager[AliasStream]:
        return self._stream()

    @asynccontextmanager
    async def _stream(self) -> AsyncIterator[AliasStream]:
        async with self.source.stream_aliases(self.batch) as stream:
            yield AliasStream(stream.count, stream.epoch, stream.mark, self._held(stream))

    async def _held(self, stream: AliasStream) -> AsyncIterator[list[str]]:
        async for aliases in stream.batches:
            yield aliases
        self.reached_end.set()
        await self.go_on.wait()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database_url)
    await connection.execute("""
        insert into tenantcache.tenants (id, name, subdomain) values ('1', 'Acme', 'acme'), ('2', 'Globex', null);
        insert into tenantcache.tenant_domains values ('shop.acme.io', '1'), ('globex.example', '2');
    """)
    yield connection
    await connection.close()


@pytest.fixture
async def open_cache(database_url: str) -> AsyncIterator[OpenCache]:
    async with AsyncExitStack() as stack:

        async def opened(held: bool = False, clock: clock.Clock = clock.now, **settings: Any) -> TenantCache:
            chosen = Settings(_environ={}, database_url=database_url, limits="off", **settings)
            stores = Stores.from_settings(chosen)
            if held:
                stores.hosts = HeldSource(stores.hosts)
            return await stack.enter_async_context(TenantCache(chosen, stores=stores, clock=clock))

        yield opened


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for what another task does with a real server."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def ready(cache: TenantCache, loads: int = 1) -> TenantCache:
    await until(lambda: cache.indexer.is_ready and cache.indexer.loads >= loads)
    return cache


async def test_every_alias_of_the_database_is_known_and_others_are_ruled_out(
    database: Any, open_cache: OpenCache
) -> None:
    indexer = (await ready(await open_cache())).indexer
    known = ["subdomain:acme", "domain:shop.acme.io", "domain:globex.example"]
    unknown = ["subdomain:globex", "domain:acme", "domain:acme.io", "subdomain:shop.acme.io"]
    assert [indexer.rules_out(alias) for alias in known] == [False] * 3
    assert [indexer.rules_out(alias) for alias in unknown] == [True] * 4
    assert indexer.hosts == 3


async def test_a_host_that_is_ruled_out_costs_no_query(database: Any, open_cache: OpenCache) -> None:
    cache = await ready(await open_cache())
    queries = cache.stats()["postgres"]["queries"]
    assert await cache.resolve("nobody.localhost") is None
    assert cache.stats()["lookups"]["ruled_out"] == 1
    assert cache.stats()["postgres"]["queries"] == queries


async def test_created_hosts_are_known_once_the_log_was_followed(database: Any, open_cache: OpenCache) -> None:
    cache = await ready(await open_cache())
    assert await cache.resolve("initech.localhost") is None
    await database.execute("insert into tenantcache.tenants (id, name, subdomain) values ('3', 'Initech', 'initech')")
    await database.execute("insert into tenantcache.tenant_domains values ('initech.example', '3')")
    await cache.sync()
    for host in ("initech.localhost", "initech.example"):
        tenant = await cache.resolve(host)
        assert tenant is not None and tenant.id == "3"
    assert cache.indexer.loads == 1


async def test_a_renamed_host_is_known_and_the_old_one_leads_nowhere(database: Any, open_cache: OpenCache) -> None:
    cache = await ready(await open_cache())
    await database.execute("update tenantcache.tenants set subdomain = 'apex' where id = '1'")
    await database.execute("update tenantcache.tenant_domains set domain = 'new.acme.io' where domain = 'shop.acme.io'")
    await cache.sync()
    tenants = [
        await cache.resolve(host) for host in ("apex.localhost", "new.acme.io", "acme.localhost", "shop.acme.io")
    ]
    assert [tenant and tenant.id for tenant in tenants] == ["1", "1", None, None]


async def test_a_deleted_host_costs_a_look_up_until_the_index_is_loaded_again(
    database: Any, open_cache: OpenCache
) -> None:
    cache = await ready(await open_cache())
    await database.execute("delete from tenantcache.tenants where id = '1'")
    await cache.sync()
    assert not cache.indexer.rules_out("subdomain:acme")
    assert await cache.resolve("acme.localhost") is None
    cache._parts.changes.flush()
    await ready(cache, loads=2)
    assert cache.indexer.rules_out("subdomain:acme")
    assert not cache.indexer.rules_out("domain:globex.example")


async def test_truncate_rules_nothing_out_until_the_index_is_loaded_again(database: Any, open_cache: OpenCache) -> None:
    cache = await ready(await open_cache())
    await database.execute("truncate tenantcache.tenants cascade")
    await cache.sync()
    assert not cache.indexer.rules_out("subdomain:nobody")
    await ready(cache, loads=2)
    assert cache.indexer.rules_out("subdomain:acme")
    assert cache.indexer.hosts == 0


async def test_while_memory_has_lapsed_nothing_is_ruled_out(database: Any, open_cache: OpenCache) -> None:
    skipped = 0.0
    cache = await ready(await open_cache(clock=lambda: clock.now() + skipped))
    assert cache.indexer.rules_out("subdomain:nobody")
    await cache.follower.stop()
    skipped = 3.0
    assert not cache.indexer.rules_out("subdomain:nobody")


async def test_a_change_during_the_load_is_not_lost(database: Any, open_cache: OpenCache) -> None:
    cache = await open_cache(held=True)
    source = cache._parts.stores.hosts
    assert isinstance(source, HeldSource)
    await source.reached_end.wait()
    await database.execute("insert into tenantcache.tenants (id, name, subdomain) values ('3', 'Initech', 'initech')")
    await cache.sync()
    assert not cache.indexer.rules_out("subdomain:nobody"), "half an index rules nothing out"
    source.go_on.set()
    await ready(cache)
    assert cache.indexer.hosts == 3, "the snapshot is older than the change"
    assert not cache.indexer.rules_out("subdomain:initech")
    assert cache.indexer.rules_out("subdomain:nobody")


async def test_a_load_that_a_flush_overtakes_is_thrown_away_and_done_again(
    database: Any, open_cache: OpenCache
) -> None:
    cache = await open_cache(held=True)
    source = cache._parts.stores.hosts
    assert isinstance(source, HeldSource)
    await source.reached_end.wait()
    await database.execute("delete from tenantcache.tenants")
    # What TRUNCATE logs; that itself would wait for the end of the stream.
    await database.execute("select tenantcache.log_change(null, null)")
    await database.execute("insert into tenantcache.tenants (id, name, subdomain) values ('3', 'Initech', 'initech')")
    await cache.sync()
    source.go_on.set()
    await ready(cache)
    assert cache.indexer.hosts == 1
    assert cache.indexer.rules_out("subdomain:acme")
    assert not cache.indexer.rules_out("subdomain:initech")


async def test_an_index_that_has_filled_up_is_made_anew(
    database: Any, open_cache: OpenCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostindex, "MIN_CAPACITY", 6)
    cache = await ready(await open_cache())
    await database.execute(
        "insert into tenantcache.tenants (id, name, subdomain)"
        " select n, n, 'crowd-' || n from generate_series(10, 29) n"
    )
    await cache.sync()
    assert not cache.indexer.rules_out("subdomain:nobody"), "a full index rules nothing out"
    await ready(cache, loads=2)
    assert cache.indexer.hosts == 23
    assert cache.indexer.rules_out("subdomain:nobody")
    assert not cache.indexer.rules_out("subdomain:crowd-29")


async def test_more_hosts_than_it_may_hold_are_not_indexed(
    database: Any, open_cache: OpenCache, caplog: pytest.LogCaptureFixture
) -> None:
    cache = await open_cache(host_index_max_hosts=2)
    await until(lambda: "3 hosts are more than the index may hold" in caplog.text)
    assert not cache.indexer.is_ready
    assert not cache.indexer.rules_out("subdomain:nobody")
    assert cache.indexer.nbytes == 0
    assert await cache.resolve("acme.localhost") is not None


async def test_a_source_that_fails_is_asked_again(database: Any, open_cache: OpenCache) -> None:
    await database.execute("alter function tenantcache.all_aliases() rename to elsewhere")
    cache = await open_cache()
    await until(cache.indexer._needed.is_set)
    assert not cache.indexer.rules_out("subdomain:nobody")
    await database.execute("alter function tenantcache.elsewhere() rename to all_aliases")
    await ready(cache)
    assert cache.indexer.rules_out("subdomain:nobody")


async def test_a_cold_start_may_look_up_more_known_hosts_than_unknown_ones(
    database: Any, open_cache: OpenCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "LOOKUP_BURST", 1.0)
    monkeypatch.setattr(parts, "LOOKUPS_PER_SECOND", 0.0)
    cache = await ready(await open_cache(base_domains=["example.com"]))
    found = [await cache.resolve(host) for host in ("acme.example.com", "shop.acme.io", "globex.example")]
    assert [tenant.id for tenant in found if tenant is not None] == ["1", "1", "2"]
    assert cache.stats()["lookups"]["over_budget"] == 0
