"""Changes get into the log when a process publishes them: here a test is that process."""

from __future__ import annotations

import asyncio

import asyncpg


async def publish(connection: asyncpg.Connection, most: int = 500) -> None:
    """Move into the log what has been committed, all of it."""
    while (state := await connection.fetchval("select tenantcache.publish($1)", most)) != "nothing":
        assert state in ("published", "more", "busy")
        if state == "busy":
            await asyncio.sleep(0.002)
