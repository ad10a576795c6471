"""The index of known hosts at full size: how long it loads, how long it blocks, what it weighs, what a miss costs.

The source is a real Postgres with half as many tenants as hosts, each with a subdomain and a domain of its own. The
engine loads its index as it does in production, while a ticker notes how late the event loop lets it run: that is
how long a request would have waited. The same ticker runs without a load first, because a shared machine is late by
itself.

    python -m benchmarks.host_index
    python -m benchmarks.host_index --hosts 100000

The exit status is 1 if a figure is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from rich.console import Console
from rich.table import Table

from tenantcache import Settings, TenantCache
from tenantcache.devservers import PostgresServer
from tenantcache.schema import install as schema

TICK = 0.001
"""Seconds between two ticks: fine enough for a bound of 20 ms, and a thousandth of one core."""

MISSES = 200_000


@dataclass(frozen=True)
class Figure:
    """`value` and `bound` are in `unit`; without a bound it is shown only."""

    name: str
    value: float
    unit: str
    bound: float | None = None

    @property
    def is_missed(self) -> bool:
        return self.bound is not None and self.value > self.bound


class Ticker:
    """Notes the latest of its ticks, in seconds."""

    def __init__(self) -> None:
        self.latest = 0.0

    async def __aenter__(self) -> Ticker:
        self._task = asyncio.create_task(self._tick())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _tick(self) -> None:
        while True:
            due = time.perf_counter() + TICK
            await asyncio.sleep(TICK)
            self.latest = max(self.latest, time.perf_counter() - due)


async def seed(url: str, tenants: int) -> None:
    """Fill the tables with the triggers off: a million log entries are not what is measured here."""
    connection = await asyncpg.connect(url)
    await schema.install(connection)
    await connection.execute(f"""
        alter table tenantcache.tenants disable trigger all;
        alter table tenantcache.tenant_domains disable trigger all;
        insert into tenantcache.tenants (id, name, subdomain)
            select n, 'Tenant ' || n, 'tenant-' || n from generate_series(1, {tenants}) as n;
        insert into tenantcache.tenant_domains (domain, tenant_id)
            select 'www.customer-' || n || '.example.net', n from generate_series(1, {tenants}) as n;
        analyze tenantcache.tenants, tenantcache.tenant_domains;
    """)
    await connection.close()


async def measure(url: str) -> list[Figure]:
    async with Ticker() as idle:
        await asyncio.sleep(2.0)
    before = peak_memory()
    async with TenantCache(Settings(_environ={}, database_url=url, limits="off")) as cache:
        indexer = cache.indexer
        started = time.perf_counter()
        async with Ticker() as loading:
            while not indexer.is_ready:
                await asyncio.sleep(0.005)
        seconds = time.perf_counter() - started
        grown = peak_memory() - before
        return [
            Figure("hosts", indexer.hosts, ""),
            Figure("load", seconds, "s", 5),
            Figure("longest block of the event loop while loading", loading.latest * 1e3, "ms", 20),
            Figure("longest block without a load", idle.latest * 1e3, "ms"),
            Figure("index", indexer.nbytes / indexer.hosts, "bytes a host", 16),
            Figure("growth of the process at its peak", grown / indexer.hosts, "bytes a host"),
            Figure("miss: a host that is ruled out", _time_of_misses(cache) * 1e9, "ns"),
        ]


def peak_memory() -> int:
    """The most bytes that this process has had in memory; getrusage(2) counts in kB, on macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _time_of_misses(cache: TenantCache) -> float:
    """Seconds to rule one unknown host out. Its string is made beforehand, so that it alone is measured."""
    unknown = [f"subdomain:stranger-{number}" for number in range(MISSES)]
    started = time.perf_counter()
    ruled_out = sum(map(cache.indexer.rules_out, unknown))
    seconds = time.perf_counter() - started
    assert ruled_out == MISSES, f"{MISSES - ruled_out} unknown hosts were not ruled out"
    return seconds / MISSES


def show(figures: list[Figure]) -> None:
    table = Table("figure", "measured", "unit", "at most")
    for column in (1, 3):
        table.columns[column].justify = "right"
    for figure in figures:
        style = "red" if figure.is_missed else None
        bound = "" if figure.bound is None else f"{figure.bound:g}"
        table.add_row(
            figure.name,
            f"{figure.value:,.10g}" if not figure.unit else f"{figure.value:,.2f}",
            figure.unit,
            bound,
            style=style,
        )
    Console().print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tenantcache-bench-") as directory:
        Path(directory).chmod(0o755)  # Postgres may run as another account
        with PostgresServer(Path(directory) / "postgres", options={"max_wal_size": "4GB"}) as server:
            asyncio.run(seed(server.url, options.hosts // 2))
            figures = asyncio.run(measure(server.url))
    show(figures)
    return any(figure.is_missed for figure in figures)


if __name__ == "__main__":
    raise SystemExit(main())
