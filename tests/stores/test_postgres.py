"""What the two Postgres stores promise beyond their protocols (`tests/contracts`), on a real server."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest

from tenantcache.devservers import PostgresServer
from tenantcache.errors import SchemaMissingError, StoreError
from tenantcache.freshness.core.logmark import LogMark
from tenantcache.freshness.log import ChangeKind
from tenantcache.ratelimit.core.windows import Debit, Window
from tenantcache.ratelimit.counterstore import Account, AccountDebits
from tenantcache.schema import install as schema
from tenantcache.stores.changelog import PostgresLog
from tenantcache.stores.counters import PostgresCounters
from tenantcache.stores.postgres import _READ as LOOK_UP
from tenantcache.stores.postgres import PostgresTenants
from tenantcache.stores.slots import PostgresSlots
from tests.servers.publishing import publish
from tests.servers.storage import put_back, take_snapshot

PAGE = 100
BOUND = 1000
AN_HOUR = 3600.0


def ignore(published: int | None = None, **_told: object) -> None:
    """A notification that is not waited for."""


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    await connection.execute("""
        insert into tenantcache.tenants (id, name, subdomain, plan, limit_per_minute, attributes)
            values ('acme', 'Acme', 'acme', 'pro', 5, '{"colour": "red"}');
        insert into tenantcache.tenants (id, name, subdomain) values ('globex', 'Globex', 'globex');
        insert into tenantcache.tenant_domains (domain, tenant_id, is_primary)
            values ('shop.acme.io', 'acme', true), ('acme.io', 'acme', false);
    """)
    await publish(connection)
    yield connection
    await connection.close()


@pytest.fixture
async def tenants(database_url: str, db: asyncpg.Connection) -> AsyncIterator[PostgresTenants]:
    store = PostgresTenants(database_url, timeout=2.0)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def log(database_url: str, db: asyncpg.Connection) -> AsyncIterator[PostgresLog]:
    store = PostgresLog(database_url, timeout=2.0)
    await store.open(ignore)
    yield store
    await store.close()


async def rename(db: asyncpg.Connection, name: str, tenant_id: str = "acme") -> None:
    """One entry more in the log."""
    await db.execute("update tenantcache.tenants set name = $1 where id = $2", name, tenant_id)
    await publish(db)


async def head(log: PostgresLog) -> LogMark:
    return (await log.tail(AN_HOUR, PAGE)).head


class TestReading:
    async def test_a_read_is_one_query(self, tenants: PostgresTenants) -> None:
        await tenants.read(["subdomain:acme", "domain:acme.io", "id:globex"])
        assert tenants.queries == 1

    async def test_the_planner_inlines_the_function_and_uses_the_indexes(self, db: asyncpg.Connection) -> None:
        await db.execute("""
            insert into tenantcache.tenants (id, name, subdomain)
                select n, n, 't' || n from generate_series(1, 20000) n;
            insert into tenantcache.tenant_domains (domain, tenant_id)
                select 'd' || n, n from generate_series(1, 20000) n;
            analyze tenantcache.tenants, tenantcache.tenant_domains;
        """)
        plan = await db.fetchval(f"explain (format json) {LOOK_UP}", ["subdomain:t1", "domain:d2", "id:3"])
        assert "find_tenants" not in plan
        assert plan.count('"Index Name": "tenants_subdomain_key"') == 1
        assert plan.count('"Index Name": "tenants_pkey"') == 2

    async def test_the_driver_asks_for_no_type(
        self, log: PostgresLog, tenants: PostgresTenants, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It would on each new connection: three round trips, and 6 ms of work for Postgres."""
        monkeypatch.delattr(asyncpg.Connection, "_introspect_types")
        await log.pull(await head(log), BOUND, PAGE)
        await tenants.read(["subdomain:acme"])
        assert await PostgresSlots(tenants).assign(["acme"]) == [0]
        window = Window("minute", 1)
        account = Account("acme", 0)
        assert await PostgresCounters(tenants).debit([AccountDebits(account, [Debit(window, 3)])]) == [[3]]
        await PostgresCounters(tenants).reset(account, [window])

    async def test_without_the_schema_it_says_what_to_do(self, empty_database_url: str) -> None:
        store = PostgresTenants(empty_database_url)
        await store.open()
        with pytest.raises(SchemaMissingError, match="tenantcache init"):
            await store.read(["subdomain:acme"])
        await store.close()

    async def test_an_emptied_log_is_a_mistake_that_is_named(
        self, tenants: PostgresTenants, log: PostgresLog, db: asyncpg.Connection
    ) -> None:
        mark = await head(log)
        await db.execute("truncate tenantcache.change_log")
        with pytest.raises(SchemaMissingError, match="change_log was emptied"):
            await tenants.read(["subdomain:acme"])
        with pytest.raises(SchemaMissingError, match="change_log was emptied"):
            await log.pull(mark, BOUND, PAGE)
        with pytest.raises(SchemaMissingError, match="change_log was emptied"):
            await log.tail(AN_HOUR, PAGE)

    async def test_before_open_it_says_so(self) -> None:
        with pytest.raises(StoreError, match="not connected"):
            await PostgresTenants("postgresql://127.0.0.1:1/nowhere").read(["subdomain:acme"])


class TestPulling:
    async def test_everything_changed(self, log: PostgresLog, db: asyncpg.Connection) -> None:
        mark = await head(log)
        await db.execute("truncate tenantcache.tenant_domains")
        await publish(db)
        (entry,) = (await log.pull(mark, BOUND, PAGE)).entries
        assert (entry.kind, entry.tenant_id, entry.aliases) == (ChangeKind.EVERYTHING, "", ())

    async def test_the_limits_of_a_tenant_were_reset(self, tenants: PostgresTenants, log: PostgresLog) -> None:
        mark = await head(log)
        await tenants.log_reset("acme")
        await log.publish(PAGE)
        (entry,) = (await log.pull(mark, BOUND, PAGE)).entries
        assert (entry.kind, entry.tenant_id, entry.aliases) == (ChangeKind.RESET, "acme", ())

    async def test_the_servers_clock(self, log: PostgresLog) -> None:
        before = time.time()
        server_time = (await log.pull(await head(log), BOUND, PAGE)).server_time
        assert before - 0.1 <= server_time <= time.time() + 0.1

    async def test_one_query_each(self, log: PostgresLog) -> None:
        mark = await head(log)
        assert log.queries == 1
        await log.pull(mark, BOUND, PAGE)
        assert log.queries == 2


class TestTail:
    async def test_it_has_no_gap_though_a_clock_was_set(self, log: PostgresLog, db: asyncpg.Connection) -> None:
        for number in range(3):
            await rename(db, f"Name {number}")
        newest = await db.fetchval("select max(seq) from tenantcache.change_log")
        await db.execute("update tenantcache.change_log set at = at - interval '2 hours' where seq = $1", newest - 1)
        pull = await log.tail(AN_HOUR, PAGE)
        assert [entry.seq for entry in pull.entries] == [newest - 1, newest]


class TestHistory:
    async def test_a_database_made_from_this_one_has_another_epoch(
        self, database_url: str, postgres_server: PostgresServer
    ) -> None:
        name = database_url.rpartition("/")[2]
        admin = await asyncpg.connect(postgres_server.url)
        try:
            await admin.execute(f"create database {name}_copy template {name}")
            epochs = []
            for database in (name, f"{name}_copy"):
                connection = await asyncpg.connect(postgres_server.database_url(database))
                epochs.append(await connection.fetchval("select tenantcache.epoch()"))
                await connection.close()
            assert epochs[0] != epochs[1]
        finally:
            await admin.execute(f"drop database if exists {name}_copy")
            await admin.close()

    async def test_a_storage_snapshot_put_back_is_seen(
        self, postgres_factory: Callable[..., PostgresServer], tmp_path: Path
    ) -> None:
        server = postgres_factory()
        db = await asyncpg.connect(server.url)
        await schema.install(db)
        await db.execute("insert into tenantcache.tenants (id, name) values ('acme', 'Acme')")
        await publish(db)
        await db.close()
        take_snapshot(server, tmp_path / "snapshot")
        epoch, mark = await write_and_look(server, "Lost")
        put_back(server, tmp_path / "snapshot")
        restored_epoch, restored_mark = await write_and_look(server, "Kept")
        assert (restored_epoch, restored_mark.seq) == (epoch, mark.seq)  # nothing but the time tells them apart
        log = PostgresLog(server.url, timeout=2.0)
        await log.open(ignore)
        assert not (await log.pull(mark, BOUND, PAGE)).continuous
        assert (await log.pull(restored_mark, BOUND, PAGE)).continuous
        await log.close()


async def write_and_look(server: PostgresServer, name: str) -> tuple[str, LogMark]:
    """Change a tenant; return the log's epoch and its newest entry."""
    db = await asyncpg.connect(server.url)
    await rename(db, name)
    await db.close()
    log = PostgresLog(server.url, timeout=2.0)
    await log.open(ignore)
    pull = await log.tail(AN_HOUR, PAGE)
    await log.close()
    return pull.epoch, pull.head


class TestHousekeeping:
    async def test_a_process_that_has_died_is_not_counted(self, log: PostgresLog, db: asyncpg.Connection) -> None:
        mine, dead = uuid.uuid4(), uuid.uuid4()
        for process in (mine, dead):
            await log.beat(process)
        await db.execute("update tenantcache.processes set seen_at = now() - interval '31 seconds' where id = $1", dead)
        assert (await log.pull(await head(log), BOUND, PAGE)).processes == 1

    async def test_pruning_leaves_no_gap_though_a_clock_was_set(self, log: PostgresLog, db: asyncpg.Connection) -> None:
        for number in range(3):
            await rename(db, f"Name {number}")
        newest = await db.fetchval("select max(seq) from tenantcache.change_log")
        await db.execute("update tenantcache.change_log set at = at - interval '2 hours' where seq = $1", newest - 1)
        before = await db.fetch("select seq from tenantcache.change_log")
        await log.prune(AN_HOUR, PAGE)
        assert await db.fetch("select seq from tenantcache.change_log") == before

    async def test_one_process_prunes_at_a_time(
        self, log: PostgresLog, db: asyncpg.Connection, database_url: str
    ) -> None:
        await db.execute("update tenantcache.change_log set at = at - interval '2 hours'")
        count = await db.fetchval("select count(*) from tenantcache.change_log")
        other = await asyncpg.connect(database_url)
        await other.execute("select pg_advisory_lock(7307199743)")
        await log.prune(AN_HOUR, PAGE)
        assert await db.fetchval("select count(*) from tenantcache.change_log") == count
        await other.close()
