"""Writers: whatever a transaction could do before the triggers were there, it can do with them (promise I).

Each table whose changes are followed goes through the same transactions. `Followed` says how one is written to.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from tenantcache import Settings, TenantCache
from tenantcache.devservers import PostgresServer
from tenantcache.freshness.log import Publication
from tenantcache.ratelimit.core.agreement import Proposal
from tenantcache.schema import install as schema
from tenantcache.stores.changelog import PostgresLog
from tenantcache.stores.counterchoice import PostgresChoices
from tenantcache.stores.postgres import PostgresTenants
from tests.servers.publishing import publish

LOCKS = range(7307199741, 7307199750)
WAKE_LOCKS, WAKE_LOCK_COUNT = 7307199742000000, 1_000_000


@dataclass(frozen=True)
class Followed:
    """A table with two rows, `acme` and `globex`; the statements change the first, and `other` the second.

    `names` are tenants whose change is logged after each of insert, update and delete. `columns`: one that is read and
    that may be renamed, one that is not the key.
    """

    table: str
    insert: str
    update: str
    delete: str
    other: str
    column: str

    def writes(self) -> list[str]:
        return [self.insert, self.update, self.delete]


TENANTS = Followed(
    table="tenantcache.tenants",
    insert="insert into tenantcache.tenants (id, name, subdomain) values ('new', 'New', 'new')",
    update="update tenantcache.tenants set subdomain = 'acme2' where id = 'acme'",
    delete="delete from tenantcache.tenants where id = 'acme'",
    other="update tenantcache.tenants set subdomain = 'globex2' where id = 'globex'",
    column="subdomain",
)
DOMAINS = Followed(
    table="tenantcache.tenant_domains",
    insert="insert into tenantcache.tenant_domains (domain, tenant_id) values ('new.acme.io', 'acme')",
    update="update tenantcache.tenant_domains set domain = 'acme2.io' where domain = 'acme.io'",
    delete="delete from tenantcache.tenant_domains where domain = 'acme.io'",
    other="update tenantcache.tenant_domains set domain = 'globex2.io' where domain = 'globex.io'",
    column="domain",
)
FOLLOWED = [TENANTS, DOMAINS]
WRITES = [
    pytest.param(followed, write, id=f"{followed.table}-{name}")
    for followed in FOLLOWED
    for name, write in zip(("insert", "update", "delete"), followed.writes(), strict=True)
]

DDL = {
    "add a column": "alter table {table} add column y text",
    "add a column with a default that rewrites it": "alter table {table} add column y uuid default gen_random_uuid()",
    "create an index": "create index on {table} ({column})",
    "add a constraint": "alter table {table} add constraint c check (length({column}) < 1000)",
    "a default": "alter table {table} alter column {column} set default 'x'",
    "a trigger of the application": "create trigger t after insert on {table} for each row execute function f()",
    "rename it and back": "alter table {table} rename to away; alter table tenantcache.away rename to {name}",
    "truncate": "truncate {table} cascade",
    "cluster": "cluster {table} using {name}_pkey",
    "row security": "alter table {table} enable row level security",
}


@pytest.fixture(params=FOLLOWED, ids=lambda followed: followed.table)
def followed(request: pytest.FixtureRequest) -> Followed:
    found: Followed = request.param
    return found


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    await prepare(connection)
    yield connection
    await connection.close()


async def prepare(connection: asyncpg.Connection) -> None:
    await connection.execute("""
        insert into tenantcache.tenants (id, name, subdomain)
            values ('acme', 'Acme', 'acme'), ('globex', 'Globex', 'globex');
        insert into tenantcache.tenant_domains values ('acme.io', 'acme'), ('globex.io', 'globex');
        create function f() returns trigger language plpgsql as 'begin return null; end';
    """)
    await publish(connection)


@asynccontextmanager
async def connections(url: str, count: int) -> AsyncIterator[list[Any]]:
    opened = [await asyncpg.connect(url) for _ in range(count)]
    try:
        yield opened
    finally:
        for connection in opened:
            connection.terminate()


async def newest(db: asyncpg.Connection) -> int:
    seq: int = await db.fetchval("select max(seq) from tenantcache.change_log")
    return seq


async def tenants_logged(db: asyncpg.Connection, after: int) -> set[str | None]:
    """The tenants that the log names after an entry; None: all of them."""
    await publish(db)
    return {row[0] for row in await db.fetch("select tenant_id from tenantcache.change_log where seq > $1", after)}


async def eventually(condition: Callable[[], Awaitable[Any]], seconds: float = 10.0) -> None:
    """Ask the server until it says yes. What is waited for is another session's state, which no fake clock moves."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.005)


async def waits_for_a_lock(db: asyncpg.Connection, waiting: asyncpg.Connection) -> bool:
    query = "select wait_event_type = 'Lock' from pg_stat_activity where pid = $1"
    return bool(await db.fetchval(query, waiting.get_server_pid()))


class TestOneTransaction:
    @pytest.mark.parametrize("ddl", DDL.values(), ids=DDL.keys())
    @pytest.mark.parametrize(("followed", "write"), WRITES)
    async def test_a_write_and_then_ddl(self, db: asyncpg.Connection, followed: Followed, write: str, ddl: str) -> None:
        """Migrations of data and of the schema in one transaction: what Alembic and Django do."""
        before = await newest(db)
        name = followed.table.partition(".")[2]
        async with db.transaction():
            await db.execute(write)
            await db.execute(ddl.format(table=followed.table, name=name, column=followed.column))
        assert await tenants_logged(db, before) & {"acme", "new", None}

    @pytest.mark.parametrize(("followed", "write"), WRITES)
    async def test_ddl_and_then_a_write(self, db: asyncpg.Connection, followed: Followed, write: str) -> None:
        before = await newest(db)
        async with db.transaction():
            await db.execute(f"alter table {followed.table} add column y text default 'x'")
            await db.execute(write)
        assert await tenants_logged(db, before) & {"acme", "new"}

    @pytest.mark.parametrize("wish", ["set constraints all immediate", "set constraints all deferred"])
    async def test_constraints_that_are_set(self, db: asyncpg.Connection, followed: Followed, wish: str) -> None:
        before = await newest(db)
        async with db.transaction():
            await db.execute(wish)
            await db.execute(followed.update)
            await db.execute(wish)
            await db.execute(followed.other)
        assert await tenants_logged(db, before) == {"acme", "globex"}

    async def test_a_savepoint_that_is_rolled_back(self, db: asyncpg.Connection, followed: Followed) -> None:
        before = await newest(db)
        async with db.transaction():
            await db.execute(followed.other)
            with contextlib.suppress(ZeroDivisionError):
                async with db.transaction():
                    await db.execute(followed.update)
                    raise ZeroDivisionError
        assert await tenants_logged(db, before) == {"globex"}

    async def test_replicated_writes_count(self, db: asyncpg.Connection, followed: Followed) -> None:
        before = await newest(db)
        async with db.transaction():
            await db.execute("set local session_replication_role = replica")
            await db.execute(followed.update)
            await db.execute(f"alter table {followed.table} add column y text")
        assert await tenants_logged(db, before) == {"acme"}

    async def test_a_prepared_transaction_where_writers_do_not_notify(
        self, postgres_factory: Callable[..., PostgresServer], followed: Followed
    ) -> None:
        server = postgres_factory(options={"max_prepared_transactions": "5"})
        async with connections(server.url, 2) as (db, writer):
            await schema.install(db, notify=False)
            await prepare(db)
            before = await newest(db)
            await writer.execute(f"begin; {followed.update}; prepare transaction 'two phases'")
            await db.execute(followed.other)
            await publish(db)
            await schema.install(db)  # as each deployment does
            assert await tenants_logged(db, before) == {"globex"}
            await db.execute("commit prepared 'two phases'")
            assert await tenants_logged(db, before) == {"globex", "acme"}
            await writer.execute(f"begin; {followed.insert}; prepare transaction 'two phases'")
            await db.execute("rollback prepared 'two phases'")
            await schema.install(db, notify=True)
            with pytest.raises(asyncpg.PostgresError, match="PREPARE"):
                await writer.execute(f"begin; {followed.insert}; prepare transaction 'two phases'")


class TestTwoTransactions:
    async def test_a_deferred_foreign_key_to_a_row_that_the_other_holds(
        self, db: asyncpg.Connection, database_url: str, followed: Followed
    ) -> None:
        await db.execute("""
            create table plans (id int primary key);
            create table orders (plan int references plans deferrable initially deferred);
            insert into plans values (1);
        """)
        before = await newest(db)
        async with connections(database_url, 2) as (one, two):
            await two.execute("begin; select from plans where id = 1 for update")
            await one.execute(f"begin; {followed.update}; insert into orders values (1)")
            commit = asyncio.create_task(one.execute("commit"))
            await eventually(lambda: waits_for_a_lock(db, one))
            await two.execute(followed.other)
            await two.execute("commit")
            await commit
        assert await tenants_logged(db, before) == {"acme", "globex"}

    async def test_constraints_set_immediate_before_an_alter(
        self, db: asyncpg.Connection, database_url: str, followed: Followed
    ) -> None:
        """What Django sends before each ALTER TABLE."""
        before = await newest(db)
        async with connections(database_url, 2) as (one, two):
            await two.execute(f"begin; {followed.other}")
            await one.execute(f"begin; {followed.update}; set constraints all immediate")
            alter = asyncio.create_task(one.execute(f"alter table {followed.table} add column y text"))
            await eventually(lambda: waits_for_a_lock(db, one))
            await two.execute("commit")
            await alter
            await one.execute("commit")
        assert await tenants_logged(db, before) == {"acme", "globex"}

    async def test_writers_do_not_wait_for_one_that_stays_open(
        self, db: asyncpg.Connection, database_url: str, followed: Followed
    ) -> None:
        before = await newest(db)
        async with connections(database_url, 2) as (one, two):
            await one.execute(f"begin; {followed.update}; set constraints all immediate")
            await two.execute(followed.other, timeout=10)
            assert await tenants_logged(db, before) == {"globex"}

    async def test_one_that_stays_open_does_not_silence_the_others(
        self, db: asyncpg.Connection, database_url: str, followed: Followed
    ) -> None:
        told = asyncio.Event()
        async with connections(database_url, 3) as (one, two, listener):
            await listener.add_listener("tenantcache", lambda *_: told.set())
            await one.execute(f"begin; {followed.update}")
            await two.execute("select pg_sleep(0.02)")  # they begin in another hundredth of a second
            await two.execute(followed.other)
            async with asyncio.timeout(10):
                await told.wait()

    async def test_a_publisher_does_not_wait_for_a_table_that_is_locked(
        self, db: asyncpg.Connection, database_url: str, followed: Followed
    ) -> None:
        """A migration may hold its tables for minutes."""
        before = await newest(db)
        await db.execute(followed.update)
        async with connections(database_url, 1) as (one,):
            await one.execute(f"begin; alter table {followed.table} add column y text")
            assert await db.fetchval("select tenantcache.publish(500)", timeout=10) == "published"
        assert await tenants_logged(db, before) == {"acme"}

    async def test_serializable_writers_are_not_refused(self, db: asyncpg.Connection, database_url: str) -> None:
        """Postgres refuses one of those that depend on one another in a circle. A publisher must not close it."""
        name = database_url.rpartition("/")[2]
        await db.execute(f"alter database {name} set default_transaction_isolation = serializable")
        log = PostgresLog(database_url, timeout=10)
        await log.open(lambda *_, **__: None)
        async with connections(database_url, 2) as (one, two):
            assert await one.fetchval("show transaction_isolation") == "serializable"
            for turn in range(20):
                await one.execute(f"begin; update tenantcache.tenants set name = 'one {turn}' where id = 'acme'")
                await two.execute(f"begin; update tenantcache.tenants set name = 'two {turn}' where id = 'globex'")
                await log.publish(500)
                await one.execute("commit")
                await log.publish(500)
                await two.execute("commit")
        assert await log.publish(500) is Publication.PUBLISHED
        await log.close()


class TestForeigners:
    """What a role may do that was given nothing, or by mistake too much."""

    async def test_no_lock_that_anybody_may_hold_stops_a_writer_or_a_publisher(
        self, db: asyncpg.Connection, database_url: str, followed: Followed
    ) -> None:
        before = await newest(db)
        async with connections(database_url, 2) as (foreign, writer):
            now = await db.fetchval("select (extract(epoch from now()) * 100)::bigint")
            wake_locks = [WAKE_LOCKS + (now + n) % WAKE_LOCK_COUNT for n in range(2000)]  # of the next 20 seconds
            await foreign.execute(
                "select pg_advisory_lock(n) from unnest($1::bigint[]) n".replace("$1", f"'{{{listed([*LOCKS])}}}'")
            )
            await foreign.fetch("select pg_advisory_lock(n) from unnest($1::bigint[]) n", wake_locks)
            await writer.execute(followed.update, timeout=10)
            assert await writer.fetchval("select tenantcache.publish(500)", timeout=10) == "published"
            choice = await writer.fetchrow("select * from tenantcache.counter_choice()", timeout=10)
            assert choice["settled_until"] is not None, "nobody is changing it"
            assert await writer.fetchval("select tenantcache.choose_counter_store(0, 'redis', 'first', 60)", timeout=10)
            hold = "select through from tenantcache.hold_counters(gen_random_uuid(), 1, true)"
            assert await writer.fetchval(hold, timeout=10) is not None
            hand_over = "select tenantcache.hand_over_counters(gen_random_uuid(), 1, 0, false)"
            assert await writer.fetchval(hand_over, timeout=10) is False, "there is no such minute"
        assert await tenants_logged(db, before) == {"acme"}

    async def test_nobody_may_call_our_routines_unasked(self, db: asyncpg.Connection) -> None:
        await schema.install(db)
        routines = await db.fetch("""
            select p.oid::regprocedure::text as routine, p.proacl is null or exists (
                select from aclexplode(p.proacl) a where a.grantee = 0) as is_open
            from pg_proc p where p.pronamespace = 'tenantcache'::regnamespace
        """)
        assert len(routines) > 10
        assert [row["routine"] for row in routines if row["is_open"]] == []

    async def test_a_writer_through_a_view_needs_no_rights_on_ours(
        self, db: asyncpg.Connection, followed: Followed
    ) -> None:
        before = await newest(db)
        async with a_role(db) as role:
            await db.execute(
                f"create view v as select * from {followed.table}; grant select, update, delete on v to {role}"
            )
            await db.execute(f"set role {role}")
            await db.execute(followed.update.replace(followed.table, "v"))
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await db.execute("select tenantcache.log_change(null, null)")
            await db.execute("reset role")
        assert await tenants_logged(db, before) == {"acme"}

    async def test_a_process_needs_no_more_than_init_grants(
        self, db: asyncpg.Connection, database_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with a_role(db, "login") as role:
            await schema.install(db, roles=[role])
            settings = Settings(
                _environ={}, database_url=database_url.replace("postgres@", f"{role}@"), base_domains=["example.com"]
            )
            async with TenantCache(settings) as cache:
                tenant = await cache.resolve("acme.example.com")
                assert tenant is not None and (await cache.check(tenant)).allowed
                await db.execute("update tenantcache.tenants set name = 'Other' where id = 'acme'")
                await cache.sync()
                tenant = await cache.resolve("acme.example.com")
                assert tenant is not None and tenant.name == "Other"
                await cache.invalidate("acme")
                await cache.tenants.create("Initech", subdomain="initech")
                assert (await cache.resolve("initech.example.com")) is not None
                assert cache.follower.fault is None
        assert [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []

    async def test_a_process_may_hand_a_minute_over(self, db: asyncpg.Connection, database_url: str) -> None:
        one, other = uuid.uuid4(), uuid.uuid4()
        async with a_role(db, "login") as role:
            await schema.install(db, roles=[role])
            postgres = PostgresTenants(database_url.replace("postgres@", f"{role}@"))
            await postgres.open()
            choices = PostgresChoices(postgres)
            assert await choices.choose(Proposal(0, "redis", "first", 60))
            assert [(await choices.hold(process, 1, holds=True)).fleet for process in (one, other)] == [1, 2]
            assert await choices.choose(Proposal(1, "postgres", "gone", 60))
            assert not await choices.misses_a_holder()
            minute = await db.fetchval("select floor(extract(epoch from now()) / 60)::bigint")
            await choices.report(one, minute, {"acme": 3})
            await choices.hand_over(one, 2, minute)
            await choices.hand_over(other, 2, minute, leaves=True)
            assert await db.fetchval("select count(*) from tenantcache.counter_holders") == 1
            await postgres.close()

    async def test_empty_notifications_make_nobody_pull_more_than_so_often(
        self, db: asyncpg.Connection, database_url: str
    ) -> None:
        settings = Settings(_environ={}, database_url=database_url, base_domains=["example.com"], limits="off")
        async with TenantCache(settings) as cache, connections(database_url, 1) as (foreign,):
            assert await cache.resolve("acme.example.com") is not None
            before, began, sent = cache.follower.pulls, time.monotonic(), 0
            while time.monotonic() - began < 2:
                await foreign.execute("notify tenantcache")
                sent += 1
                await asyncio.sleep(0.001)  # as many as can be sent would keep a processor busy for nothing
            pulls, seconds = cache.follower.pulls - before, time.monotonic() - began
            assert sent > 100, "it was a flood"
            assert pulls < 30 + 5 * seconds, "a few at once, then four a second and one that asks of itself"
            flood = asyncio.create_task(notify_for_ever(foreign))
            await db.execute("update tenantcache.tenants set name = 'Other' where id = 'acme'")
            committed = time.monotonic()
            while getattr(await cache.resolve("acme.example.com"), "name", None) != "Other":
                assert time.monotonic() - committed < 3
                await asyncio.sleep(0.002)
            flood.cancel()


class TestNeverFails:
    """A trigger of ours makes no statement fail, whatever has become of what it works with."""

    async def test_without_the_outbox(self, db: asyncpg.Connection, followed: Followed) -> None:
        await db.execute("drop table tenantcache.outbox cascade")
        for write in followed.writes():
            async with db.transaction():
                await db.execute(write)

    async def test_without_the_publisher(self, db: asyncpg.Connection, followed: Followed) -> None:
        await db.execute("drop table tenantcache.publisher cascade")
        for write in followed.writes():
            async with db.transaction():
                await db.execute(write)

    async def test_without_the_publishers_row(self, db: asyncpg.Connection, followed: Followed) -> None:
        before = await newest(db)
        await db.execute("delete from tenantcache.publisher")
        for write in followed.writes():
            await db.execute(write)
        assert "has lost its row" in await db.fetchval("select tenantcache.fault()")
        await schema.install(db)
        assert await db.fetchval("select tenantcache.fault()") is None
        assert "acme" in await tenants_logged(db, before)

    @pytest.mark.parametrize("alter", ["rename column {column} to handle", "drop column {column} cascade"])
    async def test_a_column_that_is_gone(self, db: asyncpg.Connection, followed: Followed, alter: str) -> None:
        """In the same session, whose functions were planned for the table as it was, and in another."""
        await db.execute(followed.other)
        before = await newest(db)
        await db.execute(f"alter table {followed.table} {alter.format(column=followed.column)}")
        await db.execute(f"delete from {followed.table}")
        assert await tenants_logged(db, before) & {None}

    async def test_a_column_of_another_type(self, db: asyncpg.Connection, followed: Followed) -> None:
        await db.execute(followed.other)
        before = await newest(db)
        await db.execute(f"""
            alter table {followed.table} drop constraint if exists subdomain_is_a_label,
                drop constraint if exists domain_is_a_host, alter column {followed.column} type varchar(300)
        """)
        await db.execute(followed.update)
        assert await tenants_logged(db, before) & {"acme", None}

    async def test_a_full_queue_of_notifications(
        self, postgres_factory: Callable[..., PostgresServer], followed: Followed
    ) -> None:
        """A listener that is stuck in a transaction holds the queue for all; then a NOTIFY fails its commit."""
        server = postgres_factory(options={"max_notify_queue_pages": "64"})
        async with connections(server.url, 3) as (db, stuck, flooder):
            await schema.install(db)
            await prepare(db)
            await stuck.execute("listen something")
            await stuck.execute("begin; select 1")
            with pytest.raises(asyncpg.PostgresError, match="NOTIFY queue"):
                while True:
                    await flooder.execute(
                        "select pg_notify('something', repeat('x', 7000) || n) from generate_series(1, 20) n"
                    )
            before = await newest(db)
            for write in followed.writes():
                await db.execute(write)
            assert await tenants_logged(db, before)

    async def test_a_publication_of_all_tables(self, db: asyncpg.Connection, followed: Followed) -> None:
        """It refuses updates and deletes of a table that has no identity, and the outbox lives on deletes."""
        before = await newest(db)
        await db.execute("create publication everything for all tables")
        await db.execute(followed.update)
        assert await tenants_logged(db, before) == {"acme"}


def listed(numbers: list[int]) -> str:
    return ",".join(map(str, numbers))


async def notify_for_ever(connection: asyncpg.Connection) -> None:
    while True:
        await connection.execute("notify tenantcache")
        await asyncio.sleep(0.001)


@asynccontextmanager
async def a_role(db: asyncpg.Connection, options: str = "") -> AsyncIterator[str]:
    """Roles belong to the whole server, so each test has one of its own."""
    role = f"role_{uuid.uuid4().hex}"
    await db.execute(f"create role {role} {options}")
    try:
        yield role
    finally:
        await db.execute(f"reset role; drop owned by {role}; drop role {role}")
