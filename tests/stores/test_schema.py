"""The log that the triggers write, on a real Postgres: what is named, and in which order."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest

from tenantcache.schema import install as schema
from tests.servers.publishing import publish

DEFERRED_SCHEMA = Path(__file__).with_name("deferred_schema.sql")
"""The schema of the version whose triggers were deferred and wrote the log under a lock."""

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
    await publish(connection)
    yield connection
    await connection.close()


async def logged(db: asyncpg.Connection, *statements: str) -> set[Change]:
    """What the log says of `statements`, run as one transaction."""
    before = await newest(db)
    async with db.transaction():
        for statement in statements:
            await db.execute(statement)
    await publish(db)
    changes = await changes_after(db, before)
    assert len(changes) == len(set(changes)), "one entry says it"
    return set(changes)


async def newest(db: asyncpg.Connection) -> int:
    seq: int = await db.fetchval("select max(seq) from tenantcache.change_log")
    return seq


async def changes_after(db: asyncpg.Connection, seq: int) -> list[Change]:
    rows = await db.fetch("select tenant_id, hosts from tenantcache.change_log where seq > $1 order by seq", seq)
    return [(row["tenant_id"], None if row["hosts"] is None else frozenset(row["hosts"])) for row in rows]


def change(tenant_id: str, *hosts: str) -> Change:
    return tenant_id, frozenset(hosts)


async def triggers_of(db: asyncpg.Connection) -> list[tuple[str, str, str]]:
    rows = await db.fetch("""
        select t.tgrelid::regclass::text, t.tgname, t.xmin::text from pg_trigger t
        where t.tgrelid in ('tenantcache.tenants'::regclass, 'tenantcache.tenant_domains'::regclass) order by 1, 2
    """)
    return [tuple(row) for row in rows]


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
            change("acme", "subdomain:acme", "domain:shop.acme.io")
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
        assert await db.fetchval("select count(*) from tenantcache.outbox") == 2
        await transaction.rollback()
        await publish(db)
        assert await newest(db) == before

    async def test_what_a_tenant_was_called_within_a_transaction_is_named_too(self, db: asyncpg.Connection) -> None:
        first = "update tenantcache.tenants set subdomain = 'passing' where id = 'acme'"
        second = "update tenantcache.tenants set subdomain = 'final' where id = 'acme'"
        assert await logged(db, first, second) == {
            change("acme", "subdomain:acme", "subdomain:passing", "subdomain:final")
        }

    async def test_replicated_writes_count(self, db: asyncpg.Connection) -> None:
        await db.execute("set session_replication_role = replica")
        tenant = "update tenantcache.tenants set name = 'Other' where id = 'acme'"
        domain = "delete from tenantcache.tenant_domains"
        assert await logged(db, tenant, domain) == {change("acme", "subdomain:acme", "domain:shop.acme.io")}
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
            await db.execute("reset role")
            await publish(db)
            assert await changes_after(db, before) == [change("acme", "subdomain:acme")]
            await db.execute("drop owned by writer; drop role writer")

    @pytest.mark.slow
    @pytest.mark.parametrize(("tenants", "named"), [(50_000, 50_000), (50_001, 0)])
    async def test_a_bulk_update(
        self, db: asyncpg.Connection, record_property: Callable[[str, object], None], tenants: int, named: int
    ) -> None:
        """Each is named, up to as many as a follower would catch up with; then one entry says "everything"."""
        await db.execute("alter table tenantcache.tenants disable trigger user")
        await db.execute(
            """
            insert into tenantcache.tenants (id, name, subdomain)
                select 'b' || n, 'Bulk', 'b' || n from generate_series(1, $1) as n
            """,
            tenants,
        )
        await db.execute("alter table tenantcache.tenants enable always trigger tenantcache_changed")
        before = await newest(db)
        started = time.monotonic()
        await db.execute("update tenantcache.tenants set plan = 'pro' where name = 'Bulk'", timeout=60)
        record_property("seconds", round(time.monotonic() - started, 2))
        await publish(db, most=10_000)
        record_property("until published", round(time.monotonic() - started, 2))
        count = "select count(distinct tenant_id) from tenantcache.change_log where seq > $1 and tenant_id like 'b%'"
        assert await db.fetchval(count, before) == named
        everything = "select count(*) from tenantcache.change_log where seq > $1 and tenant_id is null"
        assert (await db.fetchval(everything, before) > 0) is (named == 0)
        assert not await db.fetchval("select tenantcache.pending()")


class TestOrder:
    """The order of `seq` is the order of visibility: entries come after their commits, one publisher at a time."""

    async def test_nothing_is_logged_before_its_commit(self, db: asyncpg.Connection, database_url: str) -> None:
        writer = await asyncpg.connect(database_url)
        try:
            before = await newest(db)
            transaction = writer.transaction()
            await transaction.start()
            await writer.execute("update tenantcache.tenants set name = 'Other' where id = 'acme'")
            await db.execute("update tenantcache.tenants set name = 'Other' where id = 'globex'")
            await publish(db)
            assert await changes_after(db, before) == [change("globex", "subdomain:globex")]
            await transaction.commit()
            await publish(db)
            assert await changes_after(db, before) == [
                change("globex", "subdomain:globex"),
                change("acme", "subdomain:acme"),
            ], "the one that began first has committed last"
        finally:
            await writer.close()

    async def test_a_publisher_that_has_drawn_its_number_is_not_overtaken(
        self, db: asyncpg.Connection, database_url: str
    ) -> None:
        slow, quick = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
        try:
            before = await newest(db)
            await db.execute("update tenantcache.tenants set name = 'Other' where id = 'acme'")
            transaction = slow.transaction()
            await transaction.start()
            assert await slow.fetchval("select tenantcache.publish(500)") == "published"
            await db.execute("update tenantcache.tenants set name = 'Other' where id = 'globex'")
            assert await quick.fetchval("select tenantcache.publish(500)", timeout=10) == "busy", "it does not wait"
            assert await changes_after(db, before) == []
            assert await db.fetchval("select tenantcache.pending()")
            await transaction.commit()
            assert await changes_after(db, before) == [change("acme", "subdomain:acme")]
            assert await quick.fetchval("select tenantcache.publish(500)") == "published"
            assert await changes_after(db, before) == [
                change("acme", "subdomain:acme"),
                change("globex", "subdomain:globex"),
            ]
            assert not await db.fetchval("select tenantcache.pending()")
        finally:
            await slow.close()
            await quick.close()

    async def test_a_publisher_that_is_killed_loses_nothing(self, db: asyncpg.Connection, database_url: str) -> None:
        killed = await asyncpg.connect(database_url)
        before = await newest(db)
        await db.execute("update tenantcache.tenants set name = 'Other' where id = 'acme'")
        await killed.execute("begin")
        assert await killed.fetchval("select tenantcache.publish(500)") == "published"
        await db.execute("select pg_terminate_backend($1)", killed.get_server_pid())
        await publish(db)
        assert await changes_after(db, before) == [change("acme", "subdomain:acme")]

    async def test_what_is_committed_late_is_above_no_floor(self, db: asyncpg.Connection, database_url: str) -> None:
        """A transaction with a low number commits after many with higher ones were published."""
        writer = await asyncpg.connect(database_url)
        try:
            transaction = writer.transaction()
            await transaction.start()
            await writer.execute("update tenantcache.tenants set name = 'Other' where id = 'acme'")
            for number in range(5):
                await db.execute("update tenantcache.tenants set name = $1 where id = 'globex'", f"Name {number}")
                await publish(db)
            before = await newest(db)
            await transaction.commit()
            assert await db.fetchval("select tenantcache.pending()")
            await publish(db)
            assert await changes_after(db, before) == [change("acme", "subdomain:acme")]
        finally:
            await writer.close()

    async def test_who_pulls_while_many_write_and_publish_misses_nothing(
        self, db: asyncpg.Connection, database_url: str
    ) -> None:
        """What an entry says is visible in the snapshot that shows it, and numbers only ever come after those seen."""

        async def write(number: int) -> None:
            connection = await asyncpg.connect(database_url)
            try:
                for turn in range(25):
                    async with connection.transaction():
                        await connection.execute(
                            "insert into tenantcache.tenants (id, name) values ($1, 'Writer')", f"{number}-{turn}"
                        )
                        await connection.execute("select pg_sleep($1)", random.random() * 0.005)
            finally:
                await connection.close()

        async def publish_on() -> None:
            connection = await asyncpg.connect(database_url)
            try:
                while not writers.done():
                    await connection.fetchval("select tenantcache.publish(3)")
            finally:
                await connection.close()

        before = applied = await newest(db)
        pulled: list[tuple[int, str]] = []
        unseen: list[str] = []
        writers = asyncio.gather(*(write(number) for number in range(8)))
        publishers = asyncio.gather(*(publish_on() for _ in range(3)))
        over = False
        while not over:
            over = writers.done()
            if over:
                await publishers
                await publish(db)
            rows = await db.fetch(
                """
                select seq, tenant_id, exists (select from tenantcache.tenants t where t.id = l.tenant_id) as is_there
                from tenantcache.change_log l where seq > $1 order by seq
                """,
                applied,
            )
            pulled += [(row["seq"], row["tenant_id"]) for row in rows]
            unseen += [row["tenant_id"] for row in rows if not row["is_there"]]
            applied = pulled[-1][0] if pulled else applied
            await asyncio.sleep(0)
        await writers
        rows = await db.fetch("select seq, tenant_id from tenantcache.change_log where seq > $1 order by seq", before)
        assert pulled == [(row["seq"], row["tenant_id"]) for row in rows]
        assert sorted(tenant for _, tenant in pulled) == sorted(f"{n}-{turn}" for n in range(8) for turn in range(25))
        assert unseen == []


class TestCovers:
    """`covers` tells a process that all it saw pending in an earlier snapshot is in the log now."""

    async def test_what_was_seen_is_covered_once_it_is_published(
        self, db: asyncpg.Connection, database_url: str
    ) -> None:
        await db.execute("update tenantcache.tenants set name = 'Other' where id = 'acme'")
        earlier = await db.fetchval("select pg_current_snapshot()::text")
        assert not await db.fetchval("select tenantcache.covers($1)", earlier)
        await publish(db)
        assert await db.fetchval("select tenantcache.covers($1)", earlier)
        assert not await db.fetchval("select tenantcache.covers('')")

    async def test_a_part_of_it_covers_nothing(self, db: asyncpg.Connection) -> None:
        for number in range(11):  # a change of our own tables counts as a tenth
            await db.execute("update tenantcache.tenants set name = $1 where id = 'acme'", f"Other {number}")
        earlier = await db.fetchval("select pg_current_snapshot()::text")
        assert await db.fetchval("select tenantcache.publish(1)") == "more"
        assert not await db.fetchval("select tenantcache.covers($1)", earlier)

    async def test_what_was_under_way_at_the_publication_is_not_covered_by_it(
        self, db: asyncpg.Connection, database_url: str
    ) -> None:
        """The publisher's snapshot is older than its commit: what commits in between is seen, and is not in the log."""
        writer, publisher = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
        try:
            await writer.execute("begin; update tenantcache.tenants set name = 'Other' where id = 'acme'")
            await db.execute("update tenantcache.tenants set name = 'Other' where id = 'globex'")
            await publisher.execute("begin; select tenantcache.publish(500)")
            await writer.execute("commit")
            earlier = await db.fetchval("select pg_current_snapshot()::text")
            await publisher.execute("commit")
            assert not await db.fetchval("select tenantcache.covers($1)", earlier)
        finally:
            await writer.close()
            await publisher.close()


class TestOtherServers:
    """A dump brings the publisher's place along, and the server that it gets into counts from another number."""

    AHEAD = "update tenantcache.publisher set floor = '900000000000', published = '900000000000:900000000000:'"

    async def test_a_floor_ahead_of_the_server_hides_nothing(self, db: asyncpg.Connection) -> None:
        await db.execute(self.AHEAD)
        assert await logged(db, "update tenantcache.tenants set name = 'Other' where id = 'acme'") == {
            change("acme", "subdomain:acme")
        }
        floor = await db.fetchval("select floor::text::bigint from tenantcache.publisher")
        assert 0 < floor < 900_000_000_000, "it is put right"

    async def test_what_another_server_has_published_covers_nothing(self, db: asyncpg.Connection) -> None:
        await db.execute(self.AHEAD)
        await db.execute("update tenantcache.tenants set name = 'Other' where id = 'acme'")
        earlier = await db.fetchval("select pg_current_snapshot()::text")
        assert not await db.fetchval("select tenantcache.covers($1)", earlier)


class TestInstalling:
    async def test_again_changes_nothing(self, db: asyncpg.Connection) -> None:
        epoch = await db.fetchval("select tenantcache.epoch()")
        before, triggers = await newest(db), await triggers_of(db)
        await schema.install(db)
        await publish(db)
        assert await newest(db) == before
        assert await db.fetchval("select tenantcache.epoch()") == epoch
        assert await db.fetchval("select tenantcache.fault()") is None
        assert await triggers_of(db) == triggers, "with their row versions: none was made anew"
        statement = "update tenantcache.tenants set name = 'Other' where id = 'acme'"
        assert await logged(db, statement) == {change("acme", "subdomain:acme")}

    async def test_again_waits_for_no_writer_and_no_reader(self, db: asyncpg.Connection, database_url: str) -> None:
        """Every deployment runs it, and a lock that it waits for would hold all other sessions behind it."""
        busy = await asyncpg.connect(database_url)
        try:
            await busy.execute("""
                begin;
                update tenantcache.tenants set name = 'Other' where id = 'acme';
                update tenantcache.tenant_domains set is_primary = true;
                insert into tenantcache.counters values ('acme', 'day', 1, 1);
                select tenantcache.assign_slots('{acme}');
                insert into tenantcache.usage values ('acme', current_date, 1, now());
                insert into tenantcache.domain_challenges (domain, tenant_id, token) values ('a.io', 'acme', 'x');
                insert into tenantcache.processes values (gen_random_uuid(), now());
                select * from tenantcache.find_tenants('{id:acme}');
                select seq from tenantcache.change_log for update;
            """)
            await db.execute("set lock_timeout = '200ms'")
            async with db.transaction():
                await schema.install(db)
                exclusive = await db.fetch("""
                    select distinct c.relname from pg_locks l join pg_class c on c.oid = l.relation
                    where l.pid = pg_backend_pid() and c.relnamespace = 'tenantcache'::regnamespace and l.mode not in
                        ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')
                """)
                assert [row[0] for row in exclusive] == []
            await busy.execute("commit")
        finally:
            await busy.close()

    async def test_a_trigger_that_is_not_ours_stays(self, db: asyncpg.Connection) -> None:
        await db.execute("""
            create table audit (n int);
            create function audit() returns trigger language plpgsql as
                'begin insert into audit values (1); return null; end';
            create trigger audit after update on tenantcache.tenants for each row execute function audit();
            drop trigger tenantcache_changed on tenantcache.tenants;
        """)
        assert "triggers on tenantcache.tenants are missing" in await db.fetchval("select tenantcache.fault()")
        await schema.install(db)
        assert await db.fetchval("select tenantcache.fault()") is None
        assert await logged(db, "update tenantcache.tenants set name = 'Other' where id = 'acme'") == {
            change("acme", "subdomain:acme")
        }
        assert await db.fetchval("select count(*) from audit") == 1

    async def test_an_installation_with_deferred_triggers_is_upgraded_in_place(self, empty_database_url: str) -> None:
        db = await asyncpg.connect(empty_database_url)
        try:
            await db.execute(DEFERRED_SCHEMA.read_text(encoding="utf-8"))
            await db.execute("""
                insert into tenantcache.tenants (id, name, subdomain) values ('acme', 'Acme', 'acme');
                insert into tenantcache.tenant_domains values ('acme.io', 'acme');
                insert into tenantcache.counters values ('acme', 'day', 1, 42);
            """)
            await db.execute("""
                insert into tenantcache.change_log values
                    (1000, 'acme', 'domain:acme.io'::text
                        || array(select repeat('x', 200000) || n from generate_series(1, 50) n));
                select setval('tenantcache.change_seq', 1000);
            """)
            before, epoch = await newest(db), await db.fetchval("select tenantcache.epoch()")
            for _ in range(2):
                await schema.install(db)
            deferred = "select count(*) from pg_trigger where tgdeferrable and not tgisinternal"
            assert await db.fetchval(deferred) == 0
            assert await db.fetchval("select epoch from (select tenantcache.epoch()) as e (epoch)") == epoch
            assert await db.fetchval("select value from tenantcache.counters") == 42
            logged_tables = "select relpersistence = 'p' from pg_class where oid = 'tenantcache.counters'::regclass"
            assert await db.fetchval(logged_tables)
            assert await changes_after(db, 999) == [change("acme", "domain:acme.io")], "too long for any host name"
            assert await newest(db) == before
            found = await db.fetch("select alias from tenantcache.find_tenants('{subdomain:acme,domain:acme.io}')")
            assert {row["alias"] for row in found} == {"subdomain:acme", "domain:acme.io"}
            assert await logged(db, "update tenantcache.tenants set name = 'Other'") == {
                change("acme", "subdomain:acme")
            }
        finally:
            await db.close()

    async def test_the_roles_of_processes_get_what_is_new(self, db: asyncpg.Connection) -> None:
        async with db.transaction():
            await db.execute("""
                create role tenantcache_test_process; create role tenantcache_test_other;
                grant usage on schema tenantcache to tenantcache_test_process, tenantcache_test_other;
                grant select on tenantcache.tenants to tenantcache_test_other;
                grant select, insert, update, delete on tenantcache.processes to tenantcache_test_process;
            """)
            await schema.install(db)
            may = "select has_function_privilege($1, 'tenantcache.publish(integer)', 'execute')"
            assert await db.fetchval(may, "tenantcache_test_process")
            assert not await db.fetchval(may, "tenantcache_test_other")
            await db.execute("""
                drop owned by tenantcache_test_process, tenantcache_test_other;
                drop role tenantcache_test_process, tenantcache_test_other;
            """)

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
        found = await db.fetchval("select tenant ->> 'time_zone' from tenantcache.find_tenants('{id:acme}')")
        assert found == zone

    @pytest.mark.parametrize("zone", ["", "Europe/Nowhere"])
    async def test_what_postgres_does_not_know_is_refused(self, db: asyncpg.Connection, zone: str) -> None:
        with pytest.raises(asyncpg.PostgresError, match="not recognized"):
            await db.execute("update tenantcache.tenants set time_zone = $1 where id = 'acme'", zone)

    async def test_a_schema_from_before_there_were_zones_gets_the_column(self, db: asyncpg.Connection) -> None:
        await db.execute("alter table tenantcache.tenants drop column time_zone")
        for _ in range(2):
            await schema.install(db)
        found = await db.fetchval("select tenant from tenantcache.find_tenants('{id:acme}')")
        assert json.loads(found)["time_zone"] is None
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
