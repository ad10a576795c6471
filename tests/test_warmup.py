"""Memory is warmed up from one streamed query, and what it is warmed up with is judged like any other copy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import pytest

from tenantcache import Settings, TenantCache
from tenantcache.errors import StoreError
from tenantcache.freshness.core.logmark import LogMark
from tenantcache.lookup.sources import RowSource, RowStream
from tenantcache.wiring.parts import LOOKUP_BURST
from tenantcache.wiring.stores import Stores
from tests.adoption.small import SCHEMA, adopt
from tests.fakes import until
from tests.servers.billing import BilledCommands


class HeldRows:
    """`source` one row at a time; holds the stream after `first` rows until `go_on` is set."""

    def __init__(self, source: RowSource, first: int = 0) -> None:
        self._source = source
        self._first = first
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()
        self.epoch: str | None = None

    def stream_rows(self, batch: int, most: int) -> AbstractAsyncContextManager[RowStream]:
        return self._stream(most)

    @asynccontextmanager
    async def _stream(self, most: int) -> AsyncIterator[RowStream]:
        async with self._source.stream_rows(1, most) as stream:
            yield RowStream(stream.mark, self.epoch or stream.epoch, self._held(stream))

    async def _held(self, stream: RowStream) -> AsyncIterator[list[Any]]:
        number = 0
        async for rows in stream.batches:
            if number == self._first:
                self.reached.set()
                await self.go_on.wait()
            number += 1
            yield rows


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database_url)
    await connection.execute("""
        insert into tenantcache.tenants (id, name, subdomain)
            values ('1', 'Acme', 'acme'), ('2', 'Globex', 'globex'), ('3', 'Initech', 'initech');
        insert into tenantcache.tenant_domains values ('shop.acme.io', '1');
        insert into tenantcache.usage values
            ('1', current_date, 1, now() - interval '2 minutes'), ('3', current_date, 1, now());
    """)
    yield connection
    await connection.close()


def make(database_url: str, hold: Callable[[RowSource], RowSource] | None = None, **settings: Any) -> TenantCache:
    chosen = Settings(_environ={}, database_url=database_url, base_domains=["example.com"], limits="off", **settings)
    stores = Stores.from_settings(chosen)
    if hold is not None:
        assert stores.rows is not None
        stores.rows = hold(stores.rows)
    return TenantCache(chosen, stores=stores)


async def loads_of(cache: TenantCache, *hosts: str) -> int:
    """How many look-ups these hosts cause."""
    before = cache.resolver.loads
    for host in hosts:
        await cache.resolve(host)
    return cache.resolver.loads - before


async def test_every_host_is_there_without_a_look_up(database: Any, database_url: str) -> None:
    async with make(database_url) as cache:
        await cache.warm_up.wait()
        hosts = ("acme.example.com", "shop.acme.io", "globex.example.com", "initech.example.com")
        assert await loads_of(cache, *hosts) == 0
        tenant = await cache.resolve("shop.acme.io")
        assert tenant is not None and tenant.name == "Acme"
        assert cache.stats()["lookups"]["warm_up"] == "complete"
        assert cache.stats()["lookups"]["warmed_up"] == 3


async def test_it_can_be_switched_off(database: Any, database_url: str) -> None:
    async with make(database_url, warm_up=False) as cache:
        await cache.warm_up.wait()
        assert len(cache.memory) == 0
        assert cache.stats()["lookups"]["warm_up"] == "off"


async def test_nothing_is_read_if_memory_cannot_hold_all_tenants(database: Any, database_url: str) -> None:
    async with make(database_url, memory_max_tenants=2) as cache:
        await cache.warm_up.wait()
        assert len(cache.memory) == 0
        assert cache.stats()["lookups"]["warm_up"] == "too many"


async def test_copies_in_redis_are_left_alone_until_it_has_ended(
    database: Any, database_url: str, redis_url: str, billed_commands: BilledCommands
) -> None:
    """The fleet's other processes read all tenants from Postgres as well: copies would be billed for nothing."""
    async with make(database_url, HeldRows, redis_url=redis_url) as cache:
        held = cache._parts.stores.rows
        assert isinstance(held, HeldRows)
        await held.reached.wait()
        assert cache.stats()["lookups"]["warm_up"] == "filling"
        await cache.resolve("acme.example.com")
        assert not cache.resolver.sharing.is_writing
        assert billed_commands.by_command() == {}
        held.go_on.set()
        await cache.warm_up.wait()
        await cache.invalidate("2")
        await cache.resolve("globex.example.com")
        await until(lambda: not cache.resolver.sharing.is_writing)
        assert {"get", "set"} <= set(billed_commands.by_command())


async def test_those_seen_last_come_first_where_not_all_have_room(database: Any, database_url: str) -> None:
    async with make(database_url, memory_max_tenants=1, warm_up=True) as cache:
        await cache.warm_up.wait()
        assert cache.stats()["lookups"]["warm_up"] == "full"
        assert [len(list(cache.memory.tenants_of(number))) for number in ("1", "2", "3")] == [0, 0, 1]
        assert cache.memory.evictions == 0


async def test_a_change_that_comes_while_rows_stream_is_not_covered_by_an_old_row(
    database: Any, database_url: str
) -> None:
    async with make(database_url, HeldRows) as cache:
        held = cache._parts.stores.rows
        assert isinstance(held, HeldRows)
        await held.reached.wait()
        await database.execute("update tenantcache.tenants set name = 'New' where id = '1'")
        await database.execute("delete from tenantcache.tenants where id = '2'")
        await cache.sync()
        held.go_on.set()
        await cache.warm_up.wait()
        assert cache.stats()["lookups"]["warmed_up"] == 1, "only the tenant that did not change"
        tenant = await cache.resolve("shop.acme.io")
        assert tenant is not None and tenant.name == "New"
        assert await cache.resolve("globex.example.com") is None


async def test_what_a_request_has_read_meanwhile_stays(database: Any, database_url: str) -> None:
    async with make(database_url, HeldRows) as cache:
        held = cache._parts.stores.rows
        assert isinstance(held, HeldRows)
        await held.reached.wait()
        await cache.resolve("acme.example.com")
        before = cache.memory.get("subdomain:acme")
        held.go_on.set()
        await cache.warm_up.wait()
        assert before is not None and cache.memory.get("subdomain:acme") is before
        assert cache.memory.get("domain:shop.acme.io") is not None


async def test_rows_of_another_timeline_are_refused(database: Any, database_url: str) -> None:
    async with make(database_url, HeldRows) as cache:
        held = cache._parts.stores.rows
        assert isinstance(held, HeldRows)
        held.epoch = "another"
        held.go_on.set()
        await cache.warm_up.wait()
        assert cache.stats()["lookups"]["warmed_up"] == 0


async def test_no_row_is_installed_that_is_newer_than_what_was_applied(database: Any, database_url: str) -> None:
    """The follower may lag behind the stream's snapshot: then a later entry of the log would be taken for news."""

    class FromTheFuture(HeldRows):
        @asynccontextmanager
        async def _stream(self, most: int) -> AsyncIterator[RowStream]:
            async with super()._stream(most) as stream:
                yield RowStream(LogMark(stream.mark.seq + 1, stream.mark.at), stream.epoch, stream.batches)

    async with make(database_url, FromTheFuture) as cache:
        held = cache._parts.stores.rows
        assert isinstance(held, HeldRows)
        held.go_on.set()
        await cache.warm_up.wait()
        assert len(cache.memory) == 0


async def test_a_stream_that_breaks_leaves_everything_working(database: Any, database_url: str) -> None:
    class Broken(HeldRows):
        async def _held(self, stream: RowStream) -> AsyncIterator[list[Any]]:
            raise StoreError("the connection broke")
            yield []

    async with make(database_url, Broken) as cache:
        await cache.warm_up.wait()
        tenant = await cache.resolve("acme.example.com")
        assert cache.stats()["lookups"]["warm_up"] == "failed"
        assert tenant is not None and tenant.name == "Acme"


async def test_a_warmed_up_tenant_is_evicted_by_a_later_change(database: Any, database_url: str) -> None:
    async with make(database_url) as cache:
        await cache.warm_up.wait()
        await database.execute("update tenantcache.tenants set name = 'New' where id = '3'")
        await cache.sync()
        tenant = await cache.resolve("initech.example.com")
        assert tenant is not None and tenant.name == "New"


async def test_requests_are_served_while_it_runs(database: Any, database_url: str, patience: None) -> None:
    """Between two batches others get their turn; the first requests do not wait for ten thousand rows."""
    await database.execute("""
        insert into tenantcache.tenants (id, name, subdomain)
            select 'x' || n, 'X ' || n, 'x-' || n from generate_series(1, 5000) as n
    """)
    turns = 0
    async with make(database_url) as cache:
        started = time.perf_counter()
        while not cache.warm_up.done and time.perf_counter() - started < 30:
            await asyncio.sleep(0)
            turns += 1
        assert len(cache.memory) == 5004
        await until(lambda: cache.indexer.is_ready)
    assert turns > 25, f"5003 rows in batches of 200 leave at least 25 turns to others, not {turns}"


async def test_a_snapshot_with_changes_pending_is_not_taken(database: Any, database_url: str) -> None:
    """A restored backup may undo them without a trace in the log."""

    class Pending(HeldRows):
        streams = 0

        @asynccontextmanager
        async def _stream(self, most: int) -> AsyncIterator[RowStream]:
            async with super()._stream(most) as stream:
                self.streams += 1
                yield RowStream(stream.mark, stream.epoch, stream.batches, pending=self.streams < 3)

    async with make(database_url, Pending) as cache:
        held = cache._parts.stores.rows
        assert isinstance(held, Pending)
        held.go_on.set()
        await cache.warm_up.wait()
        assert held.streams == 3
        assert cache.stats()["lookups"]["warmed_up"] > 0


@pytest.mark.parametrize("warm_up", [True, "auto"])
async def test_of_adopted_tables_it_brings_what_a_look_up_would_say(empty_database_url: str, warm_up: Any) -> None:
    """Two active tenants share a name, which leads to neither; of two others with one name the active one is served."""
    connection = await asyncpg.connect(empty_database_url, statement_cache_size=0)
    await connection.execute(SCHEMA)
    await connection.execute("""
        insert into org (id, slug, status, plan_id) values
            (4, 'two', 'suspended', 1), (5, 'ONE', null, 1), (6, 'six', null, 1), (7, 'seven', null, 1)
    """)
    await adopt(connection)
    await connection.execute("delete from tenantcache.aliases where alias = 'subdomain:seven'")  # as if not read yet
    hosts = [*(f"{name}.example.com" for name in ("one", "two", "three", "six", "seven")), "one.io"]
    expected: list[str | None] = [None, "2", "3", "6", None, "1"]
    loads = {}
    for setting in (warm_up, False):
        async with make(empty_database_url, warm_up=setting) as cache:
            await cache.warm_up.wait()
            await until(lambda: cache.indexer.is_ready)
            tenants = [await cache.resolve(host) for host in hosts]
            assert [None if tenant is None else tenant.id for tenant in tenants] == expected
            loads[setting] = cache.resolver.loads
    assert loads == {warm_up: 2, False: 5}, "one and two alone are asked for; seven is in no index"
    await connection.close()


async def test_a_cold_start_under_load_costs_few_queries_and_refuses_none(
    database: Any, database_url: str, patience: None
) -> None:
    """Ten times as many tenants at once as unknown hosts may be looked up, and no stream that brings them."""
    count = 10 * int(LOOKUP_BURST)
    await database.execute(
        "insert into tenantcache.tenants (id, name, subdomain)"
        " select 'x' || n, 'X ' || n, 'x-' || n from generate_series(1, $1::int) as n",
        count,
    )
    async with make(database_url, warm_up=False) as cache:
        assert not cache.indexer.is_ready
        before = cache.stats()["postgres"]["queries"]
        found = await asyncio.gather(*(cache.resolve(f"x-{number}.example.com") for number in range(1, count + 1)))
        assert [tenant.id for tenant in found if tenant is not None] == [f"x{number}" for number in range(1, count + 1)]
        stats = cache.stats()
        assert (stats["lookups"]["loads"], stats["lookups"]["over_budget"]) == (count, 0)
        assert stats["postgres"]["queries"] - before < 100, "200 tenants a query, and a few for the rest"
