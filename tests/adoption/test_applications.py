"""Seven applications' tenants on a real Postgres: adopted, looked up, written to as they write, migrated as they
migrated."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any

import asyncpg
import pytest

from tests.adoption.applications import Application, Found, Migration, Write
from tests.adoption.loading import adopt
from tests.adoption.test_applications_fixtures import APPLICATIONS, migrate, named


@pytest.fixture
async def db(adopted_url: str) -> AsyncIterator[asyncpg.Connection]:
    """The application's tables with its rows, adopted."""
    connection = await asyncpg.connect(adopted_url)
    yield connection
    await connection.close()


def ours(alias: str) -> str:
    """A fixture's alias as we write it."""
    parts = alias.split(":", 2)
    if "slug" in parts[:2]:
        kind = parts[0] if parts[0] != "slug" else ""
        return f"name:{kind}:{alias.partition('slug:')[2].lower()}"
    if len(parts) == 3 and parts[1] == "id":
        return f"id:{parts[0]}:{parts[2]}"
    return alias


async def look_up(db: asyncpg.Connection, aliases: Collection[str]) -> dict[str, dict[str, Any] | None]:
    rows = await db.fetch("select * from tenantcache.find_tenants($1)", [ours(alias) for alias in aliases])
    answers: dict[str, dict[str, Any] | None] = {
        row["alias"]: row["tenant"]
        and json.loads(row["tenant"]) | {"attributes": json.loads(row["attributes"] or "{}")}
        for row in rows
    }
    assert all(row["state"] != "unknown" for row in rows), await db.fetchval("select tenantcache.fault()")
    return {alias: answers.get(ours(alias)) for alias in aliases}


def check(found: Mapping[str, dict[str, Any] | None], expected: Found) -> None:
    for alias, fields in expected.items():
        tenant = found[alias]
        if fields is None:
            # A name that no host can be is found by path and header.
            assert tenant is None or ((alias.startswith("subdomain:") and "_" in alias) or not alias.isascii()), alias
            continue
        assert tenant is not None, f"{alias} leads to no tenant"
        kind = tenant["kind"]
        own_id = tenant["id"].removeprefix(f"{kind}:") if kind else tenant["id"]
        shown = tenant | {"id": own_id, "kind": kind}
        for name, value in fields.items():
            if name == "attributes":
                assert isinstance(value, Mapping)
                assert {key: shown["attributes"].get(key, "not there") for key in value} == value, alias
            elif name == "moved":
                assert alias.partition(":")[2] in [*tenant["old_names"], *tenant["old_slugs"]], alias
            else:
                wanted = value.lower() if name == "primary_domain" and isinstance(value, str) else value
                if name == "name" and value is None:
                    wanted = tenant["id"]  # without a name it is called by its id
                assert (shown[name] or None) == wanted, (alias, name)


async def changed(db: asyncpg.Connection) -> set[str | None]:
    """Publish, and return the tenants that the log names from here on."""
    before = await db.fetchval("select max(seq) from tenantcache.change_log")
    while await db.fetchval("select tenantcache.publish(1000)") == "more":
        pass
    rows = await db.fetch("select tenant_id from tenantcache.change_log where seq > $1", before)
    return {row["tenant_id"] for row in rows}


@pytest.mark.parametrize("application", APPLICATIONS, ids=named)
async def test_every_name_leads_to_its_tenant(db: asyncpg.Connection, application: Application) -> None:
    check(await look_up(db, application.found), application.found)


def writes() -> list[Any]:
    return [
        pytest.param(application, write, id=f"{application.name}: {write.what}")
        for application in APPLICATIONS
        for write in application.writes
    ]


@pytest.mark.parametrize(("application", "write"), writes())
async def test_a_write_is_seen(db: asyncpg.Connection, application: Application, write: Write) -> None:
    await db.execute(write.sql)
    if "*" not in application.queries[0].watch.values():
        check(await look_up(db, write.becomes), write.becomes)  # before it is published, too
    named = await changed(db)
    if None in named:  # a table any row of which may concern any tenant
        assert await db.fetchval("select tenantcache.rebuild()")
    else:
        assert named >= write.tenant_ids
    check(await look_up(db, write.becomes), write.becomes)


def migrations() -> list[Any]:
    return [
        pytest.param(application, migration, id=f"{application.name}: {migration.what}")
        for application in APPLICATIONS
        for migration in application.migrations
    ]


@pytest.mark.parametrize(("application", "migration"), migrations())
async def test_a_migration_runs(db: asyncpg.Connection, application: Application, migration: Migration) -> None:
    await migrate(db, migration)
    while await db.fetchval("select tenantcache.publish(1000)") == "more":
        pass
    fault = await db.fetchval("select tenantcache.fault()")
    if fault is not None and fault.startswith("changed") and not migration.breaks:
        assert await db.fetchval("select tenantcache.rebuild()")
        fault = await db.fetchval("select tenantcache.fault()")
    if migration.breaks:
        assert fault is not None
        return
    if fault is not None:  # a table was replaced: its triggers are gone with it
        assert "another table now" in fault or "missing" in fault
        await adopt(db, application)
    check(await look_up(db, migration.becomes), migration.becomes)
