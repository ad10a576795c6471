"""`init --adopt-query`, `adopt`, `check` and `uninstall` as people try them: no fault is a traceback."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tenantcache.schema.adopt import Adoption, install, prepare
from tests.commandline import Run
from tests.servers.databases import Databases

Ask = Callable[[str], Any]
Query = Callable[[str], str]

TABLES = """
    create table plans (id int primary key, name text);
    create table orgs (id int primary key, slug text, plan_id int references plans, live boolean default true);
    create table sites (host text primary key, org_id int references orgs);
    create index on sites (org_id);
    insert into plans values (1, 'free'), (2, 'pro');
    insert into orgs values (1, 'acme', 1), (2, 'globex', 2);
    insert into sites values ('acme.io', 1);
"""
QUERY = """
select o.id, o.slug as subdomain, p.name as plan, array(select s.host from sites s where s.org_id = o.id) as domains,
    jsonb_build_object('live', o.live) as attributes
from orgs o left join plans p on p.id = o.plan_id
"""
LEFT = """
    select (select count(*) from pg_namespace where nspname = 'tenantcache')
        + (select count(*) from pg_trigger where not tgisinternal)
"""


async def make_tables(db: asyncpg.Connection) -> None:
    await db.execute(TABLES)


async def make_adopted(db: asyncpg.Connection) -> None:
    """What `init --adopt-query` makes."""
    await make_tables(db)
    assert await install(db, await prepare(db, Adoption(QUERY)))


@pytest.fixture
def url(databases: Databases) -> Iterator[str]:
    """Of a database with the tables."""
    url = databases.create_like("tables for commands", make_tables)
    yield url
    databases.drop(url)


@pytest.fixture
def adopted_url(databases: Databases) -> Iterator[str]:
    """The same, adopted."""
    url = databases.create_like("adopted for commands", make_adopted)
    yield url
    databases.drop(url)


@pytest.fixture
def run(run: Run, monkeypatch: pytest.MonkeyPatch, url: str) -> Run:
    """On that database."""
    monkeypatch.setenv("DATABASE_URL", url)
    return run


def asking(url: str) -> Ask:
    async def on_connection(work: Callable[[asyncpg.Connection], Awaitable[Any]]) -> Any:
        connection = await asyncpg.connect(url)
        try:
            return await work(connection)
        finally:
            await connection.close()

    def ask(sql: str) -> Any:
        if sql.lstrip().startswith("select"):
            return asyncio.run(on_connection(lambda connection: connection.fetchval(sql)))
        return asyncio.run(on_connection(lambda connection: connection.execute(sql)))

    return ask


@pytest.fixture
def ask(url: str) -> Ask:
    return asking(url)


@pytest.fixture
def query(tmp_path: Path) -> Query:
    """A function that writes a query into a file."""

    def write(text: str) -> str:
        path = tmp_path / "tenants.sql"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def found(ask: Ask, *names: str) -> str:
    """The ids that names lead to, in the order of the names."""
    listed = ", ".join(f"'{name}'" for name in names)
    answer = ask(
        f"select string_agg(f.tenant ->> 'id', ' ' order by array_position(array[{listed}], f.alias))"
        f" from tenantcache.find_tenants(array[{listed}]) f"
    )
    return str(answer)


FAULTS = {
    "selec id from orgs": 'syntax error at or near "selec"',
    "": "syntax error at end of input",
    "-- nothing": "syntax error at end of input",
    "select id, slug as subdomain from orgs; select 1": "cannot insert multiple commands into a prepared statement",
    "delete from orgs": 'syntax error at or near "delete"',
    "select * from nowhere": 'relation "nowhere" does not exist (line 1)',
    "select id,\n  slag as subdomain from orgs": 'column "slag" does not exist (line 2)',
    "select * from orgs": "the query has columns that mean nothing here: plan_id, live; there are id, name, subdomain",
    "select id, slug as subdomain, slug as subdomain from orgs": 'column "subdomain" specified more than once',
    "select slug as subdomain from orgs": "the query has no column `id`",
    "select id, slug as subdomain from orgs where id > $1": "there is no parameter $1",
    "select id, id as subdomain from orgs": "the query's column subdomain is of type integer; names are texts",
    "select id, slug as subdomain from a_view": "reads public.a_view, which is a view: triggers cannot follow it",
    "select id, slug as subdomain from a_snapshot": "which is a materialized view",
    "select id, slug as subdomain from parted": "which is a partitioned table",
    "select oid as id, relname as subdomain from pg_class": "the query reads no table of yours",
    "select 1 as id, table_name as subdomain from information_schema.tables": "which belongs to PostgreSQL",
    "select id, subdomain from tenantcache.tenants": "tenantcache.tenants is tenantcache's own",
    "select 1 as id, 'x' as subdomain": "the query reads no table",
    "select id, slug as subdomain from remove_all()": "public.orgs is read, and the query does not say which",
    "select id, slug as subdomain from orgs where id in (select r.id from remove_all() r)": "the query writes",
}


@pytest.mark.parametrize("text", FAULTS, ids=lambda text: text or "nothing")
def test_a_query_that_cannot_be_adopted_is_told(run: Run, ask: Ask, query: Query, text: str) -> None:
    ask("""
        create view a_view as select * from orgs;
        create materialized view a_snapshot as select * from orgs;
        create table parted (id int, slug text) partition by list (id);
        create function remove_all() returns setof orgs language sql as 'delete from orgs returning *';
    """)
    if "tenantcache" in text:
        run("init")
    status, out, errors = run("init", "--adopt-query", query(text))
    assert (status, out) == (2, "")
    assert FAULTS[text] in errors
    assert ask("select count(*) from orgs") == 2
    assert ask("select count(*) from pg_trigger where not tgisinternal and tgrelid = 'orgs'::regclass") == 0


@pytest.mark.parametrize(
    "text",
    [
        f"-- tenants\n{QUERY};",
        f"/* of ours; */ {QUERY} ; -- the end\n",
        f"{QUERY} -- the end",
        f"{QUERY};;\n;",
        f"\ufeff{QUERY}",
        f"with o as (select * from orgs) {QUERY.replace('from orgs o', 'from o')}",
    ],
    ids=["comment", "comments", "no newline", "semicolons", "byte order mark", "with"],
)
def test_a_query_as_people_write_it(run: Run, ask: Ask, query: Query, text: str) -> None:
    status, out, errors = run("init", "--adopt-query", query(text))
    assert status == 0, errors
    assert out.startswith("tenantcache: 2 tenants from public.orgs, public.plans, public.sites are served at ")
    assert found(ask, "subdomain:acme", "domain:acme.io", "subdomain:globex") == "1 1 2"


def test_names_in_quotes_and_schemas_elsewhere(run: Run, ask: Ask, query: Query) -> None:
    table = '"Mein Schöma"."Büros ""x"""'
    ask(f"""
        create schema "Mein Schöma";
        create table {table} ("Schlüssel" int primary key, "Näme" text, "ünder" text);
        insert into {table} values (7, 'acme', 'é');
    """)
    text = f'select "Schlüssel" as id, "Näme" as subdomain, "ünder" as name from {table}'
    assert run("init", "--adopt-query", query(text))[0] == 0
    ask(f"""update {table} set "Näme" = 'acme2'""")
    assert found(ask, "subdomain:acme2") == "7"
    assert ask("select tenantcache.publish(10)") == "published"
    assert ask("select count(*) from tenantcache.aliases where alias = 'subdomain:acme2'") == 1
    assert run("uninstall", "--yes")[0] == 0
    assert ask(LEFT) == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--kind", "a", "--kind", "b"), "--kind is given several times (a, b)"),
        (("--kind", "Team"), "kind 'Team' is not possible; give 1 to 63 of a to z, 0 to 9, _ and -"),
        (("--kind", "a:b"), "kind 'a:b' is not possible"),
        (("--kind", "a\n"), "kind 'a\\n' is not possible"),
        (("--kind", "é"), "kind 'é' is not possible"),
        (("--kind", ""), "--kind is empty"),
        (("--watch", "sites"), "--watch sites: give a table and a column"),
        (("--watch", "sites=owner"), "--watch sites=owner: public.sites has no such column; it has host, org_id"),
        (("--watch", "nowhere=id"), "--watch nowhere: the query reads no such table; it reads public.orgs"),
        (("--watch", "a.b.c.d=id"), "--watch a.b.c.d: the query reads no such table"),
        (("--watch", "sites=host", "--watch", "sites=org_id"), "--watch sites is given twice"),
        (("--static", "nowhere"), "--static nowhere: the query reads no such table"),
        (("--static", "sites", "--watch", "sites=org_id"), "sites is called static and watched as well"),
        (("--subdomain", "slug"), "--subdomain: the query of --adopt-query says all this itself; leave them out"),
    ],
)
def test_options_that_cannot_be_are_told(
    run: Run, ask: Ask, query: Query, arguments: tuple[str, ...], expected: str
) -> None:
    status, out, errors = run("init", "--adopt-query", query(QUERY), *arguments)
    assert (status, out) == (2, "")
    assert expected in errors
    assert ask("select to_regnamespace('tenantcache') is null")


def test_a_file_that_cannot_be_read(run: Run, tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"select 'b\xfcro'")
    for name, reason in (("gone", "No such file or directory"), (".", "Is a directory"), ("latin", "it is not UTF-8")):
        status, _, errors = run("init", "--adopt-query", str(tmp_path / name))
        assert status == 2 and f"the file cannot be read ({reason})" in errors


def test_what_a_dry_run_prints_runs_on_a_fresh_database(run: Run, ask: Ask, query: Query) -> None:
    status, out, _ = run("init", "--adopt-query", query(QUERY), "--dry-run")
    assert status == 0 and ask("select to_regnamespace('tenantcache') is null")
    ask(out)
    assert found(ask, "subdomain:acme", "domain:acme.io") == "1 1"
    assert ask("select tenantcache.fault() is null")
    assert "nothing was changed" in run("init", "--adopt-query", query(QUERY))[1]
    _, again, _ = run("init", "--adopt-query", query(QUERY), "--dry-run")
    ask(again)
    assert found(ask, "subdomain:acme", "domain:acme.io") == "1 1"


def test_the_query_that_is_shown_does_the_same(run: Run, ask: Ask, query: Query) -> None:
    options = ["--adopt", "orgs", "--subdomain", "slug", "--status", "live", "--attributes", "*"]
    options += ["--domains-table", "sites", "--domains-column", "host", "--domains-tenant-column", "org_id"]
    status, out, _ = run("init", *options, "--show-query")
    assert status == 0 and ask("select to_regnamespace('tenantcache') is null")
    assert run("init", *options)[0] == 0
    before = ask("select string_agg(r::text, ' ' order by r::text) from tenantcache.read_adopted('{1,2}') r")
    assert "nothing was changed" in run("init", "--adopt-query", query(out))[1]
    assert ask("select string_agg(r::text, ' ' order by r::text) from tenantcache.read_adopted('{1,2}') r") == before


class TestDamage:
    @pytest.fixture
    def url(self, adopted_url: str) -> str:
        return adopted_url

    @pytest.mark.parametrize(
        "damage",
        [
            "drop function tenantcache.{adopted} cascade",
            "drop function tenantcache.{ids} cascade",
            "drop function tenantcache.{follow}() cascade",
            "create or replace function tenantcache.{follow}() returns trigger language plpgsql"
            " as 'begin return null; end'",
            "alter table sites disable trigger all",
            "alter table orgs enable trigger {trigger}",
            "drop trigger {trigger} on orgs",
            "drop function tenantcache.find_adopted(text[]) cascade",
            "drop function tenantcache.tenant_ids()",
        ],
    )
    def test_what_was_lost_is_told_by_check_and_comes_back(self, run: Run, ask: Ask, query: Query, damage: str) -> None:
        path = query(QUERY)
        assert run("check")[::2] == (0, AMBIGUOUS)
        trigger = ask(
            r"select tgname::text from pg_trigger where tgrelid = 'orgs'::regclass"
            r" and tgname like 'tenantcache\_written\_%'"
        )
        names = {
            "trigger": trigger,
            "follow": trigger.replace("tenantcache_written", "follow"),
            "adopted": ask(r"select proname::text from pg_proc where proname ~ '^adopted_\d+$'"),
            "ids": ask(r"select proname::text from pg_proc where proname ~ '^adopted_ids_\d+$'"),
        }
        ask(damage.format(**names))
        status, _, errors = run("check")
        assert status == 2 and "tenantcache init" in errors
        status, _, errors = run("init", "--adopt-query", path)
        assert status == 0, errors
        assert run("check")[::2] == (0, AMBIGUOUS)
        ask("update sites set host = 'acme.com'; update orgs set slug = 'acme2' where id = 1")
        assert found(ask, "subdomain:acme2", "domain:acme.com") == "1 1"
        assert "nothing was changed" in run("init", "--adopt-query", path)[1]


class TestAgain:
    def test_another_query_replaces_the_first(self, run: Run, ask: Ask, query: Query) -> None:
        run("init", "--adopt-query", query(QUERY))
        status, out, _ = run("init", "--adopt-query", query("select id, 'x-' || slug as subdomain from orgs"))
        assert status == 0 and "are served at" in out
        assert found(ask, "subdomain:x-acme", "subdomain:acme", "domain:acme.io") == "1"
        assert ask("select count(*) from pg_trigger where tgrelid = 'sites'::regclass and not tgisinternal") == 0
        assert ask("select tenantcache.fault() is null")

    def test_kinds_side_by_side_and_away_again(self, run: Run, ask: Ask, query: Query) -> None:
        assert run("init", "--adopt-query", query(QUERY), "--kind", "org")[0] == 0
        site = "select host as id, array[host] as domains, org_id::text as name from sites"
        assert run("init", "--adopt-query", query(site), "--kind", "site_1-x")[0] == 0
        assert found(ask, "name:org:acme", "id:site_1-x:acme.io") == "org:1 site_1-x:acme.io"
        assert run("adopt", "remove", "team")[::2] == (
            2,
            "tenantcache: there are no adopted tenants of the kind 'team'; there are: org, site_1-x\n",
        )
        assert run("adopt", "remove", "site_1-x")[0] == 0
        assert found(ask, "id:site_1-x:acme.io", "domain:acme.io", "name:org:globex") == "org:1 org:2"
        assert ask("select tenantcache.fault() is null")
        status, _, errors = run("adopt", "remove", "org")
        assert status == 2 and "'org' is the only kind; `tenantcache uninstall` takes everything away" in errors
        assert run("uninstall", "--yes")[0] == 0
        assert ask(LEFT) == 0


class TestLooking:
    def test_explain(self, run: Run, ask: Ask, query: Query, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TENANTCACHE_BASE_DOMAINS", "example.com")
        run("init", "--adopt-query", query(QUERY))
        for name in ("acme.example.com", "acme.io", "ACME.io:443", "id:1", "subdomain:acme"):
            status, out, errors = run("adopt", "explain", name)
            assert (status, errors) == (0, "")
            assert "answer: this tenant" in out and '  plan             "free"' in out
            assert "public.sites.org_id is the tenant's id" in out
            assert "init would: change nothing, with the same query" in out
        for name in ("none.example.com", "none.io", "id:abc", "domain:x"):
            status, out, _ = run("adopt", "explain", name)
            assert status == 0 and "answer: no tenant" in out
        ask("insert into orgs values (3, 'ACME')")
        assert "answer: nothing, because several active" in run("adopt", "explain", "acme.example.com")[1]
        assert run("adopt", "explain", "exa mple")[0] == 2

    def test_verify_and_repair(self, run: Run, ask: Ask, query: Query) -> None:
        run("init", "--adopt-query", query(QUERY))
        assert run("adopt", "verify")[:2] == (0, "tenantcache: 2 tenants compared, 0 differ; all as served\n")
        ask("""
            alter table orgs disable trigger all; alter table sites disable trigger all;
            update orgs set slug = 'acme2' where id = 1; insert into orgs values (3, 'new'); delete from sites;
            alter table orgs enable trigger all; alter table sites enable trigger all;
        """)
        status, out, _ = run("adopt", "verify")
        assert status == 1 and "1 is not as the query says" in out and "3 is not as the query says" in out
        assert run("adopt", "verify", "--repair")[0] == 0
        ask("select tenantcache.publish(1000)")
        assert run("adopt", "verify")[0] == 0
        assert found(ask, "subdomain:acme2", "subdomain:new") == "1 3"

    @pytest.mark.parametrize("command", [("verify",), ("explain", "id:1"), ("remove", "team")])
    def test_nothing_is_adopted(self, run: Run, command: tuple[str, ...]) -> None:
        status, _, errors = run("adopt", *command)
        assert status == 2 and "no tenantcache schema; run `tenantcache init`" in errors
        run("init")
        status, _, errors = run("adopt", *command)
        assert (status, errors == "") == ((0, True) if command[0] == "explain" else (2, False))


AMBIGUOUS = "".join(
    f"WARN   schema    {column}: no unique index keeps two rows from names that differ in capitals only; a host has"
    " no capitals, and such a name is served for neither; add a unique index on lower(...)\n"
    for column in ("public.orgs.slug", "public.sites.host")
)


class TestCheck:
    @pytest.fixture
    def url(self, adopted_url: str) -> str:
        return adopted_url

    @pytest.mark.parametrize(
        ("damage", "expected"),
        [
            ("alter table orgs rename slug to handle", "public.orgs has lost a column that is read"),
            ("alter table orgs rename to organisations", "the table public.orgs is gone"),
            ("drop table sites", "the table public.sites is gone"),
            ("alter table plans set schema pg_temp", "the table public.plans is gone"),
        ],
    )
    def test_names_what_is_gone(self, run: Run, ask: Ask, damage: str, expected: str) -> None:
        if "pg_temp" in damage:
            damage = "create schema other; alter table plans set schema other"
        ask(damage)
        status, _, errors = run("check")
        assert status == 2 and expected in errors

    def test_names_two_owners_of_a_name(self, run: Run, ask: Ask) -> None:
        ask("insert into orgs values (3, 'ACME'); select tenantcache.publish(1000)")
        status, _, errors = run("check")
        assert status == 0
        assert "WARN   schema    several active tenants have the name 'acme': it is served for none of them\n" in errors

    def test_a_read_only_server(self, run: Run, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
        database = ask("select current_database()")
        ask(f"alter database {database} set default_transaction_read_only = on")
        status, _, errors = run("check")
        assert status == 2 and "this server takes no writes (read-only)" in errors

    def test_a_role_that_may_only_read(
        self, run: Run, ask: Ask, databases: Databases, monkeypatch: pytest.MonkeyPatch, url: str
    ) -> None:
        databases.execute("create role commandreader login")
        try:
            ask("grant usage on schema tenantcache to commandreader")
            ask("grant select on all tables in schema tenantcache to commandreader")
            monkeypatch.setenv("DATABASE_URL", url.replace("postgres@", "commandreader:secret@"))
            status, _, errors = run("check")
            assert status == 2
            assert "this user lacks insert, update, delete on processes" in errors
            assert "run `tenantcache init --grant ROLE` as the owner of the schema" in errors
        finally:
            ask("drop owned by commandreader")
            databases.execute("drop role commandreader")

    def test_uninstall_leaves_nothing(self, run: Run, ask: Ask) -> None:
        assert run("uninstall", "--yes")[0] == 0
        assert ask(LEFT) == 0
        ask("update orgs set slug = 'x'; truncate sites")
