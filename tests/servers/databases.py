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

    async def work() -> None:
        await _on(server.url, lambda connection: connection.execute(f"CREATE DATABASE {TEMPLATE}"))
        await _on(server.database_url(TEMPLATE), schema.install)
        for template in (TEMPLATE, EMPTY):
            await _on(server.database_url(template), _shrink)
            # The next connection writes a file that spares those of each copy a search through the catalog.
            await _on(server.database_url(template), lambda connection: connection.execute("SELECT 1"))

    asyncio.run(work())


async def _shrink(connection: asyncpg.Connection) -> None:
    """Leave a quarter of the files and a fifth of the bytes out of each copy: holes, and what the catalog explains.

    Tables of ours stay as they are: a table that was vacuumed is known to be empty, and is planned for differently.
    """
    await connection.execute("DELETE FROM pg_description")
    names = await connection.fetchval(
        "SELECT string_agg(oid::regclass::text, ', ') FROM pg_class"
        " WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' AND NOT relisshared"
    )
    await connection.execute(f"VACUUM FULL {names}")


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
