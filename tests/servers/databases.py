"""Fresh databases on one Postgres server, each a copy of one that was made before."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import asyncpg

from tenantcache.devservers import PostgresServer
from tenantcache.schema import install as schema

TEMPLATE = "tenantcache_template"
"""Has the schema."""
EMPTY = "template1"


def make_templates(server: PostgresServer) -> None:
    """Make what `Databases` copies."""

    async def install(connection: asyncpg.Connection) -> None:
        await schema.install(connection)
        # A quarter of the files goes, and an eighth of the bytes: a copy costs as much less.
        await connection.execute("VACUUM FULL")

    async def work() -> None:
        await _on(server.url, lambda connection: connection.execute(f"CREATE DATABASE {TEMPLATE}"))
        await _on(server.database_url(TEMPLATE), install)
        await _on(server.database_url(EMPTY), lambda connection: connection.execute("VACUUM FULL"))

    asyncio.run(work())


class Databases:
    """Makes and drops databases for tests, sync or async ones alike, over one connection of its own.

    The connection lives on a loop that is never made current, so that it leaves the tests' loops alone.
    """

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._loop = asyncio.new_event_loop()
        self._numbers = itertools.count(1)
        self._originals: dict[str, str] = {}
        self._admin: asyncpg.Connection = self._loop.run_until_complete(asyncpg.connect(server.url))

    def create(self, template: str = TEMPLATE) -> str:
        """Make a database and return its URL."""
        name = f"test_{next(self._numbers)}"
        # The other strategy writes each page into the log as well: twice the time for a database as small as these.
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return self._server.database_url(name)

    def create_like(self, kind: str, fill: Callable[[asyncpg.Connection], Awaitable[None]]) -> str:
        """Make a copy of an empty database that `fill` has filled, at the first call for this kind; return its URL."""
        if kind not in self._originals:
            original = self.create(EMPTY)
            self._loop.run_until_complete(_on(original, fill))
            self._originals[kind] = original.rpartition("/")[2]
        return self.create(self._originals[kind])

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
