"""Fresh databases on one Postgres server, each a copy of one that has the schema."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import asyncpg

from tenantcache.devservers import PostgresServer
from tenantcache.schema import install as schema

TEMPLATE = "tenantcache_template"


class Databases:
    """Makes and drops databases for tests, sync or async ones alike, over one connection of its own.

    The connection lives on a loop that is never made current, so that it leaves the tests' loops alone.
    """

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._loop = asyncio.new_event_loop()
        self._numbers = itertools.count(1)
        self._admin: asyncpg.Connection = self._loop.run_until_complete(asyncpg.connect(server.url))
        self.execute(f"CREATE DATABASE {TEMPLATE}")
        self._loop.run_until_complete(_on(server.database_url(TEMPLATE), schema.install))

    def create(self, template: str = TEMPLATE) -> str:
        """Make a database and return its URL."""
        name = f"test_{next(self._numbers)}"
        # The other strategy writes each page into the log as well: twice the time for a database as small as these.
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return self._server.database_url(name)

    def drop(self, url: str) -> None:
        """Drop a database, and end all connections to it."""
        self.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def execute(self, sql: str) -> None:
        self._loop.run_until_complete(self._admin.execute(sql))

    def close(self) -> None:
        self._loop.run_until_complete(self._admin.close())
        self._loop.close()


async def _on(url: str, work: Callable[[asyncpg.Connection], Awaitable[None]]) -> None:
    connection = await asyncpg.connect(url)
    try:
        await work(connection)
    finally:
        await connection.close()
