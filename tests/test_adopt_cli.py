"""`tenantcache init --adopt` and `tenantcache uninstall`, as a person runs them."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import pytest

from tenantcache import Settings, TenantCache
from tenantcache.schema.adopt import AdoptionError, plan_uninstall
from tests.commandline import Run
from tests.servers.databases import Databases

STATUSES = (
    "select string_agg(r.tenant ->> 'status', ',' order by i)"
    " from tenantcache.tenant_ids() i, tenantcache.read_adopted(array[i]) r"
)


CUSTOMERS = """
    create table customers (id int primary key, slug text unique, state text, api_key text);
    insert into customers values (1, 'acme', 'live', 'sesame'), (2, 'GLOBEX', 'off', 'sesame');
"""
ADOPT = ("init", "--adopt", "customers", "--subdomain", "slug", "--status", "state", "--status-map", "live=active")


CAPITALS = (
    "public.customers.slug: no unique index keeps two rows from names that differ in capitals only; a host has no"
    " capitals, and such a name is served for neither; add a unique index on lower(...)"
)


@pytest.fixture
def run(run: Run, monkeypatch: pytest.MonkeyPatch, empty_database_url: str) -> Run:
    """On the empty database."""
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    return run


@pytest.fixture
def where(empty_database_url: str) -> str:
    return empty_database_url.partition("@")[2].partition("/")[0]


@pytest.fixture
def ask(empty_database_url: str) -> Callable[[str], Any]:
    """Run SQL from a test that is not asynchronous, as the commands have a loop of their own; return one value."""

    async def on_connection(work: Callable[[asyncpg.Connection], Awaitable[Any]]) -> Any:
        connection = await asyncpg.connect(empty_database_url)
        try:
            return await work(connection)
        finally:
            await connection.close()

    def ask(sql: str) -> Any:
        if sql.lstrip().startswith("select"):
            return asyncio.run(on_connection(lambda connection: connection.fetchval(sql)))
        return asyncio.run(on_connection(lambda connection: connection.execute(sql)))

    return ask


def test_adopting_says_what_is_served_and_what_may_surprise(run: Run, where: str, ask: Callable[[str], Any]) -> None:
    ask(CUSTOMERS)
    status, out, errors = run(*ADOPT, "--attributes", "*")
    assert (status, out) == (0, f"tenantcache: 2 tenants from public.customers are served at {where}\n")
    assert errors.splitlines() == [
        "tenantcache: warning: public.customers.api_key looks like a secret, and becomes an attribute that is kept in "
        "memory and in Redis; --exclude api_key keeps it out",
        f"tenantcache: warning: {CAPITALS}",
        "tenantcache: warning: 1 of 2 tenants count as suspended",
    ]
    status, out, errors = run(*ADOPT[:-1], "live=active,off=maintenance", "--attributes", "*", "--exclude", "api_key")
    assert (status, errors) == (0, f"tenantcache: warning: {CAPITALS}\n")
    assert ask(STATUSES) == "active,maintenance"
    assert ask("select count(*) from tenantcache.read_adopted('{1,2}') r where r::text like '%sesame%'") == 0
    assert run("check")[0] == 0


def test_adopting_again_changes_nothing(run: Run, where: str, ask: Callable[[str], Any]) -> None:
    ask(CUSTOMERS)
    run(*ADOPT)
    assert run(*ADOPT)[1] == (
        f"tenantcache: 2 tenants from public.customers are served already, and nothing was changed at {where}\n"
    )
    assert run("init")[0] == 0
    assert ask("select count(*) from tenantcache.tenant_ids()") == 2


def test_tenants_that_are_not_served_any_more_are_counted(run: Run, ask: Callable[[str], Any]) -> None:
    ask(CUSTOMERS)
    run("init")
    ask("insert into tenantcache.tenants (name) values ('Acme')")
    _, _, errors = run(*ADOPT)
    assert "tenantcache: warning: 1 tenants in tenantcache.tenants are no longer served\n" in errors


def test_a_dry_run_prints_what_works_and_changes_nothing(run: Run, ask: Callable[[str], Any]) -> None:
    ask(CUSTOMERS)
    status, out, _ = run(*ADOPT, "--dry-run")
    assert status == 0
    assert ask("select to_regnamespace('tenantcache') is null")
    ask(out)
    assert (
        ask("select string_agg(a, ',' order by a) from tenantcache.all_aliases() a")
        == "subdomain:acme,subdomain:globex"
    )
    assert "nothing was changed" in run(*ADOPT)[1]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ("--adopt", "customers", "--subdomain", "sub", "--plan", "tier"),
            "tenantcache: --subdomain: public.customers has no column 'sub'; it has id, slug, state, api_key\n"
            "tenantcache: --plan: public.customers has no column 'tier'; it has id, slug, state, api_key\n",
        ),
        (
            ("--subdomain", "slug", "--domains-table", "x"),
            "tenantcache: --subdomain, --domains-table: these describe a table of yours; name it with --adopt,"
            " or give a query with --adopt-query\n",
        ),
        (
            ("--adopt", "customers", "--subdomain", "slug", "--status-map", "live"),
            "tenantcache: --status-map: 'live' is not a pair; "
            "give them like active=active,disabled=suspended (=active for NULL)\n",
        ),
    ],
)
def test_faults_end_with_status_2(
    run: Run, ask: Callable[[str], Any], arguments: tuple[str, ...], expected: str
) -> None:
    ask(CUSTOMERS)
    assert run("init", *arguments) == (2, "", expected)


def test_who_does_not_own_the_table_is_told(
    run: Run, ask: Callable[[str], Any], databases: Databases, monkeypatch: pytest.MonkeyPatch, empty_database_url: str
) -> None:
    ask(CUSTOMERS)
    databases.execute("DROP ROLE IF EXISTS adoptguest")
    databases.execute("CREATE ROLE adoptguest LOGIN")
    database = empty_database_url.rpartition("/")[2]
    databases.execute(f"GRANT CREATE ON DATABASE {database} TO adoptguest")
    ask("grant select on customers to adoptguest")
    monkeypatch.setenv("DATABASE_URL", empty_database_url.replace("postgres@", "adoptguest:secret@"))
    status, _, errors = run(*ADOPT)
    ask("drop owned by adoptguest")
    databases.execute("DROP ROLE adoptguest")
    assert status == 2
    assert errors == (
        "tenantcache: public.customers belongs to another role; run this as its owner, or as a member of that role\n"
    )
    assert "secret" not in errors


@pytest.fixture
def roles(databases: Databases, empty_database_url: str, ask: Callable[[str], Any]) -> Iterator[Callable[[str], str]]:
    """A schema `shop` with a table of `adoptowner`'s, of which `adoptmember` is a member; gives the URL of a role."""
    database = empty_database_url.rpartition("/")[2]
    names = ("adoptowner", "adoptmember", "adoptreader")
    for name in names:
        databases.execute(f"CREATE ROLE {name} LOGIN")
        databases.execute(f"GRANT CREATE ON DATABASE {database} TO {name}")
    databases.execute("GRANT adoptowner TO adoptmember")
    ask("""
        create schema shop authorization adoptowner;
        set role adoptowner;
        create table shop.tenants (id int primary key, slug text unique);
        insert into shop.tenants values (1, 'acme');
    """)
    yield lambda name: empty_database_url.replace("postgres@", f"{name}:secret@")
    for name in reversed(names):
        ask(f"drop owned by {name} cascade")
        databases.execute(f"DROP ROLE {name}")


class TestRoles:
    ADOPT = ("init", "--adopt", "shop.tenants", "--subdomain", "slug")

    def test_who_may_not_use_the_schema_is_told(
        self, run: Run, roles: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, ask: Callable[[str], Any]
    ) -> None:
        monkeypatch.setenv("DATABASE_URL", roles("adoptreader"))
        assert "DATABASE_URL: this user may not do that (permission denied for schema shop)" in run(*self.ADOPT)[2]
        ask("grant usage on schema shop to adoptreader; grant select, trigger on shop.tenants to adoptreader")
        status, _, errors = run(*self.ADOPT)
        assert status == 2
        assert errors == (
            "tenantcache: shop.tenants belongs to another role; run this as its owner, or as a member of that role\n"
        )
        assert ask("select to_regnamespace('tenantcache') is null"), "something was changed"

    def test_a_member_of_the_owner_adopts_and_takes_away(
        self, run: Run, roles: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DATABASE_URL", roles("adoptmember"))
        assert run(*self.ADOPT)[0] == 0
        assert run("uninstall", "--yes")[0] == 0

    def test_a_superuser_adopts_for_an_application_that_has_less(
        self,
        run: Run,
        roles: Callable[[str], str],
        monkeypatch: pytest.MonkeyPatch,
        ask: Callable[[str], Any],
    ) -> None:
        assert run(*self.ADOPT)[0] == 0
        monkeypatch.setenv("DATABASE_URL", roles("adoptreader"))
        assert run("check")[2] == (
            "FAULT  DATABASE_URL: this user may not use the schema tenantcache; run `tenantcache init --grant ROLE`"
            " as its owner\n"
        )
        monkeypatch.setenv("DATABASE_URL", roles("postgres"))
        assert run(*self.ADOPT, "--grant", "adoptreader")[0] == 0
        monkeypatch.setenv("DATABASE_URL", roles("adoptreader"))
        assert run("check")[0] == 0

        async def follow() -> list[str | None]:
            names: list[str | None] = []
            settings = Settings(database_url=roles("adoptreader"), base_domains=["example.com"])
            async with TenantCache(settings) as cache:
                for label in ("acme", "acme2"):
                    tenant = await cache.resolve(f"{label}.example.com")
                    names.append(None if tenant is None else tenant.subdomain)
                    if tenant is not None:
                        assert (await cache.check(tenant)).allowed
                    owner = await asyncpg.connect(roles("adoptowner"))
                    await owner.execute("update shop.tenants set slug = 'acme2'")
                    await owner.close()
                    await cache.sync()
            return names

        assert asyncio.run(follow()) == ["acme", "acme2"]


class TestUninstall:
    def test_takes_everything_away_but_the_adopted_table(self, run: Run, where: str, ask: Callable[[str], Any]) -> None:
        ask(CUSTOMERS)
        run(*ADOPT)
        assert run("uninstall", "--yes") == (0, f"tenantcache: removed from {where}\n", "")
        assert ask("select to_regnamespace('tenantcache') is null")
        assert ask("select count(*) from pg_trigger where not tgisinternal") == 0
        assert ask("select string_agg(slug || state || api_key, ' ' order by id) from customers") == (
            "acmelivesesame GLOBEXoffsesame"
        )
        assert run("uninstall", "--yes")[1] == f"tenantcache: there is nothing of ours at {where}\n"

    @pytest.mark.parametrize(("answer", "removed"), [("", False), ("n\n", False), ("y\n", True)])
    def test_asks_first(
        self, run: Run, ask: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, answer: str, removed: bool
    ) -> None:
        ask(CUSTOMERS)
        run(*ADOPT)
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        status, out, _ = run("uninstall")
        assert (status == 0) is removed
        assert "Remove tenantcache from" in out and "and its triggers from public.customers? [y/N]" in out
        assert ask("select to_regnamespace('tenantcache') is null") is removed

    def test_keeps_tables_with_rows_unless_told_otherwise(
        self, run: Run, where: str, ask: Callable[[str], Any]
    ) -> None:
        run("init")
        ask("insert into tenantcache.tenants (id, name) values ('acme', 'Acme')")
        status, out, _ = run("uninstall", "--yes")
        assert status == 0
        assert out.splitlines() == [
            "tenantcache: tenantcache.tenants hold rows and stay; --drop-data drops them too",
            f"tenantcache: removed from {where}",
        ]
        assert (
            ask(
                "select string_agg(relname, ',') from pg_class where relnamespace = 'tenantcache'::regnamespace"
                " and relkind in ('r', 'v', 'S')"
            )
            == "tenants"
        )
        ask("update tenantcache.tenants set name = 'Other'")
        run("init")
        assert ask("select tenant ->> 'name' from tenantcache.find_tenants('{id:acme}')") == "Other"
        assert run("uninstall", "--yes", "--drop-data")[0] == 0
        assert ask("select to_regnamespace('tenantcache') is null")

    def test_rows_that_came_while_a_person_was_asked_are_kept(
        self, run: Run, ask: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, empty_database_url: str
    ) -> None:
        run("init")

        def confirm(*_: object, **__: object) -> bool:
            with ThreadPoolExecutor(1) as pool:  # asyncio runs in this thread already
                pool.submit(ask, "insert into tenantcache.tenants (id, name) values ('acme', 'Acme')").result()
            return True

        monkeypatch.setattr("typer.confirm", confirm)
        status, _, errors = run("uninstall")
        assert (status, errors) == (
            2,
            "tenantcache: nothing was changed: what is there has changed meanwhile; run it again\n",
        )
        assert ask("select count(*) from tenantcache.tenant_ids()") == 1

    def test_two_at_once(self, ask: Callable[[str], Any], run: Run, empty_database_url: str) -> None:
        ask(CUSTOMERS)
        run(*ADOPT)

        async def take_away() -> bool:
            connection = await asyncpg.connect(empty_database_url)
            try:
                plan = await plan_uninstall(connection, drop_data=False)
                if plan is not None:
                    await plan.run(connection)
                return plan is not None
            except AdoptionError:
                return False
            finally:
                await connection.close()

        async def at_once() -> list[bool]:
            return await asyncio.gather(*(take_away() for _ in range(5)))

        assert sum(asyncio.run(at_once())) == 1
        assert ask("select to_regnamespace('tenantcache') is null")

    def test_a_dry_run_prints_what_works_and_changes_nothing(self, run: Run, ask: Callable[[str], Any]) -> None:
        ask(CUSTOMERS)
        run(*ADOPT)
        status, out, _ = run("uninstall", "--dry-run")
        assert status == 0
        assert ask("select count(*) from tenantcache.tenant_ids()") == 2
        ask(out)
        assert ask("select to_regnamespace('tenantcache') is null")

    def test_what_depends_on_us_is_named(self, run: Run, ask: Callable[[str], Any]) -> None:
        run("init")
        ask("create view report as select name from tenantcache.tenants")
        status, _, errors = run("uninstall", "--yes")
        assert (status, errors) == (
            2,
            "tenantcache: nothing was changed: view report depends on table tenantcache.tenants; drop that first\n",
        )
        assert ask("select to_regclass('tenantcache.change_log') is not null")
