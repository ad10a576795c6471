"""The fixtures of seven applications stand on a real Postgres by themselves; tenantcache takes no part."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import asyncpg
import pytest

from tests.adoption.applications import (
    Application,
    Found,
    Migration,
    Write,
    calcom,
    chatwoot,
    dispatch,
    documenso,
    formbricks,
    polar,
    zulip,
)
from tests.adoption.loading import load
from tests.servers.databases import Databases

pytestmark = pytest.mark.slow

APPLICATIONS = [
    polar.APPLICATION,
    documenso.APPLICATION,
    formbricks.APPLICATION,
    formbricks.BEFORE_BILLING,
    dispatch.APPLICATION,
    chatwoot.APPLICATION,
    zulip.APPLICATION,
    zulip.WITH_OLD_NAMES,
    calcom.APPLICATION,
]

COLUMNS = {"id", "name", "subdomain", "subdomains", "domains", "primary_domain", "old_names", "status", "plan"}
COLUMNS |= {"limit_per_minute", "limit_per_day", "time_zone", "attributes", "slug", "slugs"}
LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")


@pytest.fixture
async def db(loaded_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(loaded_url)
    yield connection
    await connection.close()


@pytest.fixture(scope="session")
def shared_urls() -> dict[str, str]:
    """By application the URL of the database that `shared` uses."""
    return {}


@pytest.fixture
def shared_url(databases: Databases, shared_urls: dict[str, str], application: Application) -> str:
    if application.name not in shared_urls:
        fill = functools.partial(load, application=application)
        shared_urls[application.name] = databases.create_like(application.name, fill)
    return shared_urls[application.name]


@pytest.fixture
async def shared(shared_url: str) -> AsyncIterator[asyncpg.Connection]:
    """In a transaction that is rolled back, so that all tests of an application have one database."""
    connection = await asyncpg.connect(shared_url)
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


def fields_of(kind: str, row: Mapping[str, Any]) -> dict[str, object]:
    """A tenant's fields as a look-up shows them."""
    fields = {name: value for name, value in row.items() if name not in ("slug", "slugs", "old_names")}
    fields["id"] = str(row["id"])
    fields["status"] = row.get("status") or "active"
    fields["attributes"] = json.loads(row["attributes"]) if row.get("attributes") else {}
    if kind:
        fields["kind"] = kind
    return fields


def names_of(kind: str, row: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """A row's aliases, and whether each is an earlier name."""
    within = f"{kind}:" if kind else ""
    yield f"{within}id:{row['id']}", False
    for label in [row.get("subdomain"), *(row.get("subdomains") or ())]:
        if label == "" or (label and LABEL.fullmatch(label.lower())):
            yield f"subdomain:{label.lower()}", False
    for domain in [row.get("primary_domain"), *(row.get("domains") or ())]:
        if domain:
            yield f"domain:{domain.lower()}", False
    for slug in [row.get("slug"), *(row.get("slugs") or ())]:
        if slug:
            yield f"{within}slug:{slug}", False
    for name in row.get("old_names") or ():
        if name:
            yield ("domain:" if "." in name else "subdomain:") + name.lower(), True


def look_up(found: Mapping[str, list[Mapping[str, Any]]]) -> dict[str, dict[str, object]]:
    """The rows of each kind -> alias -> fields. A name that several active rows have leads to none of them."""
    claims: dict[str, list[tuple[tuple[bool, bool], dict[str, object]]]] = {}
    for kind, rows in found.items():
        for row in rows:
            fields = fields_of(kind, row)
            for alias, moved in dict(reversed(list(names_of(kind, row)))).items():
                rank = (moved, fields["status"] != "active")
                claims.setdefault(alias, []).append((rank, fields | {"moved": True} if moved else fields))
    best = {alias: min(rank for rank, _ in each) for alias, each in claims.items()}
    owners = {alias: [fields for rank, fields in each if rank == best[alias]] for alias, each in claims.items()}
    return {alias: each[0] for alias, each in owners.items() if len(each) == 1}


async def read(db: asyncpg.Connection, application: Application) -> dict[str, list[Mapping[str, Any]]]:
    return {query.kind: [dict(row) for row in await db.fetch(query.sql)] for query in application.queries}


def assert_gives(given: Mapping[str, Mapping[str, object]], expected: Found) -> None:
    for alias, fields in expected.items():
        if fields is None:
            assert alias not in given
            continue
        assert alias in given, f"{alias} leads to no tenant"
        shown = dict(given[alias])
        assert shown.get("moved") == fields.get("moved"), alias
        attributes = shown["attributes"]
        assert isinstance(attributes, dict)
        if "attributes" in fields:
            wanted = fields["attributes"]
            assert isinstance(wanted, dict)
            shown["attributes"] = {name: attributes.get(name, "not there") for name in wanted}
        assert {name: shown.get(name) for name in fields} == dict(fields), alias


async def migrate(db: asyncpg.Connection, migration: Migration) -> None:
    if not migration.atomic:
        for step in migration.steps:
            await db.execute(step)
        return
    async with db.transaction():
        for step in migration.steps:
            await db.execute(step)


def named(application: Application) -> str:
    return application.name


@pytest.mark.parametrize("application", APPLICATIONS, ids=named)
async def test_the_query_gives_what_the_rows_say(db: asyncpg.Connection, application: Application) -> None:
    assert_gives(look_up(await read(db, application)), application.found)


@pytest.mark.parametrize("application", APPLICATIONS, ids=named)
async def test_the_columns_have_our_names(db: asyncpg.Connection, application: Application) -> None:
    kinds = [query.kind for query in application.queries]
    assert len(set(kinds)) == len(kinds)
    for query in application.queries:
        statement = await db.prepare(query.sql)
        types = {attribute.name: attribute.type.name for attribute in statement.get_attributes()}
        assert {"id"} <= types.keys() <= COLUMNS
        assert types.get("attributes", "jsonb") in ("json", "jsonb")
        for name in types.keys() & {"subdomains", "domains", "old_names", "slugs"}:
            assert types[name] == "text[]"
        for name in types.keys() & {"limit_per_minute", "limit_per_day"}:
            assert types[name] in ("int2", "int4", "int8", "numeric")
        for table, column in query.watch.items():
            assert column == "*" or await db.fetchval(
                "select true from pg_attribute where attrelid = $1::text::regclass and attname = $2", table, column
            )


@pytest.mark.parametrize(
    ("application", "write"),
    [
        pytest.param(application, write, id=f"{application.name}: {write.what}")
        for application in APPLICATIONS
        for write in application.writes
    ],
)
async def test_a_write_changes_these_tenants_alone(
    shared: asyncpg.Connection, application: Application, write: Write
) -> None:
    before = await read(shared, application)
    await shared.execute(write.sql)
    await shared.execute("set constraints all immediate")
    after = await read(shared, application)
    assert_gives(look_up(after), write.becomes)
    then, now = rows_by_tenant(before), rows_by_tenant(after)
    assert {tenant for tenant in then.keys() | now.keys() if then.get(tenant) != now.get(tenant)} == write.tenant_ids


@pytest.mark.parametrize("application", APPLICATIONS, ids=named)
async def test_each_table_that_is_read_is_written_to(db: asyncpg.Connection, application: Application) -> None:
    """Once so that a tenant changes by it, and once by an update, unless it is called static."""
    unwritten = {}
    for number, query in enumerate(application.queries):
        await db.execute(f"create view pg_temp.read_{number} as {query.sql}")
        for table in await db.fetch(
            """select distinct d.refobjid::regclass::text as name from pg_depend d join pg_rewrite r on r.oid = d.objid
            where r.ev_class = $1::text::regclass and d.refclassid = 'pg_class'::regclass
                and d.refobjid <> r.ev_class""",
            f"pg_temp.read_{number}",
        ):
            unwritten[table["name"]] = {"a change of a tenant", "an update"}
        for table in query.static:
            unwritten.pop(table.removeprefix("public."), None)
    for write in application.writes:
        transaction = db.transaction()
        await transaction.start()
        await db.execute(write.sql)
        for table in await db.fetch(
            """select relid::regclass::text as name, n_tup_upd > 0 as updated from pg_stat_xact_user_tables
            where n_tup_ins + n_tup_upd + n_tup_del > 0"""
        ):
            needs = unwritten.get(table["name"], set())
            needs -= {"a change of a tenant"} if write.tenant_ids else set()
            needs -= {"an update"} if table["updated"] else set()
        await transaction.rollback()
    assert {table: needs for table, needs in unwritten.items() if needs} == {}


def rows_by_tenant(found: Mapping[str, list[Mapping[str, Any]]]) -> dict[str, Mapping[str, Any]]:
    """`kind:id`, or the id alone in the kind "", -> the row."""
    return {f"{kind}:{row['id']}" if kind else str(row["id"]): row for kind, rows in found.items() for row in rows}


@pytest.mark.parametrize(
    ("application", "migration"),
    [
        pytest.param(application, migration, id=f"{application.name}: {migration.what}")
        for application in APPLICATIONS
        for migration in application.migrations
    ],
)
async def test_a_migration_runs_and_leaves_the_query_or_breaks_it(
    db: asyncpg.Connection, application: Application, migration: Migration
) -> None:
    await migrate(db, migration)
    if migration.breaks:
        with pytest.raises((asyncpg.UndefinedColumnError, asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError)):
            await read(db, application)
        assert migration.becomes == {}
    else:
        assert_gives(look_up(await read(db, application)), migration.becomes)


@pytest.mark.parametrize("application", APPLICATIONS, ids=named)
def test_the_fixture_is_whole(application: Application) -> None:
    assert 4 <= len(application.writes) <= 16
    assert any(not write.tenant_ids for write in application.writes)
    assert any(migration.breaks for migration in application.migrations)
    assert any(not migration.breaks for migration in application.migrations)
    assert len({write.what for write in application.writes}) == len(application.writes)
