"""The applications' tables and rows, and their adoption."""

from __future__ import annotations

import asyncpg

from tenantcache.schema.adopt import Adoption, install, prepare
from tests.adoption.applications import Application


async def load(db: asyncpg.Connection, application: Application) -> None:
    await db.execute(application.schema)
    await db.execute(application.rows)


async def adopt(db: asyncpg.Connection, application: Application) -> None:
    for query in application.queries:
        adoption = Adoption(query.sql, query.kind, query.watch, query.static)
        assert await install(db, await prepare(db, adoption), beside=bool(query.kind))
    assert await db.fetchval("select tenantcache.fault()") is None


async def load_and_adopt(db: asyncpg.Connection, application: Application) -> None:
    await load(db, application)
    await adopt(db, application)
