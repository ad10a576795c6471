"""Which of several adopted tenants a name leads to, on a real Postgres and in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import pytest

from tenantcache.schema.adopt import Adoption, install, prepare
from tenantcache.stores.postgres import PostgresTenants
from tenantcache.testing import FakeClock
from tenantcache.testing.database import MemoryDatabase
from tests.fakes import row
from tests.servers.publishing import publish

TABLE = """
    create table team (
        id text primary key, subdomain text, status text,
        domains text[], old_names text[], slugs text[], old_slugs text[]
    )
"""
QUERY = "select id, subdomain, status, domains, old_names, slugs, old_slugs from team"

TEAMS: list[dict[str, Any]] = [
    {"id": "1", "subdomain": "one", "domains": ["one.io"], "old_names": ["alt", "alt.io"], "slugs": ["uno"]},
    {"id": "2", "subdomain": "alt", "status": "suspended"},
    {"id": "3", "old_slugs": ["twice", "uno"]},
    {"id": "4", "old_slugs": ["twice", "once"]},
    {"id": "5", "subdomain": "shared", "status": "suspended"},
    {"id": "6", "subdomain": "shared", "status": "maintenance"},
    {"id": "7", "slugs": ["same"]},
    {"id": "8", "slugs": ["same"]},
    {"id": "9", "slugs": ["alt"]},
    {"id": "10", "subdomain": "dead", "status": "deleted"},
]
LEADS_TO = {
    "id:team:1": "team:1",
    "id:1": None,
    "subdomain:one": "team:1",
    "domain:one.io": "team:1",
    "name:team:uno": "team:1",  # 3 had that name before
    "name:team:one": "team:1",  # a subdomain is a name of its kind as well
    "name:uno": None,
    "name:other:uno": None,
    "domain:alt.io": "team:1",  # an old name leads on, and with a dot it is a domain
    "subdomain:alt.io": None,
    "subdomain:alt": "team:2",  # though suspended: it has the name now
    "name:team:alt": "team:9",  # both have it now, and 9 is active
    "name:team:once": "team:4",
    "name:team:twice": None,  # two had it before
    "subdomain:shared": "team:6",  # maintenance comes before suspended
    "name:team:same": None,  # two have it now
    "subdomain:same": None,
    "subdomain:dead": "team:10",
}
ALIASES = {
    *("subdomain:one", "domain:one.io", "domain:alt.io", "subdomain:alt", "subdomain:shared", "subdomain:dead"),
    *(f"name:team:{name}" for name in ("one", "uno", "alt", "alt.io", "twice", "once", "shared", "same", "dead")),
}

Making = AbstractAsyncContextManager[MemoryDatabase] | AbstractAsyncContextManager[PostgresTenants]


@asynccontextmanager
async def in_memory() -> AsyncIterator[MemoryDatabase]:
    database = MemoryDatabase(FakeClock().server_time)
    for team in TEAMS:
        adopted = {"kind": "team", "names": team.get("slugs", []), "old_slugs": team.get("old_slugs", [])}
        columns = {name: value for name, value in team.items() if name not in ("id", "slugs", "old_slugs")}
        database.put(row(f"team:{team['id']}", **{"subdomain": None, "old_names": [], **columns, **adopted}))
    yield database


@asynccontextmanager
async def in_postgres(url: str) -> AsyncIterator[PostgresTenants]:
    connection = await asyncpg.connect(url)
    await connection.execute(TABLE)
    names = ("id", "subdomain", "status", "domains", "old_names", "slugs", "old_slugs")
    records = [[team.get(name) for name in names] for team in TEAMS]
    await connection.copy_records_to_table("team", records=records, columns=names)
    await install(connection, await prepare(connection, Adoption(QUERY, "team")))
    await publish(connection)
    store = PostgresTenants(url, timeout=5.0)
    await store.open()
    yield store
    await store.close()
    await connection.close()


@pytest.fixture(params=["memory", "postgres"])
def making(request: pytest.FixtureRequest) -> Making:
    return in_memory() if request.param == "memory" else in_postgres(request.getfixturevalue("empty_database_url"))


async def test_a_name_leads_to_the_tenant_that_has_it_now_and_is_active(making: Making) -> None:
    async with making as store:
        found = (await store.read(list(LEADS_TO))).rows
        async with store.stream_aliases(1000) as stream:
            aliases = {alias async for batch in stream.batches for alias in batch}
    assert {alias: tenant and tenant["id"] for alias, tenant in found.items()} == LEADS_TO
    assert aliases == ALIASES
