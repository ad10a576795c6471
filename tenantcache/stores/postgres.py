"""Postgres: the tenants, read over a small pool.

Every read is one statement, because one statement is one snapshot. The rows and the watermark (the newest log entry)
are true at the same instant. Every copy is judged by that pair later.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
from asyncpg.cursor import CursorFactory
from asyncpg.pool import PoolConnectionProxy

from tenantcache.errors import StoreError
from tenantcache.freshness.log import RESET_NAME
from tenantcache.lookup.core.snapshot import Snapshot
from tenantcache.lookup.sources import AliasStream, RowStream, StreamedRow
from tenantcache.runtime.deadline import PARTS, deadline
from tenantcache.stores.faults import FAULTS, translate_errors
from tenantcache.stores.loghead import HEAD, head_of, mark_of
from tenantcache.stores.rows import RowReader
from tenantcache.tenant import Row

# The function belongs to the tables that are served: for an adopted one it is written for that table's own indexes. The
# planner inlines it, so that own tables are read by the same plan as if its body stood here.
_FIND = "select alias, tenant, attributes, state from tenantcache.find_tenants($1)"

_READ = f"select head.*, found.* from ({HEAD}) as head left join ({_FIND}) as found on true"

_COUNT_ALIASES = f"""
    select head.*, (select count(*) from tenantcache.all_aliases()) as hosts from ({HEAD}) as head
"""

_ALL_ALIASES = "select alias from tenantcache.all_aliases() as alias"

_HAS_MORE = """
    select count(*) > $1::int as more from (select from tenantcache.tenant_ids() limit $1::int + 1) as found
"""

# Usage of a month says who comes often enough to be worth the place. The rows are found slice after slice, in order, so
# the first of them come at once, however many there are.
_RECENT_ROWS = """
    select found.* from (
        select array_agg(id order by place) as ids from (
            select id, row_number() over (order by seen.at desc nulls last) as place
            from tenantcache.tenant_ids() as id left join (
                select tenant_id, max(last_seen_at) as at from tenantcache.usage
                where day > current_date - 30 group by tenant_id
            ) as seen on seen.tenant_id = id
            order by place limit $1
        ) as recent group by (place - 1) / $2 order by min(place)
    ) as slice cross join lateral (
        select f.* from tenantcache.read_tenants(slice.ids) as f order by array_position(slice.ids, f.tenant ->> 'id')
    ) as found
"""

COUNT_TIMEOUT = 10.0
"""Seconds. No request waits for it, and counting a million rows from a cold disk takes some."""


class PostgresTenants:
    """`TenantStore` on a small pool. `timeout` is seconds for one statement, waiting for a connection included."""

    def __init__(self, url: str, *, timeout: float = 1.0, max_connections: int = 4) -> None:
        self._url = url
        self._timeout = timeout
        self._max_connections = max_connections
        self._pool: asyncpg.Pool | None = None
        self._rows = RowReader()
        self.queries: int = 0
        self.server_version: str | None = None
        """Like "18.0"; None before the first connection."""

    async def open(self) -> None:
        async with translate_errors("connecting"):
            self._pool = await asyncpg.create_pool(
                self._url,
                min_size=0,
                max_size=self._max_connections,
                # The driver counts time in which this process did not run.
                timeout=self._timeout * PARTS,
                command_timeout=self._timeout * PARTS,
                # Poolers in transaction mode hand out another server connection for each statement.
                statement_cache_size=0,
                server_settings={"application_name": "tenantcache"},
                init=self._note_version,
            )

    async def _note_version(self, connection: asyncpg.Connection) -> None:
        version = connection.get_server_version()
        self.server_version = f"{version.major}.{version.minor}"

    async def close(self) -> None:
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        try:
            await asyncio.wait_for(pool.close(), self._timeout)
        except FAULTS:
            pool.terminate()

    async def read(self, aliases: Sequence[str]) -> Snapshot:
        records = await self.fetch("looking up tenants", _READ, list(aliases))
        head = head_of(records)
        rows: dict[str, Row | None] = dict.fromkeys(aliases)
        answers = [record for record in records if record["state"] in ("found", "conflict")]
        rows |= {record["alias"]: self._rows.read(record) for record in answers}
        unsure = {record["alias"] for record in records if record["state"] == "unknown"}
        unknown = frozenset(unsure - {record["alias"] for record in answers})
        return Snapshot(mark_of(head), head["epoch"], rows, head["pending"], unknown)

    async def log_change(self, tenant_id: str, aliases: Sequence[str]) -> None:
        await self.fetch("logging a change", "select tenantcache.log_change($1, $2)", tenant_id, list(aliases))

    async def log_reset(self, tenant_id: str) -> None:
        await self.log_change(tenant_id, [RESET_NAME])

    @asynccontextmanager
    async def stream_aliases(self, batch: int) -> AsyncIterator[AliasStream]:
        """Every alias there is, in one snapshot, `batch` at a time."""
        async with self._snapshot("reading all hosts") as connection:
            self.queries += 2
            head = head_of(await connection.fetch(_COUNT_ALIASES, timeout=COUNT_TIMEOUT))
            cursor = connection.cursor(_ALL_ALIASES, timeout=COUNT_TIMEOUT)
            batches = _aliases_of(_in_batches(cursor, batch))
            yield AliasStream(head["hosts"], head["epoch"], mark_of(head), batches, head["pending"])

    @asynccontextmanager
    async def stream_rows(self, batch: int, most: int) -> AsyncIterator[RowStream]:
        """At most `most` tenants, those seen last first, in one snapshot, `batch` at a time."""
        async with self._snapshot("reading tenants ahead") as connection:
            self.queries += 3
            head = head_of(await connection.fetch(HEAD))
            (found,) = await connection.fetch(_HAS_MORE, most, timeout=COUNT_TIMEOUT)
            records = _in_batches(connection.cursor(_RECENT_ROWS, most, batch, timeout=COUNT_TIMEOUT), batch)
            rows = self._rows_of(records)
            yield RowStream(mark_of(head), head["epoch"], rows, head["pending"], found["more"])

    async def _rows_of(self, batches: AsyncIterator[list[asyncpg.Record]]) -> AsyncIterator[list[StreamedRow]]:
        async for records in batches:
            read = ((self._rows.read(record), record["shared"]) for record in records)
            yield [StreamedRow(row, frozenset(shared)) for row, shared in read if row is not None]

    @asynccontextmanager
    async def _snapshot(self, doing: str) -> AsyncIterator[PoolConnectionProxy[asyncpg.Record]]:
        """A connection whose statements all see one snapshot. Raises `StoreError`, also for what is done inside."""
        if self._pool is None:
            raise StoreError("Postgres is not connected")
        async with (
            translate_errors(doing),
            self._pool.acquire(timeout=self._timeout * PARTS) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection

    async def fetch(self, doing: str, query: str, *args: object) -> list[asyncpg.Record]:
        """Run one statement and return its rows. Raises `StoreError` that says what we were `doing`."""
        if self._pool is None:
            raise StoreError("Postgres is not connected")
        self.queries += 1
        async with translate_errors(doing), deadline(self._timeout), self._pool.acquire() as connection:
            try:
                rows: list[asyncpg.Record] = await connection.fetch(query, *args)
            except asyncio.CancelledError:
                # It may be half-open. A polite cancellation would wait for it as long again.
                connection.terminate()
                raise
            return rows


async def _in_batches(cursor: CursorFactory[asyncpg.Record], batch: int) -> AsyncIterator[list[asyncpg.Record]]:
    opened = await cursor
    while records := await opened.fetch(batch):
        yield records


async def _aliases_of(batches: AsyncIterator[list[asyncpg.Record]]) -> AsyncIterator[list[str]]:
    async for records in batches:
        yield [record["alias"] for record in records]
