"""Whatever is committed turns up in the log: a change that left no entry behind would never be told from one undone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest


async def publish(db: asyncpg.Connection) -> list[tuple[str, list[str]]]:
    """Everything; return the entries that it has written."""
    before = await db.fetchval("select max(seq) from tenantcache.change_log")
    assert await db.fetchval("select tenantcache.publish(100)") == "published"
    rows = await db.fetch("select tenant_id, hosts from tenantcache.change_log where seq > $1 order by seq", before)
    return [(row["tenant_id"], row["hosts"]) for row in rows]


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def test_a_change_that_leads_to_nobody_leaves_an_entry(db: asyncpg.Connection) -> None:
    await db.execute("""
        insert into tenantcache.watches values (99, 1, 'tenantcache.usage'::regclass, 'usage');
        create function tenantcache.watched_99(keys text[]) returns setof text language sql
            as 'select null where false'
    """)
    await db.execute("insert into tenantcache.outbox (watch, key) values (99, 'nothing')")
    assert await publish(db) == [("", [])]


async def test_a_tenant_is_named_though_its_only_name_is_too_long_for_a_host(db: asyncpg.Connection) -> None:
    await db.execute(
        "insert into tenantcache.outbox (key, hosts) values ('t1', array['subdomain:' || repeat('x', 400)])"
    )
    assert await publish(db) == [("t1", [])]
