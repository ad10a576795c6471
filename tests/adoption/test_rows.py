"""What stands in one row concerns that tenant alone, and what an application does to its tables does not fail.

On a real Postgres.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from tenantcache.devservers import PostgresServer
from tenantcache.schema.adopt import Adoption
from tenantcache.stores.postgres import PostgresTenants
from tests.adoption.small import QUERY, SCHEMA, adopt, look_up, misled, owners, publish


@pytest.fixture
async def session(small_adopted_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Another one of the application's, that lives on while tables change."""
    connection = await asyncpg.connect(small_adopted_url, statement_cache_size=0)
    yield connection
    await connection.close()


async def unpublished(db: asyncpg.Connection) -> list[tuple[int, str | None]]:
    return [tuple(row) for row in await db.fetch("select watch, key from tenantcache.outbox order by 1, 2")]


# Statements that an application sends.


@pytest.mark.parametrize(
    "statements",
    [
        "update org set slug = 'x' where id = 1; alter table org add y text",
        "insert into project values (9, 1); create index on project (org_id); alter table project add y text",
        "delete from domain; alter table domain add y text; create index on domain (host)",
        "update org set slug = 'x'; set constraints all immediate; alter table org add y text not null default ''",
        "insert into org (id, slug, plan_id) values (9, 'x', 7); insert into plan values (7, 'later')",
        "truncate domain; alter table domain alter column host type varchar(100)",
        "update org set slug = 'x'; truncate org cascade; drop table domain cascade",
        "set local session_replication_role = replica; update org set slug = 'x'; alter table org add y text",
    ],
)
async def test_what_one_transaction_could_do_it_can_do_still(db: asyncpg.Connection, statements: str) -> None:
    async with db.transaction():
        await db.execute(statements)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("insert into org (id, slug) values (1, 'new') on conflict (id) do update set slug = excluded.slug", "1"),
        ("insert into org (id, slug) values (9, 'new') on conflict (id) do nothing", "9"),
        ("merge into org using (values (2)) v (id) on v.id = org.id when matched then update set slug = 'new'", "2"),
        ("with d as (delete from org where id = 3 returning id) insert into org (id, slug)"
         " select id + 6, 'new' from d", "9"),
        ("update org set id = 9, slug = 'new' where id = 1", "9"),
        ("set session_replication_role = replica; update org set slug = 'new' where id = 1", "1"),
        ("do $$ begin begin update org set slug = 'new' where id = 1; raise exception 'x'; exception when others then"
         " update org set slug = 'new' where id = 2; end; end $$", "2"),
    ],
)  # fmt: skip
async def test_each_way_to_write_is_seen(db: asyncpg.Connection, statement: str, expected: str) -> None:
    await db.execute(statement)
    assert await owners(db, ["subdomain:new"]) == {"subdomain:new": expected}
    await publish(db)
    assert await owners(db, ["subdomain:new"]) == {"subdomain:new": expected}
    assert await misled(db) == []


async def test_copied_rows_are_seen(db: asyncpg.Connection) -> None:
    await db.copy_records_to_table("org", records=[(n, f"copied-{n}") for n in range(100, 150)], columns=["id", "slug"])
    await publish(db)
    assert await owners(db, ["subdomain:copied-149"]) == {"subdomain:copied-149": "149"}
    assert await misled(db) == []


async def test_a_transaction_can_be_prepared_if_nobody_is_notified(
    postgres_factory: Callable[..., PostgresServer],
) -> None:
    server = postgres_factory(options={"max_prepared_transactions": "2"})
    db = await asyncpg.connect(server.url)
    try:
        await db.execute(SCHEMA)
        await adopt(db)
        await db.execute("update tenantcache.publisher set notify = false")
        await db.execute("begin; update org set slug = 'new' where id = 1; prepare transaction 'two'")
        await publish(db)
        assert await owners(db, ["subdomain:new", "subdomain:one"]) == {"subdomain:new": None, "subdomain:one": "1"}
        await db.execute("commit prepared 'two'")
        await publish(db)
        assert await owners(db, ["subdomain:new", "subdomain:one"]) == {"subdomain:new": "1", "subdomain:one": None}
    finally:
        await db.close()


async def test_a_writer_with_few_rights_writes_as_before(db: asyncpg.Connection, session: asyncpg.Connection) -> None:
    await db.execute(
        "drop role if exists clerk_of_small; create role clerk_of_small;"
        " grant select, update (slug) on org to clerk_of_small;"
        " alter table org enable row level security; create policy own on org to clerk_of_small using (id = 1)"
    )
    try:
        await session.execute("set role clerk_of_small; set row_security = on; set search_path = ''")
        await session.execute("update public.org set slug = 'clerk'")
        await publish(db)
        assert await owners(db, ["subdomain:clerk", "subdomain:two"]) == {"subdomain:clerk": "1", "subdomain:two": "2"}
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await session.fetch("select tenantcache.publish(1)")
    finally:
        await session.execute("reset role")
        await db.execute("drop owned by clerk_of_small; drop role clerk_of_small")


async def test_their_own_triggers_and_generated_columns_are_served(bare: asyncpg.Connection) -> None:
    await bare.execute(
        """
        alter table org add label text generated always as (lower(slug) || '-gen') stored;
        create function before_org() returns trigger language plpgsql as $$
            begin new.slug := new.slug || '-before'; return new; end $$;
        create trigger a before update on org for each row when (old.slug is distinct from new.slug)
            execute function before_org();
        create function after_org() returns trigger language plpgsql as $$
            begin update domain set host = new.slug || '.after' where project_id = 11; return null; end $$;
        create trigger zz after update on org for each row execute function after_org();
        """
    )
    await adopt(bare, Adoption(QUERY.replace("o.slug as subdomain", "array[o.slug, o.label] as subdomains")))
    await bare.execute("update org set slug = 'New' where id = 1")
    await publish(bare)
    names = ["subdomain:new-before", "subdomain:new-before-gen", "domain:new-before.after", "domain:one.io"]
    assert list((await owners(bare, names)).values()) == ["1", "1", "1", None]
    assert await misled(bare) == []


# Columns that change under a session that goes on.


@pytest.mark.parametrize("type_name", ["bigint", "smallint"])
async def test_a_session_that_is_older_than_a_new_type_goes_on(
    db: asyncpg.Connection, session: asyncpg.Connection, type_name: str
) -> None:
    await session.execute("update org set slug = 'before' where id = 1; update project set org_id = 3 where id = 12")
    await publish(db)
    await db.execute(f"alter table org alter id type {type_name}")
    await db.execute(f"alter table project alter column org_id type {type_name}")
    assert await db.fetchval("select tenantcache.rebuild()")
    await session.execute("update project set org_id = 2 where id = 11")
    await session.execute("update org set slug = 'after' where id = 1")
    assert None not in [key for _, key in await unpublished(db)]
    await publish(db)
    assert await db.fetchval("select tenantcache.fault()") is None
    found = await owners(db, ["subdomain:after", "domain:one.io"])
    assert found == {"subdomain:after": "1", "domain:one.io": "2"}


async def test_ids_that_were_widened_are_served(db: asyncpg.Connection, session: asyncpg.Connection) -> None:
    await session.execute("update org set slug = 'before' where id = 1; update project set org_id = 1 where id = 11")
    await db.execute(
        "alter table org alter id type bigint; alter table project alter id type bigint, alter org_id type bigint"
    )
    await db.execute("alter table domain alter project_id type bigint")
    await publish(db)
    assert await db.fetchval("select tenantcache.rebuild()")
    await session.execute("insert into org (id, slug) values (3000000000, 'wide')")
    await session.execute("insert into project values (5000000000, 3000000000)")
    await session.execute("insert into domain values ('wide.io', 5000000000)")
    names = ["subdomain:wide", "id:3000000000", "domain:wide.io"]
    assert await owners(db, names) == dict.fromkeys(names, "3000000000")
    await publish(db)
    assert await db.fetchval("select tenantcache.fault()") is None
    assert await owners(db, names) == dict.fromkeys(names, "3000000000")


@pytest.mark.parametrize(
    "migration",
    [
        "alter table org rename column slug to handle",
        "alter table org rename column id to number",
        "alter table org drop column plan_id cascade",
        "alter table project drop column org_id cascade",
        "alter table org alter column id type text",
        "alter table org drop constraint org_pkey cascade",
    ],
)
async def test_no_statement_fails_after_a_migration_and_none_is_served_wrongly(
    db: asyncpg.Connection, session: asyncpg.Connection, migration: str
) -> None:
    await session.execute("update org set status = 'active'; update project set org_id = org_id")
    await publish(db)
    await db.execute(f"alter table project drop constraint project_org_id_fkey; {migration}")
    before = await db.fetchval("select max(seq) from tenantcache.change_log")
    for writer in (session, db):
        for _ in range(3):
            await writer.execute("update org set status = 'suspended'")
            await writer.execute("update project set id = id + 100; update project set id = id - 100")
        await publish(db)
    everything = await db.fetchval(
        "select count(*) from tenantcache.change_log where seq > $1 and tenant_id is null", before
    )
    assert everything <= 1
    try:
        found = await owners(db, ["subdomain:one", "domain:two.io"])
    except (asyncpg.UndefinedColumnError, asyncpg.UndefinedFunctionError):
        assert await db.fetchval("select tenantcache.fault()") is not None
    else:
        assert found["subdomain:one"] in ("1", "unknown") and found["domain:two.io"] in ("2", "unknown")


async def test_what_a_failed_trigger_says_is_not_lost_in_a_rebuild(
    db: asyncpg.Connection, session: asyncpg.Connection
) -> None:
    """It was said before, and is being mended while this transaction is still under way."""
    await db.execute("select tenantcache.note_failed_trigger('org', 'why')")
    await publish(db)
    rebuilding = db.transaction()
    await rebuilding.start()
    assert await db.fetchval("select tenantcache.rebuild()")
    await session.execute("select tenantcache.note_failed_trigger('org', 'again')")
    await rebuilding.commit()
    await publish(db)
    assert await db.fetchval("select tenantcache.fault()") == "changed: the trigger on org failed (again)"


@pytest.mark.parametrize("table", ["org", "project", "domain", "plan"])
async def test_triggers_that_were_off_in_between_show(db: asyncpg.Connection, table: str) -> None:
    assert await db.fetchval("select tenantcache.fault()") is None
    for (name,) in await db.fetch(
        "select tgname from pg_trigger where tgrelid = $1::text::regclass and tgname like 'tenantcache%'", table
    ):
        await db.execute(
            f"alter table {table} disable trigger {name}; alter table {table} enable always trigger {name}"
        )
    assert await db.fetchval("select tenantcache.fault()") == "changed"
    assert await db.fetchval("select tenantcache.rebuild()")
    assert await db.fetchval("select tenantcache.fault()") is None


# Rows.


ODD = {
    "a cast that fails": "update org set seats = 'many' where id = 2",
    "a number too large for its type": "update org set seats = '99999999999' where id = 2",
    "attributes that are no text": """update org set settings = '{"a": "\\u0000", "b": "\\ud800"}' where id = 2""",
    "a number too large for anything": """update org set settings = '{"a": 1e5000}' where id = 2""",
}


@pytest.mark.parametrize("statement", ODD.values(), ids=ODD.keys())
async def test_an_odd_row_concerns_its_own_tenant_alone(
    small_url: str, bare: asyncpg.Connection, statement: str, caplog: pytest.LogCaptureFixture
) -> None:
    await bare.execute("insert into org (id, slug) select n, 'many-' || n from generate_series(100, 299) n")
    await adopt(bare)
    await bare.execute(statement)
    await publish(bare)
    await bare.execute("update tenantcache.publisher set incomplete = 'changed'")
    assert await bare.fetchval("select tenantcache.rebuild()")
    assert await misled(bare) == []
    store = PostgresTenants(small_url, timeout=30)
    await store.open()
    try:
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                snapshot = await store.read(["subdomain:two", *(f"id:{n}" for n in range(100, 300))])
    finally:
        await store.close()
    two = snapshot.rows["subdomain:two"]
    assert two is not None
    assert (two["id"], two["status"], two["attributes"], two["limit_per_minute"]) == ("2", "active", {}, None)
    assert all(snapshot.rows[f"id:{n}"] is not None for n in range(100, 300))
    assert len(caplog.records) == 1
    assert " 2 " in caplog.records[0].getMessage()


async def test_a_row_that_a_query_fails_on_as_a_whole(bare: asyncpg.Connection) -> None:
    """It is not served; all others are."""
    await adopt(bare, Adoption(QUERY + " where 10 / coalesce(length(o.status), 1) > 0"))
    await bare.execute("update org set status = '' where id = 2")
    await publish(bare)
    assert await owners(bare, ["subdomain:one", "subdomain:two", "subdomain:three"]) == {
        "subdomain:one": "1",
        "subdomain:two": None,
        "subdomain:three": "3",
    }


async def test_names_and_ids_that_are_too_long_are_left_out(bare: asyncpg.Connection) -> None:
    await bare.execute("create table shop (id text primary key, slug text)")
    await adopt(bare, Adoption("select id, slug as subdomain from shop"))
    await bare.execute(
        """
        insert into shop values ('a', 'a'), ('b', repeat('b', 254)), ('d', 'd');
        insert into shop select string_agg(md5(n::text), ''), 'c' from generate_series(1, 60) n
        """
    )
    await publish(bare)
    rows = await bare.fetch("select distinct tenant_id from tenantcache.aliases order by 1")
    assert [row[0] for row in rows] == ["a", "b", "d"]
    found = await owners(bare, ["subdomain:a", f"subdomain:{'b' * 254}", "subdomain:c", "subdomain:d", "id:b"])
    assert list(found.values()) == ["a", None, None, "d", "b"]


async def test_long_names_in_turn_are_left_out_of_the_log(db: asyncpg.Connection) -> None:
    for number in range(20):
        await db.execute("update org set slug = repeat('x', 200000) || $1 where id = 1", str(number))
    await publish(db)
    assert await db.fetchval("select sum(length(hosts::text)) from tenantcache.change_log") < 10_000


COLUMNS = ["tenant", "attributes", "ids", "keys", "part", "made", "half", "name", "names", "unread", "failed"]


async def test_columns_may_be_called_as_our_variables_are(bare: asyncpg.Connection) -> None:
    listed = ", ".join(f"{column} text not null default '{{}}'" for column in COLUMNS)
    await bare.execute(f"create table shop (id integer primary key, slug text, {listed})")
    used = " || ".join(COLUMNS)
    await bare.execute("insert into shop values (1, 'a')")
    await adopt(
        bare, Adoption(f"select id, slug as subdomain, attributes::jsonb as attributes, {used} as name from shop")
    )
    await bare.execute("update shop set slug = 'b', keys = 'x'")
    await publish(bare)
    assert await owners(bare, ["subdomain:a", "subdomain:b"]) == {"subdomain:a": None, "subdomain:b": "1"}


# What many tenants share, and what is held.


async def test_a_plan_that_many_share_is_published_some_at_a_time(bare: asyncpg.Connection) -> None:
    await bare.execute(
        "insert into org (id, slug, plan_id) select n, 'many-' || n, 2 from generate_series(100, 1099) n"
    )
    await adopt(bare)
    await bare.execute("update plan set name = 'new' where id = 2")
    found = await look_up(bare, ["subdomain:many-100", "subdomain:nobody"])
    assert isinstance(found["subdomain:many-100"], dict)
    assert found["subdomain:many-100"]["plan"] == "new"
    assert found["subdomain:nobody"] == "unknown"  # a name may be among those that the change concerns
    before = await bare.fetchval("select max(seq) from tenantcache.change_log")
    states, sizes = list[str](), list[int]()
    while (state := await bare.fetchval("select tenantcache.publish(100)")) != "nothing":
        states.append(state)
        sizes.append(
            await bare.fetchval("select count(*) from tenantcache.change_log where seq > $1", before) - sum(sizes)
        )
    assert states == ["more"] * 11 + ["published"]
    assert sizes == [0, *[100] * 10, 2]
    assert await owners(bare, ["subdomain:nobody"]) == {"subdomain:nobody": None}


async def test_a_table_that_is_held_for_long_costs_no_connections(
    db: asyncpg.Connection, session: asyncpg.Connection
) -> None:
    """Who gives up waiting must not leave a server process behind that waits on."""
    await db.execute("update org set slug = 'new' where id = 1")
    await session.execute("begin; lock table org in access exclusive mode")
    try:
        assert await db.fetchval("select tenantcache.publish(100)") == "busy"
        with pytest.raises(asyncpg.LockNotAvailableError):
            await asyncio.wait_for(look_up(db, ["subdomain:new"]), 20)
    finally:
        await session.execute("rollback")
    await publish(db)
    assert await owners(db, ["subdomain:new"]) == {"subdomain:new": "1"}
    assert await misled(db) == []


async def test_two_whose_deferred_keys_meet_both_commit(db: asyncpg.Connection, session: asyncpg.Connection) -> None:
    """A waits at its commit for a plan that B holds; B writes to an adopted table, too."""
    await session.execute("begin; select from plan where id = 2 for update")
    await db.execute("begin; update org set slug = 'a' where id = 1; insert into org (id, plan_id) values (9, 2)")
    committing = asyncio.create_task(db.execute("commit"))
    await asyncio.sleep(0.1)
    assert not committing.done()
    await session.execute("update org set slug = 'b' where id = 3")
    await session.execute("commit")
    await committing
    await publish(db)
    assert await owners(db, ["subdomain:a", "subdomain:b"]) == {"subdomain:a": "1", "subdomain:b": "3"}


async def test_one_tenant_is_read_by_indexes_though_the_query_groups_all(bare: asyncpg.Connection) -> None:
    """A query whose joined side is grouped, as people write it."""
    await bare.execute(
        "insert into org (id, slug) select n, 'many-' || n from generate_series(100, 5099) n;"
        "insert into project select n, n from generate_series(100, 5099) n"
    )
    await bare.execute("create index on project (org_id); analyze org, project")
    grouped = "select org_id, count(*)::integer as n from project group by org_id"
    shown = "select o.id, o.slug as subdomain, p.n as limit_per_day"
    await adopt(bare, Adoption(f"{shown} from org o left join ({grouped}) p on p.org_id = o.id"))
    before = await bare.fetchval("select pg_stat_get_xact_tuples_returned('project'::regclass)")
    async with bare.transaction():
        found = await look_up(bare, ["subdomain:many-5000"])
        returned = await bare.fetchval("select pg_stat_get_xact_tuples_returned('project'::regclass)")
        fetched = await bare.fetchval("select pg_stat_get_xact_tuples_fetched('project'::regclass)")
    assert isinstance(found["subdomain:many-5000"], dict)
    assert found["subdomain:many-5000"]["limit_per_day"] == 1
    assert returned + fetched - before < 100
