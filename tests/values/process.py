"""A process that reads a value all the time, and writes and invalidates it when it is told to.

Its settings come from the environment. On each line of its input stands what to do, as JSON, and on each line of its
output what came of it. Times are those of CLOCK_MONOTONIC, which all processes share.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from tenantcache import Settings, TenantCache

Read = tuple[float, float, int]
"""When it began and ended, and the version that was answered."""


class Reader:
    def __init__(self, cache: TenantCache, pool: asyncpg.Pool) -> None:
        self.reads: list[Read] = []
        self._cache, self._pool = cache, pool
        self._task: asyncio.Task[None] | None = None

    async def load(self) -> int | None:
        found: int | None = await self._pool.fetchval("select version from public.things where key = 'a'")
        return found

    async def get(self) -> int | None:
        return await self._cache.values.get_or_load("a", self.load, tenant="acme", ttl=3600, tags=["t"])

    async def read(self) -> None:
        while True:
            began = time.monotonic()
            found = await self.get()
            assert found is not None
            if not self.reads or self.reads[-1][2] != found or began - self.reads[-1][1] > 0.001:
                self.reads.append((began, time.monotonic(), found))
            else:  # one line for equal answers in a row
                self.reads[-1] = (began, time.monotonic(), found)
            await asyncio.sleep(0.0002)

    async def start(self) -> None:
        self._task = asyncio.create_task(self.read())

    async def see(self, version: int) -> None:
        """Until it was read, or a newer one."""
        while not self.reads or self.reads[-1][2] < version:
            await asyncio.sleep(0.001)

    async def stop(self) -> list[Read]:
        assert self._task is not None
        self._task.cancel()
        return self.reads

    async def write(self, how: str) -> dict[str, Any]:
        """Commit the next version and tell of it: in one transaction, or by a call after it."""
        values = self._cache.values
        async with self._pool.acquire() as connection, connection.transaction():
            version = await connection.fetchval(
                "update public.things set version = version + 1 where key = 'a' returning version"
            )
            if how == "transaction":
                await connection.execute("select tenantcache.log_change('', array['value:acme:a'])")
        committed = time.monotonic()
        if how == "key":
            await values.invalidate("a", tenant="acme")
        elif how == "tag":
            await values.invalidate(tag="t", tenant="acme")
        elif how == "set":
            await values.set("a", version, tenant="acme", ttl=3600, tags=["t"])
        told = time.monotonic()
        own = None if how == "transaction" else await self.get()
        return {"version": version, "committed": committed, "told": told, "own": own}


async def main() -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    settings = Settings()
    async with (
        asyncpg.create_pool(settings.database_url, min_size=2, max_size=4) as pool,
        TenantCache(settings) as cache,
    ):
        reader = Reader(cache, pool)
        todo: dict[str, Callable[..., Awaitable[Any]]] = {
            "get": reader.get,
            "start": reader.start,
            "see": reader.see,
            "stop": reader.stop,
            "write": reader.write,
        }
        print(json.dumps("ready"), flush=True)
        while line := await lines.readline():
            name, *args = json.loads(line)
            print(json.dumps(await todo[name](*args)), flush=True)


if __name__ == "__main__":
    gc.freeze()  # what was imported is garbage at no time: to look through it takes a fifth of a short process
    asyncio.run(main())
