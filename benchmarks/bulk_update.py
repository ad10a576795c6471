"""One statement that changes very many tenants: what it costs the writer, other writers, and a process that follows.

A process with an index and a full memory is asked all the time, another writer changes one other tenant ten times a
second, and a ticker notes how late the event loop lets it run. Then one UPDATE changes every tenant but that one.

    python -m benchmarks.bulk_update
    python -m benchmarks.bulk_update --tenants 20000

The exit status is 1 if a figure is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from benchmarks.host_index import Figure, Ticker, show
from tenantcache import Settings, TenantCache
from tenantcache.devservers import PostgresServer
from tenantcache.schema import install as schema

MAX_STALENESS = 3.0
HELD = 2_000
"""Tenants in memory when it begins."""

MAX_BLOCKED = 0.05
"""Seconds for which the event loop may be stopped."""


@dataclass
class Outcome:
    """Times are in seconds. `oldest` is how long after the commit was acknowledged an answer was asked for that did not
    have it; `refused` counts requests that got no answer."""

    tenants: int
    commit: float = 0.0
    other_writer: float = 0.0
    agreed: float = 0.0
    blocked: float = 0.0
    blocked_before: float = 0.0
    oldest: float = 0.0
    answers: int = 0
    refused: int = 0
    latencies: list[float] = field(default_factory=list)

    @property
    def longest_request(self) -> float:
        return max(self.latencies, default=0.0)

    def figures(self) -> list[Figure]:
        return [
            Figure("the UPDATE with its commit", self.commit, "s"),
            Figure("another writer waited at most", self.other_writer, "s"),
            Figure("until the process had followed, after the commit", self.agreed, "s", MAX_STALENESS),
            Figure("event loop stopped at most, before", self.blocked_before * 1e3, "ms"),
            Figure("event loop stopped at most, meanwhile", self.blocked * 1e3, "ms", MAX_BLOCKED * 1e3),
            Figure("oldest answer", self.oldest * 1e3, "ms", MAX_STALENESS * 1e3),
            Figure("answers", self.answers, ""),
            Figure("requests that were refused", self.refused, "", 0),
            Figure("longest request", self.longest_request * 1e3, "ms"),
        ]


async def seed(connection: asyncpg.Connection, tenants: int) -> None:
    await connection.execute("alter table tenantcache.tenants disable trigger all")
    await connection.execute(
        "insert into tenantcache.tenants (id, name, subdomain, plan)"
        " select n, 'Tenant ' || n, 't' || n, 'old' from generate_series(0, $1) n",
        tenants,
        timeout=120,
    )
    for trigger in ("written", "changed", "truncated"):
        await connection.execute(f"alter table tenantcache.tenants enable always trigger tenantcache_{trigger}")
    await schema.install(connection)  # what was switched off and on again counts as another trigger
    await connection.execute("vacuum analyze tenantcache.tenants", timeout=120)


async def measure(url: str, tenants: int, *, afterwards: float = 3.0) -> Outcome:
    """Run it on the empty database of `url`, which has the schema, and go on asking for `afterwards` seconds."""
    outcome = Outcome(tenants)
    connections = [await asyncpg.connect(url) for _ in range(2)]
    bulk, other = connections
    await seed(bulk, tenants)
    settings = Settings(
        _environ={}, database_url=url, base_domains=["example.com"], limits="off", memory_max_tenants=2 * HELD
    )
    async with TenantCache(settings) as cache:
        for number in range(1, min(HELD, tenants) + 1):
            await cache.resolve(f"t{number}.example.com")
        while not cache.indexer.is_ready:
            await asyncio.sleep(0.05)
        async with Ticker() as ticker:
            await asyncio.sleep(0.5)
        outcome.blocked_before = ticker.latest
        traffic = _Traffic(cache, other, outcome)
        async with Ticker() as ticker:
            tasks = [asyncio.create_task(work) for work in (traffic.read(), traffic.write())]
            await asyncio.sleep(0.3)
            started = time.monotonic()
            await bulk.execute("update tenantcache.tenants set plan = 'new' where id <> '0'", timeout=300)
            traffic.committed = time.monotonic()
            while await bulk.fetchval("select tenantcache.pending()"):
                await asyncio.sleep(0.01)
            newest = await bulk.fetchval("select max(seq) from tenantcache.change_log")
            while cache.freshness.applied < newest:
                await asyncio.sleep(0.001)
            outcome.agreed = time.monotonic() - traffic.committed
            await asyncio.sleep(afterwards)  # the index is loaded again meanwhile, and what was dropped is read
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        outcome.commit = traffic.committed - started
        outcome.blocked = ticker.latest
    for connection in connections:
        await connection.close()
    return outcome


class _Traffic:
    def __init__(self, cache: TenantCache, connection: asyncpg.Connection, outcome: Outcome) -> None:
        self._cache = cache
        self._connection = connection
        self._outcome = outcome
        self.committed = float("inf")

    async def read(self) -> None:
        rng = random.Random(1)
        while True:
            number = rng.randint(1, min(HELD, self._outcome.tenants))
            invoked = time.monotonic()
            try:
                tenant = await self._cache.resolve(f"t{number}.example.com")
            except Exception:
                self._outcome.refused += 1
                continue
            finally:
                self._outcome.latencies.append(time.monotonic() - invoked)
                await asyncio.sleep(0.001)
            self._outcome.answers += 1
            if tenant is None or tenant.plan == "old":
                self._outcome.oldest = max(self._outcome.oldest, invoked - self.committed)

    async def write(self) -> None:
        number = 0
        while True:
            number += 1
            begun = time.monotonic()
            await self._connection.execute("update tenantcache.tenants set name = $1 where id = '0'", f"name {number}")
            self._outcome.other_writer = max(self._outcome.other_writer, time.monotonic() - begun)
            await asyncio.sleep(0.1)


async def run(tenants: int) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="tenantcache-bulk-") as directory:
        Path(directory).chmod(0o755)  # noqa: ASYNC240 - Postgres may run as another account
        with PostgresServer(Path(directory) / "postgres", durable=True) as server:
            connection = await asyncpg.connect(server.url)
            await schema.install(connection)
            await connection.close()
            return await measure(server.url, tenants)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=100_000)
    tenants = parser.parse_args().tenants
    figures = asyncio.run(run(tenants)).figures()
    show(figures)
    return 1 if any(figure.is_missed for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
