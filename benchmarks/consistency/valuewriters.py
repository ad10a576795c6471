"""Writers of what the workers keep as values: rows of two tables, one of which is watched.

Each value is one row, and changes in one way: by the triggers of a watched table, which name its key or its tag, or by
a call to a worker after the commit. A call is repeated until a worker has answered it; only then is the change told.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from random import Random

import asyncpg

from benchmarks.consistency.history import Change, History, Value
from benchmarks.consistency.readers import Client
from benchmarks.consistency.writers import LEAD, LOST, RECONNECT_PAUSE, Announce, Committer
from tenantcache.schema import watching

TENANT = "quiet-0"
PATH = "/health/values/"
QUIET_VALUES = 6

TABLES = """
create table public.watched (name text primary key, tenant_id text, key text, tag text, version integer not null);
create table public.unwatched (name text primary key, tenant_id text, key text, tag text, version integer not null);
"""


class Way(Enum):
    """How workers learn that a value has changed."""

    WATCHED_KEY = "watched-key"
    WATCHED_TAG = "watched-tag"
    INVALIDATED = "invalidate"
    INVALIDATED_TAG = "invalidate-tag"
    SET = "set"

    @property
    def table(self) -> str:
        return "watched" if self in (Way.WATCHED_KEY, Way.WATCHED_TAG) else "unwatched"

    @property
    def names_tag(self) -> bool:
        return self in (Way.WATCHED_TAG, Way.INVALIDATED_TAG)


def tag_of(name: str) -> str:
    return f"of-{name}"


async def install(connection: asyncpg.Connection, history: History) -> None:
    """Make the tables and watch one of them, with values that never change."""
    await connection.execute(TABLES)
    watch = watching.TableWatch(
        "public.watched", tenant="tenant_id", key_columns=("key",), tag_columns=("tag",), only=("version",)
    )
    await watching.install(connection, await watching.prepare(connection, watch))
    for number in range(QUIET_VALUES):
        name = f"quiet-{number}"
        await connection.execute("insert into public.unwatched values ($1, $2, null, null, 0)", name, TENANT)
        history.begin(PATH + name, Value(name, 0))


class ValueWriter(Committer):
    """`clients` make a client for each worker. The rest is as in `Writer`."""

    def __init__(
        self,
        name: str,
        url: str,
        history: History,
        numbers: Iterator[int],
        random: Random,
        announce: Announce,
        clients: Sequence[Callable[[], Client]],
        *,
        pause: float,
    ) -> None:
        super().__init__(url, random, pause=pause)
        self._history = history
        self._numbers = numbers
        self._announce = announce
        self._clients = [client() for client in clients]
        self._versions: dict[Way, int | None] = dict.fromkeys(Way)
        self._names = {way: f"{name}-{way.value}" for way in Way}

    async def begin(self) -> None:
        for way in Way:
            await self._commit(way, next(self._numbers))

    async def commit_next(self) -> None:
        await self._commit(self._random.choice(list(Way)), self._next_version())

    async def close(self) -> None:
        for client in self._clients:
            client.close()
        await super().close()

    def _next_version(self) -> int | None:
        return None if self._random.random() < 0.1 else next(self._numbers)

    async def _commit(self, way: Way, version: int | None) -> None:
        if version == self._versions[way]:
            return  # it is gone already
        name, before = self._names[way], self._versions[way]
        self._announce([PATH + name])
        await asyncio.sleep(LEAD)
        sent = time.monotonic()
        try:
            await self._write(way, version)
        except LOST:
            if await self._read(way) == before:
                return
        teller = await self._tell(way, version)
        change = Change(
            next(self._numbers), sent, time.monotonic(), None if version is None else Value(name, version), teller
        )
        self._history.add(PATH + name, change)
        self._versions[way] = version
        self.commits += 1

    async def _write(self, way: Way, version: int | None) -> None:
        connection, name = await self.connected(), self._names[way]
        if version is None:
            await connection.execute(f"delete from public.{way.table} where name = $1", name)
            return
        key, tag = (None, tag_of(name)) if way.names_tag else (name, None)
        await connection.execute(
            f"insert into public.{way.table} values ($1, $2, $3, $4, $5)"
            " on conflict (name) do update set version = excluded.version",
            *(name, TENANT, key, tag, version),
        )

    async def _tell(self, way: Way, version: int | None) -> int | None:
        """The worker that was told, None if none has to be."""
        if way.table == "watched":
            return None
        what = way.value if version is not None else "invalidate"
        while True:
            client = self._random.choice(self._clients)
            answer = await client.ask(f"{PATH}{self._names[way]}?{what}={version}")
            if answer.status == 200:
                return answer.worker
            await asyncio.sleep(RECONNECT_PAUSE)

    async def _read(self, way: Way) -> int | None:
        while True:
            with contextlib.suppress(*LOST):
                self._connection = None
                connection = await self.connected()
                version: int | None = await connection.fetchval(
                    f"select version from public.{way.table} where name = $1", self._names[way]
                )
                return version
            await asyncio.sleep(RECONNECT_PAUSE)
