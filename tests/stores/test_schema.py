"""The log that the triggers write, on a real Postgres: what is named, and in which order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from tenantcache.stores import schema

LOG_LOCK = 7307199742
TEST_LOCK = 4242
Change = tuple[str | None, frozenset[str] | None]


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Two tenants: acme with the subdomain acme and a domain, globex with a subdomain."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("""
        insert into tenantcache.tenants (id, name, subdomain)
            values ('acme', 'Acme', 'acme'), ('globex', 'Globex', 'globex');
        insert into tenantcache.tenant_domains (domain, tenant_id) values ('shop.acme.io', 'acme');
    """)
    yield connection
    await connection.close()


async def logged(db: asyncpg.Connection, *statements: str) -> set[Change]:
    """What the log says of `statements`, run as one transaction."""
    before = await newest(db)
    async with db.transaction():
        for statement in statements:
            await db.execute(statement)
    return set(await changes_after(db, before))


async def newest(db: asyncpg.Connection) -> int:
    seq: int = await db.fetchval("select max(seq) from tenantcache.change_log")
    return seq


async def changes_after(db: asyncpg.Connection, seq: int) -> list[Change]:
    rows = await db.fetch("select tenant_id, hosts from tenantcache.change_log where seq > $1 order by seq", seq)
    return [(row["tenant_id"], None if row["hosts"] is None else frozenset(row["hosts"])) for row in rows]


def change(tenant_id: str, *hosts: str) -> Change:
    return tenant_id, frozenset(hosts)


async def eventually(condition: Callable[[], Awaitable[Any]], seconds: float = 5.0) -> None:
    """Ask the server until it says yes. What is waited for is another session's state, which no fake clock moves."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.005)


class TestWhatIsNamed:
    async def test_a_new_tenant(self, db: asyncpg.Connection) -> None:
        statement = "insert into tenantcache.tenants (id, name, subdomain) values ('new', 'New', 'fresh')"
        assert await logged(db, statement) == {change("new", "subdomain:fresh")}

    async def test_a_tenant_without_a_subdomain(self, db: asyncpg.Connection) -> None:
        assert await logged(db, "insert into tenantcache.tenants (id, name) values ('new', 'New')") == {change("new")}

    async def test_a_rename_names_the_old_and_the_new(self, db: asyncpg.Connection) -> None:
        statement = "update tenantcache.tenants set subdomain = 'acme2' where id = 'acme'"
        assert await logged(db, statement) == {change("acme", "subdomain:acme", "subdomain:acme2")}

    async def test_a_subdomain_that_is_taken_away(self, db: asyncpg.Connection) -> None:
        statement = "update tenantcache.tenants set subdomain = null where id = 'acme'"
        assert await logged(db, statement) == {change("acme", "subdomain:acme")}

    @pytest.mark.parametrize(
        "setting",
        [
            "name = 'Other'",
            "status = 'suspended'",
            "plan = 'pro'",
            "limit_per_minute = 5",
            "limit_per_day = 5",
            "time_zone = 'Europe/Berlin'",
            """attributes = '{"colour": "red"}'""",
        ],
    )
    async def test_every_column(self, db: asyncpg.Connection, setting: str) -> None:
        statement = f"update tenantcache.tenants set {setting} where id = 'acme'"
        assert await logged(db, statement) == {change("acme", "subdomain:acme")}

    async def test_another_id_names_both(self, db: asyncpg.Connection) -> None:
        statement = "update tenantcache.tenants set id = 'globex2' where id = 'globex'"
        assert await logged(db, statement) == {
            change("globex", "subdomain:globex"),
            change("globex2", "subdomain:globex"),
        }

    async def test_a_new_domain(self, db: asyncpg.Connection) -> None:
        statement = "insert into tenantcache.tenant_domains (domain, tenant_id) values ('globex.io', 'globex')"
        assert await logged(db, statement) == {change("globex", "domain:globex.io")}

    async def test_a_domain_that_moves_names_both_tenants(self, db: asyncpg.Connection) -> None:
        statement = "update tenantcache.tenant_domains set tenant_id = 'globex' where domain = 'shop.acme.io'"
        assert await logged(db, statement) == {
            change("acme", "domain:shop.acme.io"),
            change("globex", "domain:shop.acme.io"),
        }

    async def test_a_domain_that_is_renamed_names_both_domains(self, db: asyncpg.Connection) -> None:
        statement = "update tenantcache.tenant_domains set domain = 'acme.io'"
        assert await logged(db, statement) == {change("acme", "domain:shop.acme.io", "domain:acme.io")}

    async def test_a_primary_domain(self, db: asyncpg.Connection) -> None:
        statement = "update tenantcache.tenant_domains set is_primary = true"
        assert await logged(db, statement) == {change("acme", "domain:shop.acme.io")}

    async def test_a_delete_takes_the_domains_along(self, db: asyncpg.Connection) -> None:
        assert await logged(db, "delete from tenantcache.tenants where id = 'acme'") == {
            change("acme", "subdomain:acme"),
            change("acme", "domain:shop.acme.io"),
        }

    @pytest.mark.parametrize("table", ["tenantcache.tenants cascade", "tenantcache.tenant_domains"])
    async def test_truncate_names_everything(self, db: asyncpg.Connection, table: str) -> None:
        assert await logged(db, f"truncate {table}") == {(None, None)}

    async def test_an_update_that_changes_nothing(self, db: asyncpg.Connection) -> None:
        domains = "update tenantcache.tenant_domains set tenant_id = tenant_id"
        assert await logged(db, "update tenantcache.tenants set name = name", domains) == set()

    async def test_a_rollback(self, db: asyncpg.Connection) -> None:
        before = await newest(db)
        transaction = db.transaction()
        await transaction.start()
        await db.execute("update tenantcache.tenants set name = 'Other'")
        await db.execute("set constraints all immediate")
        assert await newest(db) > before
        await transaction.rollback()
        assert await newest(db) == before

    async def test_what_changed_within_a_transaction_is_named_step_by_step(self, db: asyncpg.Connection) -> None:
        first = "update tenantcache.tenants set subdomain = 'passing' where id = 'acme'"
        second = "update tenantcache.tenants set subdomain = 'final' where id = 'acme'"
        assert await logged(db, first, second) == {
            change("acme", "subdomain:acme", "subdomain:passing"),
            change("acme", "subdomain:passing", "subdomain:final"),
        }

    async def test_replicated_writes_count(self, db: asyncpg.Connection) -> None:
        await db.execute("set session_replication_role = replica")
        tenant = "update tenantcache.tenants set name = 'Other' where id = 'acme'"
        domain = "delete from tenantcache.tenant_domains"
        assert await logged(db, tenant, domain) == {
            change("acme", "subdomain:acme"),
            change("acme", "domain:shop.acme.io"),
        }
        assert await logged(db, "truncate tenantcache.tenant_domains") == {(None, None)}

    async def test_a_writer_needs_no_rights_on_the_log(self, db: asyncpg.Connection) -> None:
        async with db.transaction():
            await db.execute("""
                create role writer;
                grant usage on schema tenantcache to writer;
                grant select, update on tenantcache.tenants to writer;
            """)
            before = await newest(db)
            await db.execute("set local role writer")
            await db.execute("update tenantcache.tenants set name = 'Other' where id = 'acme'")
            await db.execute("set constraints all immediate")
            await db.execute("reset role")
            assert await changes_after(db, before) == [change("acme", "subdomain:acme")]
            await db.execute("drop owned by writer; drop role writer")

    async def test_a_bulk_update_of_100000_tenants(
        self, db: asyncpg.Connection, record_property: Callable[[str, object], None]
    ) -> None:
        await db.execute("alter table tenantcache.tenants disable trigger user")
        await db.execute("""
            insert into tenantcache.tenants (id, name, subdomain)
                select 'b' || n, 'Bulk', 'b' || n from generate_series(1, 100000) as n
        """)
        await db.execute("alter table tenantcache.tenants enable always trigger tenant_changed")
        before = await newest(db)
        started = time.monotonic()
        await db.execute("update tenantcache.tenants set plan = 'pro' where name = 'Bulk'", timeout=60)
        record_property("seconds", round(time.monotonic() - started, 2))
        count = "select count(distinct tenant_id) from tenantcache.change_log where seq > $1 and tenant_id like 'b%'"
        assert await db.fetchval(count, before) == 100_000
        assert time.monotonic() - started < 30


class TestOrder:
    """The order of `seq` is the order of visibility."""

    async def test_the_first_to_commit_is_first_in_the_log(self, db: asyncpg.Connection, database_url: str) -> None:
        other = await asyncpg.connect(database_url)
        try:
            before = await newest(db)
            first, second = db.transaction(), other.transaction()
            await first.start()
            await db.execute("update tenantcache.tenants set name = 'Other' where id = 'acme'")
            await second.start()
            await other.execute("update tenantcache.tenants set name = 'Other' where id = 'globex'")
            await second.commit()
            await first.commit()
            assert await changes_after(db, before) == [
                change("globex", "subdomain:globex"),
                change("acme", "subdomain:acme"),
            ]
        finally:
            await other.close()

    async def test_nobody_overtakes_a_commit_that_has_drawn_its_number(
        self, db: asyncpg.Connection, database_url: str
    ) -> None:
        slow, quick = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
        try:
            # A deferred trigger of the test's own, after the one that logs, holds the commit just before its end.
            await db.execute(f"""
                create table held (n int);
                create function hold() returns trigger language plpgsql as
                    'begin perform pg_advisory_xact_lock({TEST_LOCK}); return null; end';
                create constraint trigger hold after insert on held deferrable initially deferred
                    for each row execute function hold();
            """)
            await db.execute("select pg_advisory_lock($1)", TEST_LOCK)
            before = await newest(db)
            slow_commit = asyncio.create_task(
                slow.execute("""
                    begin; update tenantcache.tenants set name = 'Other' where id = 'acme';
                    insert into held values (1); commit
                """)
            )
            await eventually(lambda: waits_for(db, TEST_LOCK))
            update = "update tenantcache.tenants set name = 'Other' where id = 'globex'"
            quick_commit = asyncio.create_task(quick.execute(update))

            async def quick_has_decided() -> bool:
                return quick_commit.done() or await waits_for(db, LOG_LOCK)

            await eventually(quick_has_decided)
            assert not quick_commit.done(), "a later number became visible before an earlier one"
            await db.execute("select pg_advisory_unlock($1)", TEST_LOCK)
            await asyncio.gather(slow_commit, quick_commit)
            assert await changes_after(db, before) == [
                change("acme", "subdomain:acme"),
                change("globex", "subdomain:globex"),
            ]
        finally:
            await slow.close()
            await quick.close()

    async def test_who_pulls_while_many_write_misses_nothing(self, db: asyncpg.Connection, database_url: str) -> None:
        async def write(number: int) -> None:
            connection = await asyncpg.connect(database_url)
            try:
                for turn in range(25):
                    await connection.execute(
                        "insert into tenantcache.tenants (id, name) values ($1, 'Writer')", f"{number}-{turn}"
                    )
            finally:
                await connection.close()

        before = applied = await newest(db)
        pulled: list[int] = []
        writers = asyncio.gather(*(write(number) for number in range(8)))
        over = False
        while not over:
            over = writers.done()
            rows = await db.fetch("select seq from tenantcache.change_log where seq > $1 order by seq", applied)
            pulled += [row["seq"] for row in rows]
            applied = max(applied, *pulled) if pulled else applied
            await asyncio.sleep(0)
        await writers
        rows = await db.fetch("select seq from tenantcache.change_log where seq > $1 order by seq", before)
        assert pulled == [row["seq"] for row in rows]
        assert len(pulled) == 8 * 25


async def waits_for(db: asyncpg.Connection, lock: int) -> bool:
    """Whether some session waits for the advisory lock of that number."""
    query = """
        select exists (select from pg_locks where locktype = 'advisory' and not granted
            and (classid::bigint << 32 | objid::bigint) = $1)
    """
    answer: bool = await db.fetchval(query, lock)
    return answer


class TestInstalling:
    async def test_again_changes_nothing(self, db: asyncpg.Connection) -> None:
        epoch = await db.fetchval("select tenantcache.epoch()")
        before = await newest(db)
        await schema.install(db)
        assert await newest(db) == before
        assert await db.fetchval("select tenantcache.epoch()") == epoch
        statement = "update tenantcache.tenants set name = 'Other' where id = 'acme'"
        assert await logged(db, statement) == {change("acme", "subdomain:acme")}

    async def test_two_installers_at_once(self, empty_database_url: str) -> None:
        first, second = await asyncpg.connect(empty_database_url), await asyncpg.connect(empty_database_url)
        try:
            await asyncio.gather(schema.install(first), schema.install(second))
            assert await first.fetchval("select count(*) from tenantcache.change_log") == 1
        finally:
            await first.close()
            await second.close()

    async def test_a_log_that_was_emptied_gets_an_entry_again(self, db: asyncpg.Connection) -> None:
        before = await newest(db)
        await db.execute("truncate tenantcache.change_log")
        await schema.install(db)
        assert await newest(db) > before


class TestTimeZones:
    @pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC", "America/Argentina/Buenos_Aires", None])
    async def test_a_zone_is_kept(self, db: asyncpg.Connection, zone: str | None) -> None:
        await db.execute("update tenantcache.tenants set time_zone = $1 where id = 'acme'", zone)
        assert await db.fetchval("select time_zone from tenantcache.tenant_source where id = 'acme'") == zone

    @pytest.mark.parametrize("zone", ["", "Europe/Nowhere"])
    async def test_what_postgres_does_not_know_is_refused(self, db: asyncpg.Connection, zone: str) -> None:
        with pytest.raises(asyncpg.PostgresError, match="not recognized"):
            await db.execute("update tenantcache.tenants set time_zone = $1 where id = 'acme'", zone)

    async def test_a_schema_from_before_there_were_zones_gets_the_column(self, db: asyncpg.Connection) -> None:
        await db.execute("drop view tenantcache.tenant_source cascade")
        await db.execute("alter table tenantcache.tenants drop column time_zone")
        for _ in range(2):
            await schema.install(db)
        assert await db.fetchval("select count(time_zone) from tenantcache.tenant_source where time_zone is null") == 0
        await db.execute("update tenantcache.tenants set time_zone = 'Asia/Tokyo'")


async def test_tables_from_before_tombstones_learn_of_them(db: asyncpg.Connection) -> None:
    old = "check (status in ('active', 'suspended', 'maintenance'))"
    await db.execute(f"""alter table tenantcache.tenants drop constraint status_is_known,
        add constraint status_is_known {old}""")
    tombstone = "update tenantcache.tenants set status = 'deleted' where id = 'acme'"
    with pytest.raises(asyncpg.CheckViolationError):
        await db.execute(tombstone)
    for _ in range(2):
        await schema.install(db)
        await db.execute(tombstone)
    with pytest.raises(asyncpg.CheckViolationError):
        await db.execute("update tenantcache.tenants set status = 'banned' where id = 'acme'")
