"""What the log of one process says of an outage of Redis and of one of Postgres: `python -m benchmarks.outage_log`.

Real servers, which are stopped and started again; some four minutes. Writes the lines into docs/outages.md.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import asyncpg

from benchmarks.pages import fill
from tenantcache import Settings, TenantCache, TenantCacheError
from tenantcache.devservers import PostgresServer, RedisServer
from tenantcache.schema import install as schema

PAGE = Path(__file__).parents[1] / "docs" / "outages.md"
TENANTS = 50


class Lines(logging.Handler):
    """Each record as one line, with the seconds since the stop that it tells of."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []
        self._since = time.monotonic()

    def begin(self, what: str) -> None:
        self._since = time.monotonic()
        self.lines.append(f"--- {what}")

    def emit(self, record: logging.LogRecord) -> None:
        seconds = time.monotonic() - self._since
        self.lines.append(f"{seconds:6.1f} s  {record.levelname:7}  {record.getMessage()}")


async def main() -> None:
    lines = Lines()
    logger = logging.getLogger("tenantcache")
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)  # Postgres runs as another account if this one is root
        with PostgresServer(Path(directory) / "postgres", durable=True) as postgres, RedisServer() as redis:
            await _seed(postgres.url)
            lines.begin("start")
            async with TenantCache(Settings(database_url=postgres.url, redis_url=redis.url)) as cache:
                traffic = asyncio.create_task(_requests(cache))
                await asyncio.sleep(10)
                lines.begin("Redis is stopped")
                redis.stop()
                await asyncio.sleep(40)
                lines.begin("Redis is started again")
                redis.start()
                await asyncio.sleep(130)
                lines.begin("Postgres is stopped")
                postgres.stop()
                await asyncio.sleep(15)
                lines.begin("Postgres is started again")
                postgres.start()
                await asyncio.sleep(10)
                traffic.cancel()
                logger.removeHandler(lines)
    text = "\n".join(lines.lines)
    print(text)
    fill(PAGE, "bench", f"```\n{text}\n```")


async def _seed(url: str) -> None:
    connection = await asyncpg.connect(url)
    await schema.install(connection)
    await connection.executemany(
        "insert into tenantcache.tenants (id, name, subdomain) values ($1, $1, $1)",
        [(f"tenant-{number}",) for number in range(TENANTS)],
    )
    await connection.close()


async def _requests(cache: TenantCache) -> None:
    """Twenty a second."""
    number = 0
    while True:
        number += 1
        with suppress(TenantCacheError):
            tenant = await cache.resolve(f"tenant-{number % TENANTS}.localhost")
            if tenant is not None:
                await cache.check(tenant)
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(main())
