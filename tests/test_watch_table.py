"""`tenantcache watch-table` as people try it, and what `check` says of watched tables."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg
import pytest

from tests.commandline import Run

Sql = Callable[[str], None]

WATCH = ("watch-table", "public.settings", "--tenant", "tenant_id", "--key", "settings")


@pytest.fixture
def sql(database_url: str) -> Sql:
    async def run(statements: str) -> None:
        connection = await asyncpg.connect(database_url)
        try:
            await connection.execute(statements)
        finally:
            await connection.close()

    return lambda statements: asyncio.run(run(statements))


@pytest.fixture
def run(run: Run, monkeypatch: pytest.MonkeyPatch, database_url: str, sql: Sql) -> Run:
    """On a database with a table that may be watched."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    sql("create table settings (tenant_id text, name text)")
    return run


def test_watching_listing_and_removing(run: Run) -> None:
    status, out, _ = run(*WATCH)
    assert (status, "public.settings is watched at" in out) == (0, True)
    status, out, _ = run(*WATCH)
    assert (status, "watched already, and nothing was changed" in out) == (0, True)
    assert run("watch-table") == (0, "public.settings: --tenant tenant_id --key settings\n", "")
    assert run("check")[0] == 0
    status, out, _ = run("watch-table", "public.settings", "--remove")
    assert (status, "no longer watched" in out) == (0, True)
    status, out, _ = run("watch-table")
    assert (status, "no table is watched at" in out) == (0, True)


def test_a_dry_run_prints_what_would_be_run(run: Run, sql: Sql) -> None:
    status, out, _ = run(*WATCH, "--dry-run")
    assert status == 0
    assert "no table is watched" in run("watch-table")[1]
    sql(out)
    assert "watched already" in run(*WATCH)[1]
    status, out, _ = run("watch-table", "settings", "--remove", "--dry-run")
    assert run("watch-table")[1] == "public.settings: --tenant tenant_id --key settings\n"
    sql(out)
    assert "no table is watched" in run("watch-table")[1]


def test_check_names_a_table_that_has_changed(run: Run, sql: Sql) -> None:
    run(*WATCH, "--tag-column", "name")
    sql("alter table settings rename name to label")
    status, _, err = run("check")
    assert status == 0
    assert "WARN   schema    the watched column name of public.settings is called label now" in err
    sql("alter table settings disable trigger tenantcache_values")
    status, _, err = run("check")
    assert status == 2
    assert "FAULT  DATABASE_URL: triggers on the watched table public.settings are missing" in err
    status, out, err = run("watch-table")
    assert (status, "--tag-column name" in out, err.count("FAULT"), err.count("WARN")) == (0, True, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("public.nothing", "--key", "k"), "there is no table 'public.nothing'"),
        (("public.settings",), "a row has to name something: give --key"),
        (("public.settings", "--tenant", "id", "--key", "k"), "--tenant id: public.settings has no column 'id'"),
        (("public.settings", "--remove", "--key", "k"), "give TABLE and what its rows are about"),
        (("--remove",), "give TABLE and what its rows are about"),
        (("--key", "k"), "give TABLE and what its rows are about"),
        (("public.other", "--remove"), "public.other is not watched; watched tables: none"),
        (("tenantcache.tenants", "--key", "k"), "name a table of yours"),
    ],
)
def test_a_fault_is_one_message(run: Run, arguments: tuple[str, ...], told: str) -> None:
    status, out, err = run("watch-table", *arguments)
    assert (status, out) == (2, "")
    assert told in err
    assert "Traceback" not in err


def test_a_role_that_does_not_own_the_table_is_told(
    run: Run, sql: Sql, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql("""
        do $$ begin create role watcher login; exception when duplicate_object then null; end $$;
        call tenantcache.give_rights('watcher'); grant select on settings to watcher;
    """)
    monkeypatch.setenv("DATABASE_URL", database_url.replace("postgres@", "watcher@"))
    status, _, err = run(*WATCH)
    assert status == 2
    assert "public.settings belongs to another role" in err
    sql("drop owned by watcher")


def test_a_database_without_the_schema_is_told(
    run: Run, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    status, _, err = run(*WATCH)
    assert status == 2
    assert "has no tenantcache schema; run `tenantcache init`" in err
