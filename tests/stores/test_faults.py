"""What the log rests on is taken away, or Postgres is not what it should be: the truth is served, or nothing."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from tenantcache import Settings, TenantCache
from tenantcache.devservers import PostgresServer
from tenantcache.errors import StoreUnavailableError
from tenantcache.schema import install as schema
from tests.servers.publishing import publish
from tests.thorough import effort

MAX_STALENESS = 3.0

FAULTS = {
    "a trigger disabled": (
        "alter table tenantcache.tenants disable trigger tenantcache_changed",
        "triggers on tenantcache.tenants are missing, or not enabled ALWAYS",
    ),
    "all triggers disabled": (
        "alter table tenantcache.tenants disable trigger all",
        "triggers on tenantcache.tenants are missing, or not enabled ALWAYS",
    ),
    "a trigger for replicated writes alone": (
        "alter table tenantcache.tenants enable replica trigger tenantcache_changed",
        "triggers on tenantcache.tenants are missing, or not enabled ALWAYS",
    ),
    "a trigger dropped": (
        "drop trigger tenantcache_changed on tenantcache.tenants",
        "triggers on tenantcache.tenants are missing, or not enabled ALWAYS",
    ),
    "a trigger function dropped": (
        "drop function tenantcache.log_tenant() cascade",
        "triggers on tenantcache.tenants are missing, or not enabled ALWAYS",
    ),
    "the table replaced by a copy": (
        """
        begin;
        create table tenantcache.fresh (like tenantcache.tenants including all);
        insert into tenantcache.fresh select * from tenantcache.tenants;
        alter table tenantcache.tenants rename to old;
        alter table tenantcache.fresh rename to tenants;
        commit
        """,
        "tenantcache.tenants is another table now",
    ),
}


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    await seed(connection)
    yield connection
    await connection.close()


async def test_triggers_that_were_enabled_without_always_are_mended(db: asyncpg.Connection) -> None:
    """As a restore and many a job leave them."""
    await db.execute(
        "alter table tenantcache.tenants disable trigger user; alter table tenantcache.tenants enable trigger user"
    )
    assert await db.fetchval("select tenantcache.fault()") == "changed"
    assert await db.fetchval("select tenantcache.rebuild()")
    assert await db.fetchval("select tenantcache.fault()") is None
    states = await db.fetch(
        "select distinct tgenabled from pg_trigger where tgrelid = 'tenantcache.tenants'::regclass and not tgisinternal"
    )
    assert [row[0] for row in states] == [b"A"]


async def test_mending_triggers_makes_no_writer_wait(db: asyncpg.Connection, database_url: str) -> None:
    """An ALTER TABLE that waits would have every writer wait behind it."""
    await db.execute("alter table tenantcache.tenants enable trigger user")
    writer = await asyncpg.connect(database_url)
    try:
        await writer.execute("begin; update tenantcache.tenants set name = 'Other' where id = 'globex'")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await db.fetchval("select tenantcache.rebuild()")
        await writer.execute("commit")
        assert await db.fetchval("select tenantcache.rebuild()")
    finally:
        await writer.close()


async def seed(connection: asyncpg.Connection) -> None:
    await connection.execute("""
        insert into tenantcache.tenants (id, name, subdomain)
            values ('acme', 'Acme', 'acme'), ('globex', 'Globex', 'globex');
        insert into tenantcache.tenant_domains values ('acme.io', 'acme');
    """)


def make(url: str) -> TenantCache:
    return TenantCache(Settings(_environ={}, database_url=url, base_domains=["example.com"], limits="off"))


async def name_of(cache: TenantCache, host: str = "acme.example.com") -> str | None:
    tenant = await cache.resolve(host)
    return None if tenant is None else tenant.name


async def seen(cache: TenantCache, name: str, host: str = "acme.example.com") -> None:
    """The change that was committed just now is served within `max_staleness`."""
    committed = time.monotonic()
    while True:
        asked = time.monotonic()
        if await name_of(cache, host) == name:
            return
        assert asked - committed < MAX_STALENESS
        await asyncio.sleep(0.01)


class TestWhatTheLogRestsOn:
    @pytest.mark.parametrize(("statement", "fault"), FAULTS.values(), ids=FAULTS.keys())
    async def test_changes_are_seen_without_it_and_init_puts_it_right(
        self, db: asyncpg.Connection, database_url: str, caplog: pytest.LogCaptureFixture, statement: str, fault: str
    ) -> None:
        async with make(database_url) as cache:
            assert await name_of(cache) == "Acme"
            await db.execute(statement)
            await db.execute("set session_replication_role = replica")  # what is not ALWAYS does not fire
            await db.execute("update tenantcache.tenants set name = 'Other' where id = 'acme'")
            await seen(cache, "Other")
            await db.execute("update tenantcache.tenants set name = 'Third' where id = 'acme'")
            await seen(cache, "Third")
            async with asyncio.timeout(10):
                while fault not in (cache.follower.fault or ""):
                    await asyncio.sleep(0.01)
            assert caplog.text.count(fault) == 1, "it is said once"
            await schema.install(db)
            async with asyncio.timeout(10):
                while cache.follower.fault is not None:
                    await asyncio.sleep(0.01)
            await db.execute("update tenantcache.tenants set name = 'Fourth' where id = 'acme'")
            await seen(cache, "Fourth")

    async def test_triggers_that_were_off_for_a_moment(self, db: asyncpg.Connection, database_url: str) -> None:
        """A restore or a job that switches them off and on again between two looks of a process."""
        async with make(database_url) as cache:
            assert await name_of(cache) == "Acme"
            await db.execute("""
                begin;
                alter table tenantcache.tenants disable trigger tenantcache_changed;
                update tenantcache.tenants set name = 'Other' where id = 'acme';
                alter table tenantcache.tenants enable always trigger tenantcache_changed;
                commit
            """)
            await seen(cache, "Other")

    async def test_replicated_writes_are_seen(self, db: asyncpg.Connection, database_url: str, patience: None) -> None:
        async with make(database_url) as cache:
            assert await name_of(cache) == "Acme"
            await db.execute("set session_replication_role = replica")
            await db.execute("update tenantcache.tenants set name = 'Other' where id = 'acme'")
            await seen(cache, "Other")


class TestAReplica:
    @asynccontextmanager
    async def replicated(self, factory: Callable[..., PostgresServer], server_dir: Path) -> AsyncIterator[list[str]]:
        """The URLs of a primary with two tenants and of a replica that streams from it."""
        primary = factory(options={"max_wal_senders": "3"})
        connection = await asyncpg.connect(primary.url)
        await schema.install(connection)
        await seed(connection)
        await publish(connection)
        await connection.close()
        primary.stop()
        copy = primary.data_dir.with_name(primary.data_dir.name + "-replica")
        owner = primary.data_dir.stat()
        shutil.copytree(primary.data_dir, copy)
        copy.joinpath("standby.signal").touch()
        for path in (copy, *copy.rglob("*")):
            shutil.chown(path, owner.st_uid, owner.st_gid)
        primary.start()
        conninfo = f"host=127.0.0.1 port={primary.port} user=postgres"
        with PostgresServer(copy, options={"primary_conninfo": conninfo}) as replica:
            yield [primary.url, replica.url]

    async def test_it_proves_nothing_until_it_is_promoted(
        self, postgres_factory: Callable[..., PostgresServer], server_dir: Path
    ) -> None:
        async with self.replicated(postgres_factory, server_dir) as (primary_url, replica_url):
            replica = await asyncpg.connect(replica_url)
            assert await replica.fetchval("select pg_is_in_recovery()")
            with pytest.raises(StoreUnavailableError, match=r"is a replica \(in recovery\).*address of the primary"):
                async with make(replica_url):
                    raise AssertionError("it was opened")
            async with make(primary_url) as cache:
                assert await name_of(cache) == "Acme"
            await replica.execute("select pg_promote()")
            async with make(replica_url) as cache:
                assert await name_of(cache) == "Acme"
                await replica.execute("update tenantcache.tenants set name = 'Other' where id = 'acme'")
                await seen(cache, "Other")
            await replica.close()


async def test_counters_survive_a_crash_of_postgres(postgres_factory: Callable[..., PostgresServer]) -> None:
    server = postgres_factory()
    connection = await asyncpg.connect(server.url)
    await schema.install(connection)
    await connection.execute("insert into tenantcache.counters values ('acme', 'day', 20000, 42)")
    # What was committed asynchronously is written with the next commit that is waited for.
    await connection.execute(
        "set synchronous_commit = on; insert into tenantcache.processes values (gen_random_uuid())"
    )
    connection.terminate()
    server.stop(signal.SIGQUIT)  # "immediate": as after a crash, it recovers from its log when it starts
    server.start()
    connection = await asyncpg.connect(server.url)
    assert await connection.fetchval("select value from tenantcache.counters") == 42
    await connection.close()


MANY = effort(100, 500)
"""Names of 200,000 octets: 20 MB in a short run."""
RENAME = "update tenantcache.tenant_domains set domain = repeat('x', 200000) || {n} where tenant_id = 'acme'"
A_LONG_CHANGE = f"""
    select tenantcache.log_change('acme', array(select repeat('x', 200000) || n from generate_series(1, {MANY}) n))
"""
LONG_CHANGES = f"""
    insert into tenantcache.outbox (key, hosts)
        select 'acme', array[repeat('x', 200000) || n] from generate_series(1, {MANY}) n
"""
LONGEST = "select max(octet_length(h)) from tenantcache.{table}, unnest(hosts) h"


class TestNamesOfAnyLength:
    """The tables check the length of a name; tables that are adopted may not, and the log is the same."""

    @pytest.mark.parametrize(
        "ways",
        [
            pytest.param(["begin", *[RENAME.format(n=n) for n in range(MANY)], "commit"], id="one transaction"),
            pytest.param([RENAME.format(n=n) for n in range(MANY)], marks=pytest.mark.slow, id="one each"),
            pytest.param([A_LONG_CHANGE], id="one change"),
            pytest.param([LONG_CHANGES], id="in the outbox"),
        ],
    )
    async def test_running_processes_follow_and_new_ones_start(
        self, db: asyncpg.Connection, database_url: str, ways: list[str]
    ) -> None:
        await db.execute("alter table tenantcache.tenant_domains drop constraint domain_is_a_host")
        async with make(database_url) as running:
            assert await name_of(running, "globex.example.com") == "Globex"
            for statement in ways:
                if statement == "commit":
                    assert await db.fetchval(LONGEST.format(table="outbox")) < 300
                await db.execute(statement)
            await db.execute("update tenantcache.tenants set name = 'Other' where id = 'globex'")
            await seen(running, "Other", "globex.example.com")
            async with make(database_url) as new:
                assert await name_of(new, "globex.example.com") == "Other"
                await db.execute("update tenantcache.tenants set name = 'Third' where id = 'globex'")
                await seen(new, "Third", "globex.example.com")
                await seen(running, "Third", "globex.example.com")
        assert await db.fetchval(LONGEST.format(table="change_log")) < 300

    async def test_an_answer_is_bounded_in_bytes(
        self, db: asyncpg.Connection, database_url: str, patience: None
    ) -> None:
        """Changes of 200 names of 250 octets: 15 MB of them are there at the start, and as many come."""
        await db.execute("""
            insert into tenantcache.change_log select nextval('tenantcache.change_seq'), 'acme',
                array(select 'domain:' || repeat('x', 240) || m from generate_series(1000, 1199) m)
            from generate_series(1, 300) n
        """)
        async with make(database_url) as cache:
            assert await name_of(cache) == "Acme"
            await db.execute("""
                insert into tenantcache.change_log select nextval('tenantcache.change_seq'), 'acme',
                    array(select 'domain:' || repeat('x', 240) || m from generate_series(1000, 1199) m)
                from generate_series(1, 300) n
            """)
            pulls = cache.follower.pulls
            await db.execute("update tenantcache.tenants set name = 'Other' where id = 'acme'")
            await seen(cache, "Other")
            await cache.sync()
            assert cache.follower.pulls - pulls > 15, "a megabyte each"
