"""How often a statement calls a function of ours: once, however many rows it returns, on a real Postgres."""

from __future__ import annotations

import asyncpg
import pytest

from tenantcache.freshness.core.logmark import LogMark
from tenantcache.stores.changelog import PostgresLog
from tenantcache.stores.postgres import PostgresTenants

ENTRIES = 300


@pytest.fixture
async def url(database_url: str) -> str:
    """A database of which every session counts its calls."""
    connection = await asyncpg.connect(database_url)
    name = await connection.fetchval("select current_database()")
    await connection.execute(f"alter database {name} set track_functions = 'all'")
    await connection.execute(
        "insert into tenantcache.tenants (id, name, subdomain)"
        f" select n, n, 't' || n from generate_series(1, {ENTRIES}) n"
    )
    await connection.fetch("select tenantcache.publish(1000)")
    await connection.close()
    return database_url


async def calls(url: str) -> dict[str, int]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("select funcname::text, calls from pg_stat_user_functions")
    await connection.close()
    return dict(rows)


async def test_a_pull_asks_once_whether_the_log_can_be_relied_on(url: str, patience: None) -> None:
    log = PostgresLog(url)
    await log.open(lambda *_, **__: None)
    before = await calls(url)
    pull = await log.pull(LogMark(0, 0), 50_000, 1000)
    await log.close()  # a session tells of its calls when it ends
    assert len(pull.entries) > ENTRIES
    after = await calls(url)
    made = {name: after.get(name, 0) - before.get(name, 0) for name in ("fault", "covers", "epoch", "pending")}
    assert made["fault"] == 1
    assert max(made.values()) == 1  # PostgreSQL counts none that it has inlined


async def test_a_look_up_of_many_asks_once_for_the_head(url: str, patience: None) -> None:
    tenants = PostgresTenants(url)
    await tenants.open()
    before = await calls(url)
    snapshot = await tenants.read([f"subdomain:t{n}" for n in range(1, ENTRIES + 1)])
    await tenants.close()
    assert all(snapshot.rows.values())
    after = await calls(url)
    assert after.get("epoch", 0) - before.get("epoch", 0) <= 1
    assert after.get("pending", 0) - before.get("pending", 0) <= 1
