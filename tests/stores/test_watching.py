"""Tables of an application's that are watched for values: what a change of a row names, and what a writer notices."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tenantcache.schema import install as schema
from tenantcache.schema.adopt import AdoptionError, plan_uninstall
from tenantcache.schema.watching import TableWatch, find_faults, install, prepare, remove, watched
from tenantcache.values.core.keytemplate import BoundTemplate, KeyTemplate
from tenantcache.values.core.valuekey import expiry_name, tag_name, value_name
from tests.servers.publishing import publish
from tests.thorough import effort

Names = set[str] | None
"""Names in the log; None if everything may have changed."""

SETTINGS = """
    create table settings (tenant_id text, name text, body json, touched timestamptz);
    insert into settings values ('acme', 'colour', '{"is": "red"}'), ('globex', 'colour', '{}'), (null, 'size', '{}');
"""
PER_TENANT = TableWatch("settings", tenant="tenant_id", keys=("settings",))


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    await connection.execute(SETTINGS)
    yield connection
    await connection.close()


async def watch(db: asyncpg.Connection, watch: TableWatch = PER_TENANT) -> bool:
    return await install(db, await prepare(db, watch))


async def logged(db: asyncpg.Connection, *statements: str) -> Names:
    """What the log says of `statements`, run as one transaction."""
    await publish(db)
    before = await db.fetchval("select max(seq) from tenantcache.change_log")
    async with db.transaction():
        for statement in statements:
            await db.execute(statement)
    await publish(db)
    rows = await db.fetch("select tenant_id, hosts from tenantcache.change_log where seq > $1", before)
    if any(row["tenant_id"] is None for row in rows):
        return None
    assert {row["tenant_id"] for row in rows} <= {""}
    return {name for row in rows for name in row["hosts"]}


async def faults(db: asyncpg.Connection) -> list[tuple[bool, str]]:
    return [(fault.is_fault, fault.told) for fault in await find_faults(db)]


ACME, GLOBEX, SHARED = "value:acme:settings", "value:globex:settings", "value::settings"


class TestNames:
    async def test_a_row_names_what_it_is_about(self, db: asyncpg.Connection) -> None:
        assert await watch(db)
        assert await logged(db, "update settings set body = '{}' where tenant_id = 'acme'") == {ACME}
        assert await logged(db, "insert into settings values ('new', 'x')") == {"value:new:settings"}
        assert await logged(db, "delete from settings where tenant_id = 'globex'") == {GLOBEX}

    async def test_both_sides_of_a_move_are_named(self, db: asyncpg.Connection) -> None:
        await watch(db)
        assert await logged(db, "update settings set tenant_id = 'globex' where tenant_id = 'acme'") == {ACME, GLOBEX}

    async def test_a_row_of_no_tenant_names_the_shared_value(self, db: asyncpg.Connection) -> None:
        await watch(db)
        assert await logged(db, "update settings set body = '[]' where tenant_id is null") == {SHARED}

    async def test_without_a_tenant_all_is_shared(self, db: asyncpg.Connection) -> None:
        await watch(db, TableWatch("settings", keys=("rates",), tags=("prices",)))
        assert await logged(db, "delete from settings") == {"value::rates", "tag::prices"}

    async def test_keys_and_tags_come_from_columns(self, db: asyncpg.Connection) -> None:
        await watch(db, TableWatch("settings", "tenant_id", ("all",), ("name",), ("settings",), ("name",)))
        assert await logged(db, "insert into settings values ('a', 'b:c')") == {
            "value:a:all",
            "value:a:b:c",
            "tag:a:settings",
            "tag:a:b:c",
        }
        assert await logged(db, "insert into settings values ('a', null)") == {"value:a:all", "tag:a:settings"}

    async def test_a_key_names_columns_as_that_of_a_function_names_parameters(self, db: asyncpg.Connection) -> None:
        await db.execute('create table profiles (id bigint, "Kind" text, city text)')
        keys = ("profile:{ID}:{Kind}", "all{{}}")
        await watch(db, TableWatch("profiles", None, keys, (), ("user:{id}", "{city}:x")))
        row, tags = "insert into profiles values (7, 'a:b%', 'c:d')", {"tag::user:7", "tag::c:d:x"}
        key = BoundTemplate(KeyTemplate("profile:{a}:{b}"), [0, 1]).key([7, "a:b%"])
        assert key == "profile:7:a%3Ab%25"
        assert await logged(db, row) == {value_name(None, key), "value::all%7B%7D", *tags}
        assert await logged(db, "insert into profiles values (8, null, null)") == {"value::all%7B%7D", "tag::user:8"}
        assert [one.keys for one in await watched(db)] == [("profile:{id}:{Kind}", "all{{}}")]
        assert not await watch(db, (await watched(db))[0])
        assert await logged(db, "alter table profiles rename city to town") == set()
        assert await logged(db, row) == {value_name(None, key), "value::all%7B%7D", *tags}

    @pytest.mark.parametrize(
        ("key", "message"),
        [
            ("p:{nam}", r"--key p:\{nam\}: nam: public.settings has no column 'nam'"),
            ("p:{tenant_id.x}", r"--key p:.* tenant_id.x: public.settings has no column"),
            ("p:{touched}", r"--key p:.* touched: the type is timestamptz, whose text need not be the one in Python"),
            ("p:{name}{tenant_id}", "--key 'p:.*put a : between them"),
            ("p:{name", "--key 'p:{name' has a brace alone"),
        ],
    )
    async def test_a_key_that_cannot_be_filled_is_refused(self, db: asyncpg.Connection, key: str, message: str) -> None:
        with pytest.raises(AdoptionError, match=message):
            await prepare(db, TableWatch("settings", keys=(key,)))

    async def test_a_row_without_any_key_names_nothing(self, db: asyncpg.Connection) -> None:
        await watch(db, TableWatch("settings", key_columns=("name",)))
        assert await logged(db, "insert into settings values ('a', null)") == set()

    async def test_what_stays_as_it_was_is_not_told(self, db: asyncpg.Connection) -> None:
        await watch(db)
        assert await logged(db, "update settings set body = body, name = name") == set()

    async def test_only_columns_that_matter_are_looked_at(self, db: asyncpg.Connection) -> None:
        await watch(db, TableWatch("settings", "tenant_id", ("settings",), only=("body", "name")))
        assert await logged(db, "update settings set touched = now()") == set()
        assert await logged(db, "update settings set body = '[1]' where tenant_id = 'acme'") == {ACME}
        assert await logged(db, "alter table settings rename body to content") == set()
        assert await logged(db, "update settings set touched = now() where tenant_id = 'acme'") == {ACME}

    @pytest.mark.parametrize(
        ("kind", "value", "text"),
        [
            ("uuid", uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
            ("bigint", -(2**63), "-9223372036854775808"),
            ("smallint", 7, "7"),
            ("varchar(9)", "ÄÖ", "%C3%84%C3%96"),
            ("mood", "sad", "sad"),
            ("wide", "x y", "x%20y"),
        ],
    )
    async def test_ids_of_any_type(self, db: asyncpg.Connection, kind: str, value: Any, text: str) -> None:
        await db.execute("create type mood as enum ('sad'); create domain wide as text")
        await db.execute(f"create table items (id {kind})")
        await watch(db, TableWatch("items", tenant="id", keys=("item",)))
        await publish(db)
        await db.execute("insert into items values ($1)", value)
        assert await db.fetchval("select hosts from tenantcache.outbox") == [f"value:{text}:item"]

    @pytest.mark.parametrize("kind", ["timestamptz", "numeric", "boolean", "char(5)", "json", "text[]", "bytea"])
    async def test_a_type_without_one_text_is_refused(self, db: asyncpg.Connection, kind: str) -> None:
        await db.execute(f"create table items (id {kind})")
        with pytest.raises(AdoptionError, match="whose text need not be the one in Python"):
            await prepare(db, TableWatch("items", tenant="id", keys=("item",)))

    async def test_a_huge_key_is_told_by_its_digest(self, db: asyncpg.Connection) -> None:
        await watch(db, TableWatch("settings", tenant="tenant_id", key_columns=("name",)))
        digest = hashlib.sha256(("a:" + "x" * 5_000).encode()).hexdigest()
        assert await logged(db, "insert into settings values ('a', repeat('x', 5000))") == {f"value:~{digest}"}


class TestStatements:
    async def test_one_that_changes_many_rows_of_one_tenant_writes_one_row(self, db: asyncpg.Connection) -> None:
        await watch(db)
        await publish(db)
        async with db.transaction():
            await db.execute("insert into settings select 'acme', n::text from generate_series(1, 1000) n")
            await db.execute("update settings set body = '[]' where tenant_id = 'acme'")
        assert await db.fetchval("select count(*) from tenantcache.outbox") == 1

    async def test_one_that_changes_rows_of_some_tenants_writes_a_row_for_each(self, db: asyncpg.Connection) -> None:
        await watch(db)
        await publish(db)
        async with db.transaction():
            await db.execute("insert into settings select 'tenant-' || n % 50 from generate_series(1, 1000) n")
            await db.execute("update settings set body = '[]' where tenant_id like 'tenant-%'")
        names = [f"value:tenant-{n}:settings" for n in range(50)]
        rows = await db.fetch("select hosts[1] as name from tenantcache.outbox")
        assert sorted(row["name"] for row in rows) == sorted(names)

    async def test_no_change_of_many_tenants_is_left_out(self, db: asyncpg.Connection) -> None:
        """More names than the setting holds, and names that end as others do."""
        await watch(db, TableWatch("settings", "tenant_id", key_columns=("name",)))
        names = {f"value:t{n}:{'k' * (n % 7)}" for n in range(1, 1001)}
        statement = "insert into settings select 't' || n, repeat('k', n % 7) from generate_series(1, 1000) n"
        assert await logged(db, statement, statement) == names

    async def test_each_transaction_tells_by_itself(self, db: asyncpg.Connection) -> None:
        await watch(db)
        for _ in range(2):
            assert await logged(db, "update settings set touched = clock_timestamp() where tenant_id = 'acme'") == {
                ACME
            }

    async def test_a_setting_that_a_session_has_made_silences_nothing(self, db: asyncpg.Connection) -> None:
        await watch(db)
        await db.execute(r"set tenantcache.noted_values = E'5\nvalue:acme:settings\n'")
        assert await logged(db, "delete from settings where tenant_id = 'acme'") == {ACME}

    async def test_a_name_that_another_one_ends_with_is_noted(self, db: asyncpg.Connection) -> None:
        await watch(db, TableWatch("settings", "tenant_id", key_columns=("name",)))
        assert await logged(
            db, "insert into settings values (null, 'value:a:k')", "insert into settings values ('a', 'k')"
        ) == {"value::value:a:k", "value:a:k"}

    async def test_what_a_savepoint_takes_back_is_told_again(self, db: asyncpg.Connection) -> None:
        await watch(db)
        change = "update settings set touched = now() where tenant_id = 'acme'"
        assert await logged(db, "savepoint s", change, "rollback to s", change) == {ACME}
        assert await logged(db, "savepoint s", change, "rollback to s") == set()

    async def test_copy_merge_and_on_conflict(self, db: asyncpg.Connection) -> None:
        await watch(db)
        await publish(db)
        await db.copy_records_to_table("settings", records=[("a", "b", None, None), ("c", "d", None, None)])
        assert await db.fetchval("select count(*) from tenantcache.outbox") == 2
        await db.execute("create unique index on settings (tenant_id, name)")
        assert await logged(
            db,
            "insert into settings values ('acme', 'colour', '[]')"
            " on conflict (tenant_id, name) do update set body = excluded.body",
        ) == {ACME}
        assert (
            await logged(db, "insert into settings values ('acme', 'colour') on conflict (tenant_id, name) do nothing")
            == set()
        )
        assert await logged(
            db,
            "merge into settings s using (values ('globex')) as v (id) on s.tenant_id = v.id"
            " when matched then update set body = '[]'",
        ) == {GLOBEX}

    async def test_truncate_tells_everything(self, db: asyncpg.Connection) -> None:
        await watch(db)
        assert await logged(db, "truncate settings") is None

    async def test_what_is_replicated_is_told(self, db: asyncpg.Connection) -> None:
        await watch(db)
        change = "update settings set body = '[]' where tenant_id = 'acme'"
        assert await logged(db, "set local session_replication_role = 'replica'", change) == {ACME}
        assert await logged(db, "set local session_replication_role = 'replica'", "truncate settings") is None

    async def test_a_role_with_few_rights_under_row_security(self, db: asyncpg.Connection) -> None:
        await db.execute(f"""
            create role few_{uuid.uuid4().hex}; alter table settings enable row level security;
            create policy own on settings using (tenant_id = 'acme');
        """)
        role = await db.fetchval("select rolname from pg_roles where rolname like 'few_%' order by oid desc limit 1")
        await watch(db)
        await db.execute(f"grant select, update on settings to {role}; create schema evil;")
        await db.execute("create function evil.name_of_value(text, text, text) returns text language sql as 'select 1'")
        change = [f"set local role {role}", "set local search_path = evil", "update public.settings set body = '[]'"]
        assert await logged(db, *change) == {ACME}
        await db.execute(f"drop owned by {role}; drop role {role}")

    async def test_writers_of_one_tenant_do_not_wait_for_one_another(
        self, db: asyncpg.Connection, database_url: str
    ) -> None:
        await watch(db)
        other = await asyncpg.connect(database_url)
        async with db.transaction():
            await db.execute("insert into settings values ('acme', 'one')")
            async with other.transaction():
                await asyncio.wait_for(other.execute("insert into settings values ('acme', 'two')"), 30)
        await other.close()

    @pytest.mark.parametrize("level", ["repeatable_read", "serializable"])
    async def test_in_any_isolation(self, db: asyncpg.Connection, database_url: str, level: Any) -> None:
        await watch(db)
        other = await asyncpg.connect(database_url)
        async with db.transaction(isolation=level):
            await db.execute("insert into settings values ('acme', 'one')")
            async with other.transaction(isolation=level):
                await other.execute("insert into settings values ('acme', 'two')")
        await other.close()

    async def test_a_dropped_outbox_fails_no_statement(self, db: asyncpg.Connection) -> None:
        await watch(db)
        await db.execute("drop table tenantcache.outbox cascade")
        await db.execute("update settings set body = '[]'")


class TestMigrations:
    async def test_renamed_columns_and_tables_go_on(self, db: asyncpg.Connection) -> None:
        await watch(db)
        await db.execute('alter table settings rename tenant_id to "Org Id"; alter table settings rename to options')
        assert await logged(db, """update options set body = '[]' where "Org Id" = 'acme'""") == {ACME}
        assert await faults(db) == [
            (False, 'the watched column tenant_id of public.options is called "Org Id" now'),
            (False, "the watched table public.settings is called public.options now"),
        ]
        assert await watch(db, TableWatch("options", "Org Id", ("settings",)))
        assert await faults(db) == []
        assert [one.table for one in await watched(db)] == ["public.options"]

    async def test_a_retyped_column_in_the_same_session(self, db: asyncpg.Connection) -> None:
        await db.execute("create table items (id integer)")
        await watch(db, TableWatch("items", key_columns=("id",)))
        assert await logged(db, "insert into items values (5)") == {"value::5"}
        await db.execute("alter table items alter id type text")
        assert await logged(db, "insert into items values ('x')") == {"value::x"}

    async def test_a_dropped_column_tells_everything_and_fails_nothing(self, db: asyncpg.Connection) -> None:
        await watch(db)
        await db.execute("alter table settings drop tenant_id")
        assert await logged(db, "update settings set body = '[]'") is None
        assert await faults(db) == [(True, "public.settings has lost the column tenant_id that is watched")]

    async def test_after_a_restore_renamed_columns_are_not_those_of_another_table(self, db: asyncpg.Connection) -> None:
        """The list has the oid of before, which may be another table's now."""
        await watch(db)
        await db.execute("""
            create table other (name text); update tenantcache.value_watches set relation = 'other'::regclass;
            alter table settings rename tenant_id to org_id;
        """)
        assert await logged(db, "update settings set body = '[]'") is None

    async def test_a_column_that_was_replaced_is_read_by_its_name(self, db: asyncpg.Connection) -> None:
        await watch(db)
        await db.execute("""
            alter table settings rename tenant_id to old_id; alter table settings add tenant_id text;
            update settings set tenant_id = upper(old_id);
        """)
        assert await logged(db, "update settings set body = '[]' where old_id = 'acme'") == {"value:ACME:settings"}

    @pytest.mark.parametrize(
        "statement",
        [
            "alter table settings disable trigger all",
            "alter table settings disable trigger tenantcache_values",
            "alter table settings enable trigger tenantcache_values",
            "drop trigger tenantcache_values_truncated on settings",
        ],
    )
    async def test_a_trigger_that_is_off_is_told_and_mended(self, db: asyncpg.Connection, statement: str) -> None:
        await watch(db)
        await db.execute(statement)
        told = "triggers on the watched table public.settings are missing, or not enabled ALWAYS"
        assert await faults(db) == [(True, told)]
        assert await watch(db)
        assert await faults(db) == []

    async def test_a_replaced_table_is_told_and_watched_anew(self, db: asyncpg.Connection) -> None:
        await watch(db)
        await db.execute("alter table settings rename to old; create table settings (like old)")
        assert (True, "public.settings is another table than the one that is watched") in await faults(db)
        assert await watch(db)
        assert await faults(db) == []
        assert await logged(db, "delete from old") == set()
        assert await logged(db, "insert into settings values ('acme')") == {ACME}

    async def test_a_table_that_is_gone_is_told(self, db: asyncpg.Connection) -> None:
        await watch(db)
        await db.execute("drop table settings")
        assert await faults(db) == [(True, "the watched table public.settings is gone")]
        await remove(db, "public.settings")
        assert await faults(db) == []
        assert await db.fetchval("select count(*) from pg_proc where proname like 'values\\_of\\_%'") == 0

    async def test_a_child_table_is_told(self, db: asyncpg.Connection) -> None:
        await watch(db)
        await db.execute("create table child () inherits (settings)")
        [(is_fault, told)] = await faults(db)
        assert is_fault and "has parent or child tables now" in told

    async def test_partitions_are_refused(self, db: asyncpg.Connection) -> None:
        await db.execute("""
            create table events (tenant_id text) partition by list (tenant_id);
            create table events_a partition of events for values in ('a');
        """)
        for table, reason in (("events", "a partitioned table"), ("events_a", "has parent or child tables")):
            with pytest.raises(AdoptionError, match=reason):
                await prepare(db, TableWatch(table, "tenant_id", ("events",)))


class TestPlan:
    async def test_again_changes_nothing(self, db: asyncpg.Connection) -> None:
        assert await watch(db)
        before = await db.fetch("select oid, xmin from pg_trigger order by oid")
        assert not await watch(db)
        assert await db.fetch("select oid, xmin from pg_trigger order by oid") == before

    async def test_another_watch_takes_its_place(self, db: asyncpg.Connection) -> None:
        await watch(db)
        await watch(db, TableWatch("settings", "tenant_id", tags=("settings",)))
        assert await logged(db, "delete from settings where tenant_id = 'acme'") == {"tag:acme:settings"}
        assert len(await watched(db)) == 1

    async def test_what_was_kept_before_is_not_believed(self, db: asyncpg.Connection) -> None:
        await publish(db)
        before = await db.fetchval("select max(seq) from tenantcache.change_log")
        await watch(db)
        await publish(db)
        rows = await db.fetch("select tenant_id from tenantcache.change_log where seq > $1", before)
        assert [row["tenant_id"] for row in rows] == [None]

    async def test_removing_leaves_nothing(self, db: asyncpg.Connection) -> None:
        await watch(db)
        await remove(db, "settings")
        assert await watched(db) == []
        assert await logged(db, "delete from settings") == set()
        assert await db.fetchval("select count(*) from pg_trigger where tgrelid = 'settings'::regclass") == 0
        assert await db.fetchval("select count(*) from pg_proc where proname like 'values\\_of\\_%'") == 0
        with pytest.raises(AdoptionError, match="settings is not watched; watched tables: none"):
            await remove(db, "settings")

    async def test_uninstall_removes_all(self, db: asyncpg.Connection) -> None:
        await watch(db)
        plan = await plan_uninstall(db, drop_data=True)
        assert plan is not None
        assert plan.adopted == "public.settings"
        await plan.run(db)
        assert await db.fetchval("select count(*) from pg_trigger where tgrelid = 'settings'::regclass") == 0
        assert await db.fetchval("select to_regnamespace('tenantcache')") is None

    async def test_mixed_case_and_quotes(self, db: asyncpg.Connection) -> None:
        await db.execute("""create schema "My App"; create table "My App"."Per'$body$Tenant" ("The ""Id" text)""")
        one = TableWatch("""My App.Per'$body$Tenant""", 'The "Id', ("it's \\ $body$",))
        assert await watch(db, one)
        assert not await watch(db, one)
        assert await logged(db, """insert into "My App"."Per'$body$Tenant" values ('a')""") == {
            "value:a:it%27s%20%5C%20%24body%24"
        }
        await remove(db, (await watched(db))[0].table)

    async def test_faults_come_at_once(self, db: asyncpg.Connection) -> None:
        with pytest.raises(AdoptionError) as raised:
            await prepare(db, TableWatch("settings", "tenant", key_columns=("nam",), only=("touch",)))
        assert len(str(raised.value).splitlines()) == 3
        with pytest.raises(AdoptionError, match="a row has to name something"):
            await prepare(db, TableWatch("settings", "tenant_id"))

    async def test_an_older_schema_is_told(self, db: asyncpg.Connection) -> None:
        await db.execute("drop table tenantcache.value_watches")
        with pytest.raises(AdoptionError, match="run `tenantcache init`"):
            await prepare(db, PER_TENANT)

    async def test_init_again_keeps_the_watch(self, db: asyncpg.Connection) -> None:
        await watch(db)
        await schema.install(db)
        assert await faults(db) == []
        assert await logged(db, "delete from settings where tenant_id = 'acme'") == {ACME}


HOSTILE = st.text(
    st.one_of(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), st.sampled_from(":%~#{}/\\'\n")),
    max_size=300,
)
"""Any text that Postgres can hold: not NUL, and no half of a surrogate pair."""


class TestEscaping:
    """Held against rules that are written here, and against the names that `values` gives."""

    async def test_both_sides_give_the_same_names(self, db: asyncpg.Connection) -> None:
        pairs = list[tuple[str | None, str]]()

        @given(st.none() | HOSTILE.filter(bool), HOSTILE)
        @example("a", "x" * 238)
        @example("a", "x" * 239)
        @example("é" * 40, "")
        @settings(max_examples=effort(500, 5_000))
        def collect(tenant_id: str | None, key: str) -> None:
            pairs.append((tenant_id, key))

        collect()
        for kind, name_of in (("value:", value_name), ("tag:", tag_name), ("expire:", expiry_name)):
            rows = await db.fetch(
                "select tenantcache.name_of_value($1, t, k) as name from unnest($2::text[], $3::text[]) as u (t, k)",
                kind,
                [tenant_id for tenant_id, _ in pairs],
                [key for _, key in pairs],
            )
            assert len(rows) == len(pairs)
            assert [row["name"] for row in rows] == [name_of(tenant_id, key) for tenant_id, key in pairs]

    @pytest.mark.parametrize(
        ("tenant_id", "key", "name"),
        [
            ("acme", "a:b", "value:acme:a:b"),
            ("a:b", "c", "value:a%3Ab:c"),
            (None, "k", "value::k"),
            ("100%", "~x", "value:100%25:%7Ex"),
            ("a\nb", "{x}#y", "value:a%0Ab:%7Bx%7D%23y"),
            ("é", "😀", "value:%C3%A9:%F0%9F%98%80"),
            ("_.@/=+,-", "_.@/=+,-:", "value:_.@/=+,-:_.@/=+,-:"),
            ("a", "x" * 238, f"value:a:{'x' * 238}"),
            ("a", "x" * 239, "value:~" + hashlib.sha256(("a:" + "x" * 239).encode()).hexdigest()),
        ],
    )
    async def test_names(self, db: asyncpg.Connection, tenant_id: str | None, key: str, name: str) -> None:
        assert await db.fetchval("select tenantcache.name_of_value('value:', $1, $2)", tenant_id, key) == name
