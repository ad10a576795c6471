"""Counting limits in Postgres beside counting them in Redis: the same fleets, on real servers, from a cold start.

Commands, rows and WAL are the servers' own counts, with the stops. WAL is of everything that the fleet wrote: what it
writes while Redis counts (which process is there, what Redis has granted of a day) is in the line above. A take is one
call of the counter store: one statement in Postgres, or commands to Redis. Its latency is measured in the process.

    python -m benchmarks.counting_in_postgres                # all fleets, some minutes; prints the table
    python -m benchmarks.counting_in_postgres --write        # and writes it into docs/limits.md
    python -m benchmarks.counting_in_postgres startup --seconds 20
"""

from __future__ import annotations

import argparse
import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks import pages
from benchmarks.bench import fleet
from benchmarks.bench.commands import COUNTING
from benchmarks.bench.stats import percentile
from benchmarks.bench.stores import Stores

PAGE = Path(__file__).parents[1] / "docs" / "limits.md"

STORES = ("redis", "postgres")


@dataclass(frozen=True)
class Fleet:
    """`rate` in requests a second, of all processes. Tenants are drawn by Zipf(1.0)."""

    tenants: int
    rate: float
    processes: int
    seconds: float


FLEETS = {
    "hobby": Fleet(100, 1.0, 2, 120.0),
    "start-up": Fleet(2_000, 50.0, 8, 120.0),
    "busy": Fleet(100, 1_000.0, 4, 60.0),
}


async def _written(url: str) -> tuple[int, int]:
    """Bytes of WAL, and rows written to the counters' table, since the server began."""
    connection = await asyncpg.connect(url)
    try:
        wal = await connection.fetchval("select pg_current_wal_lsn() - '0/0'::pg_lsn")
        rows = await connection.fetchval("""
            select n_tup_ins + n_tup_upd from pg_stat_user_tables
            where schemaname = 'tenantcache' and relname = 'counters'
        """)
    finally:
        await connection.close()
    return int(wal), int(rows or 0)


def measure(stores: Stores, one: Fleet, counters: str, seconds: float) -> dict[str, Any]:
    stores.meter.flush()
    wal, rows = asyncio.run(_written(stores.postgres.url))
    found = fleet.run(
        stores.env(per_minute=600, per_day=100_000),
        processes=one.processes,
        seconds=seconds,
        tenants=one.tenants,
        pattern="zipf",
        rate=one.rate,
        settings={"counters": counters, "usage_interval": 0},
    )
    wal_after, rows_after = asyncio.run(_written(stores.postgres.url))
    commands = stores.meter.by_command()
    latencies = [latency for member in found for latency in member["debits"]]
    answers = fleet.statuses(found)
    return {
        "answers": answers,
        "requests": sum(answers.values()),
        "takes": len(latencies),
        "commands": sum(commands.get(name, 0) for name in COUNTING),
        "rows": rows_after - rows,
        "wal": wal_after - wal,
        "p50": percentile(latencies, 50) if latencies else 0.0,
        "p99": percentile(latencies, 99) if latencies else 0.0,
    }


def table(results: dict[tuple[str, str], dict[str, Any]], seconds: float | None) -> str:
    head = [
        *("fleet", "counters in", "takes a request", "billed commands a request", "rows a second"),
        *("WAL bytes a request", "a take, p50 and p99", "answers"),
    ]
    cells = []
    for (name, counters), found in results.items():
        one, requests = FLEETS[name], max(1, found["requests"])
        answers = ", ".join(f"{status}: {count:,}" for status, count in sorted(found["answers"].items()))
        cells.append(
            [
                f"{name}: {one.tenants:,} tenants, {one.rate:,g}/s, {one.processes} processes",
                counters,
                f"{found['takes'] / requests:.3f}",
                f"{found['commands'] / requests:.4f}",
                f"{found['rows'] / (seconds or one.seconds):.1f}",
                f"{found['wal'] / requests:,.0f}",
                f"{found['p50'] * 1e3:.1f}, {found['p99'] * 1e3:.1f} ms",
                answers,
            ]
        )
    return pages.table(head, cells, left=2, last=1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fleets", nargs="*", metavar="fleet", help=f"{', '.join(FLEETS)}; default: all")
    parser.add_argument("--seconds", type=float, help="in place of the fleet's")
    parser.add_argument("--write", action="store_true", help="write the table into docs/limits.md")
    options = parser.parse_args()
    results: dict[tuple[str, str], dict[str, Any]] = {}
    faults: list[str] = []
    for name in options.fleets or FLEETS:
        for counters in STORES:
            one = FLEETS[name]
            # New servers for each: a fleet that has left Redis would go back only after a while.
            with Stores(one.tenants) as stores:
                found = results[name, counters] = measure(stores, one, counters, options.seconds or one.seconds)
            faults += fleet.faults(f"{name}, counters in {counters}", found["answers"])
    written = table(results, options.seconds)
    print(written, f"Load of the machine: {os.getloadavg()[0]:.0f}.", sep="\n\n")
    for fault in faults:
        print(f"FAILED: {fault}")
    if options.write:
        pages.fill(PAGE, "counters", written)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
