"""What the two Postgres stores promise, on a real server."""

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
from tenantcache.freshness.log import ChangeKind, Publication
from tenantcache.schema import install as schema
from tenantcache.stores.changelog import PostgresLog
from tenantcache.stores.postgres import _READ as LOOK_UP
from tenantcache.stores.postgres import PostgresTenants
from tests.servers.publishing import publish
from tests.servers.storage import put_back, take_snapshot

PAGE = 100
BOUND = 1000
AN_HOUR = 3600.0


def ignore(published: int | None = None, *, checks: bool = False) -> None:
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
    async def test_a_tenant_under_each_alias(self, tenants: PostgresTenants) -> None:
        aliases = ["subdomain:acme", "domain:acme.io", "id:acme"]
        expected = {
            "id": "acme",
            "name": "Acme",
            "subdomain": "acme",
            "domains": ["acme.io", "shop.acme.io"],
            "primary_domain": "shop.acme.io",
            "status": "active",
            "plan": "pro",
            "limit_per_minute": 5,
            "limit_per_day": None,
            "time_zone": None,
            "attributes": {"colour": "red"},
        }
        assert (await tenants.read(aliases)).rows == dict.fromkeys(aliases, expected)

    async def test_what_is_not_there_is_none_and_has_an_asof_too(
        self, tenants: PostgresTenants, db: asyncpg.Connection
    ) -> None:
        snapshot = await tenants.read(["subdomain:nobody", "domain:acme", "id:shop.acme.io"])
        assert snapshot.rows == {"subdomain:nobody": None, "domain:acme": None, "id:shop.acme.io": None}
        newest = await db.fetchrow("""
            select seq, (extract(epoch from at) * 1000000)::bigint from tenantcache.change_log order by seq desc limit 1
        """)
        assert snapshot.mark == LogMark(*newest)
        assert snapshot.epoch == await db.fetchval("select tenantcache.epoch()")

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

    async def test_a_logged_change_names_tenant_and_aliases(self, tenants: PostgresTenants, log: PostgresLog) -> None:
        mark = await head(log)
        await tenants.log_change("acme", ["subdomain:acme", "domain:acme.io"])
        assert await log.publish(PAGE) is Publication.PUBLISHED
        entries = (await log.pull(mark, BOUND, PAGE)).entries
        assert [(entry.tenant_id, set(entry.aliases)) for entry in entries] == [
            ("acme", {"subdomain:acme", "domain:acme.io"})
        ]

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
    async def test_what_is_new_in_order(self, log: PostgresLog, db: asyncpg.Connection) -> None:
        mark = await head(log)
        await rename(db, "One")
        await rename(db, "Two", "globex")
        pull = await log.pull(mark, BOUND, PAGE)
        assert [(entry.tenant_id, set(entry.aliases)) for entry in pull.entries] == [
            ("acme", {"subdomain:acme"}),
            ("globex", {"subdomain:globex"}),
        ]
        assert pull.head == LogMark(pull.entries[-1].seq, pull.entries[-1].at)
        assert pull.continuous and not pull.truncated

    async def test_nothing_new(self, log: PostgresLog) -> None:
        mark = await head(log)
        pull = await log.pull(mark, BOUND, PAGE)
        assert (pull.entries, pull.head, pull.continuous, pull.truncated) == ([], mark, True, False)

    async def test_page_by_page(self, log: PostgresLog, db: asyncpg.Connection) -> None:
        mark = await head(log)
        for number in range(5):
            await rename(db, f"Name {number}")
        first = await log.pull(mark, BOUND, 3)
        assert len(first.entries) == 3
        second = await log.pull(LogMark(first.entries[-1].seq, first.entries[-1].at), BOUND, 3)
        assert len(second.entries) == 2
        assert second.continuous

    async def test_too_far_behind(self, log: PostgresLog, db: asyncpg.Connection) -> None:
        mark = await head(log)
        for number in range(5):
            await rename(db, f"Name {number}")
        within = await log.pull(mark, 5, PAGE)
        assert (len(within.entries), within.truncated) == (5, False)
        beyond = await log.pull(mark, 4, PAGE)
        assert (len(beyond.entries), beyond.truncated) == (0, True)
        assert beyond.head.seq == mark.seq + 5

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
    async def test_by_age(self, log: PostgresLog, db: asyncpg.Connection) -> None:
        await db.execute("update tenantcache.change_log set at = at - interval '2 hours'")
        newest = await db.fetchval("select max(seq) from tenantcache.change_log")
        await rename(db, "One")
        pull = await log.tail(AN_HOUR, PAGE)
        assert [entry.seq for entry in pull.entries] == [newest, newest + 1], "the newest that is too old comes with it"
        assert pull.continuous

    async def test_the_newest_where_there_are_too_many(self, log: PostgresLog, db: asyncpg.Connection) -> None:
        for number in range(5):
            await rename(db, f"Name {number}")
        pull = await log.tail(AN_HOUR, 2)
        assert [entry.seq for entry in pull.entries] == [pull.head.seq - 1, pull.head.seq]

    async def test_it_has_no_gap_though_a_clock_was_set(self, log: PostgresLog, db: asyncpg.Connection) -> None:
        for number in range(3):
            await rename(db, f"Name {number}")
        newest = await db.fetchval("select max(seq) from tenantcache.change_log")
        await db.execute("update tenantcache.change_log set at = at - interval '2 hours' where seq = $1", newest - 1)
        pull = await log.tail(AN_HOUR, PAGE)
        assert [entry.seq for entry in pull.entries] == [newest - 1, newest]

    async def test_nothing_that_young(self, log: PostgresLog, db: asyncpg.Connection) -> None:
        await db.execute("update tenantcache.change_log set at = at - interval '2 hours'")
        pull = await log.tail(AN_HOUR, PAGE)
        newest = await db.fetchval("select max(seq) from tenantcache.change_log")
        assert [entry.seq for entry in pull.entries] == [newest]
        assert pull.head == LogMark(pull.entries[-1].seq, pull.entries[-1].at)


class TestHistory:
    async def test_a_lost_future_is_seen(self, log: PostgresLog, db: asyncpg.Connection) -> None:
        await rename(db, "Lost")
        mark = await head(log)
        await lose_newest_entries(db, 1)
        pull = await log.pull(mark, BOUND, PAGE)
        assert not pull.continuous
        assert pull.head.seq == mark.seq - 1

    async def test_another_entry_of_the_same_number_is_told_apart(
        self, log: PostgresLog, db: asyncpg.Connection
    ) -> None:
        await rename(db, "Lost")
        mark = await head(log)
        await lose_newest_entries(db, 1)
        await rename(db, "Other")
        pull = await log.pull(mark, BOUND, PAGE)
        assert pull.head.seq == mark.seq
        assert not pull.continuous

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


async def lose_newest_entries(db: asyncpg.Connection, count: int) -> None:
    """What a storage snapshot that is put back does to the log."""
    kept = await db.fetchval("select max(seq) - $1 from tenantcache.change_log", count)
    await db.execute("delete from tenantcache.change_log where seq > $1", kept)
    await db.execute("select setval('tenantcache.change_seq', $1)", kept)


class TestHousekeeping:
    async def test_the_size_of_the_fleet(self, log: PostgresLog, db: asyncpg.Connection) -> None:
        mine, other, dead = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
        for process in (mine, other, dead, mine):
            await log.beat(process)
        await db.execute("update tenantcache.processes set seen_at = now() - interval '31 seconds' where id = $1", dead)
        assert (await log.pull(await head(log), BOUND, PAGE)).processes == 2
        await log.leave(other)
        assert (await log.pull(await head(log), BOUND, PAGE)).processes == 1

    async def test_pruning_keeps_the_young_and_the_newest(self, log: PostgresLog, db: asyncpg.Connection) -> None:
        await rename(db, "One")
        await db.execute("update tenantcache.change_log set at = at - interval '2 hours'")
        newest = await db.fetchval("select max(seq) from tenantcache.change_log")
        await log.prune(AN_HOUR, PAGE)
        assert await db.fetch("select seq from tenantcache.change_log") == [(newest,)]
        await rename(db, "Two")
        await log.prune(AN_HOUR, PAGE)
        assert await db.fetch("select seq from tenantcache.change_log") == [(newest + 1,)]

    async def test_pruning_takes_the_oldest_first_and_so_many_at_once(
        self, log: PostgresLog, db: asyncpg.Connection
    ) -> None:
        for number in range(5):
            await rename(db, f"Name {number}")
        await db.execute("update tenantcache.change_log set at = at - interval '2 hours'")
        before = [row[0] for row in await db.fetch("select seq from tenantcache.change_log order by seq")]
        await log.prune(AN_HOUR, 2)
        assert [row[0] for row in await db.fetch("select seq from tenantcache.change_log order by seq")] == before[2:]

    async def test_pruning_leaves_no_gap_though_a_clock_was_set(self, log: PostgresLog, db: asyncpg.Connection) -> None:
        for number in range(3):
            await rename(db, f"Name {number}")
        newest = await db.fetchval("select max(seq) from tenantcache.change_log")
        await db.execute("update tenantcache.change_log set at = at - interval '2 hours' where seq = $1", newest - 1)
        before = await db.fetch("select seq from tenantcache.change_log")
        await log.prune(AN_HOUR, PAGE)
        assert await db.fetch("select seq from tenantcache.change_log") == before

    async def test_a_mark_that_was_pruned_is_not_continuous(self, log: PostgresLog, db: asyncpg.Connection) -> None:
        mark = await head(log)
        await db.execute("update tenantcache.change_log set at = at - interval '2 hours'")
        await rename(db, "One")
        await log.prune(AN_HOUR, PAGE)
        assert not (await log.pull(mark, BOUND, PAGE)).continuous

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
