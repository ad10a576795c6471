"""What adoption costs in the schemas of seven applications: lookups, publishing, reading everything anew, and writers.

    python -m benchmarks.adoption            100,000 tenants each
    python -m benchmarks.adoption --short    1,000, to see that it runs
    python -m benchmarks.adoption --only Zulip

Prints a table for docs/adopting.md, between its `<!-- adoption -->` markers.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from benchmarks.adoption_rows import MANY, Many
from tenantcache.devservers import PostgresServer
from tenantcache.schema.adopt import Adoption, install, prepare
from tenantcache.stores.postgres import _READ as LOOK_UP
from tests.adoption.applications import Application, calcom, chatwoot, dispatch, documenso, formbricks, polar, zulip

APPLICATIONS = [
    one.APPLICATION for one in (polar, documenso, formbricks, dispatch, chatwoot, zulip, calcom)
]  # fmt: skip
PUBLISHED_AT_ONCE = 500
VERIFIED_AT_ONCE = 200


@dataclass
class Cost:
    """Times in milliseconds; `writers`: commits a second without us and with us, by table."""

    application: str
    host: list[float] = field(default_factory=list)
    id: list[float] = field(default_factory=list)
    unknown: list[float] = field(default_factory=list)
    buffers: int = 0
    publish_one: float = 0.0
    publish_many: float = 0.0
    everything: float = 0.0
    verify: float = 0.0
    misplaced: float = 0.0
    writers: dict[str, tuple[float, float]] = field(default_factory=dict)

    def row(self) -> str:
        writers = [f"{with_us / without:.0%}" for without, with_us in self.writers.values() if without]
        cells = [
            self.application,
            *(_percentiles(times) for times in (self.host, self.id, self.unknown)),
            f"{self.buffers}",
            f"{self.publish_one:.1f}",
            f"{self.publish_many:.0f}",
            f"{self.everything / 1000:.1f} s",
            f"{self.verify:.0f}",
            f"{self.misplaced:.0f}",
            ", ".join(writers),
        ]
        return f"| {' | '.join(cells)} |"


HEADER = """\
| application | a host, p50 / p99 ms | an id | an unknown host | buffers | publish 1 change, ms | 500 changes \
| read all anew | compare 200 | compare all ids | a writer's commits, of those without us |
|---|---|---|---|---|---|---|---|---|---|---|"""


def _percentiles(times: Sequence[float]) -> str:
    ordered = sorted(times)
    return f"{statistics.median(ordered):.1f} / {ordered[int(len(ordered) * 0.99)]:.1f}"


async def _timed(connection: asyncpg.Connection, sql: str, *args: object) -> float:
    started = time.perf_counter()
    await connection.fetch(sql, *args, timeout=600)
    return (time.perf_counter() - started) * 1e3


async def _look_up(connection: asyncpg.Connection, aliases: Sequence[str], *, is_found: bool) -> list[float]:
    for alias in aliases[:10]:
        rows = await connection.fetch(LOOK_UP, [alias])
        assert (rows[0]["state"] == "found") is is_found, (alias, rows)
    return [await _timed(connection, LOOK_UP, [alias]) for alias in aliases]


async def _publish(connection: asyncpg.Connection) -> None:
    while await connection.fetchval("select tenantcache.publish(5000)", timeout=600) == "more":
        pass


async def _writes(url: str, statement: str, numbers: Iterator[int], seconds: float) -> float:
    """Commits a second of two writers side by side."""
    connections = [await asyncpg.connect(url, statement_cache_size=0) for _ in range(2)]
    done, until = 0, time.perf_counter() + seconds

    async def write(connection: asyncpg.Connection) -> None:
        nonlocal done
        while time.perf_counter() < until:
            number = next(numbers)
            result = await connection.execute(statement.format(n=number, tens=number // 10 * 10 or 10))
            assert result == "UPDATE 1", (statement, result)
            done += 1

    await asyncio.gather(*(write(connection) for connection in connections))
    for connection in connections:
        await connection.close()
    return done / seconds


async def measure(url: str, application: Application, many: Many, tenants: int, seconds: float) -> Cost:
    """On an empty database."""
    cost, rng = Cost(application.name), random.Random(1)
    connection = await asyncpg.connect(url, statement_cache_size=0)
    await connection.execute(application.schema)
    await connection.execute(application.rows)
    await connection.execute(many.fill.replace("$n", str(tenants)), timeout=600)
    await connection.execute("vacuum analyze", timeout=600)
    numbers = itertools.cycle(rng.sample(range(1, tenants + 1), tenants))
    without = {table: await _writes(url, sql, numbers, seconds) for table, sql in many.writes.items()}
    for query in application.queries:
        adoption = Adoption(query.sql, query.kind, query.watch, query.static)
        await install(connection, await prepare(connection, adoption), beside=bool(query.kind))
    await connection.execute("vacuum analyze tenantcache.aliases")
    some = [next(numbers) for _ in range(200)]
    cost.host = await _look_up(connection, [many.host.format(n=number) for number in some], is_found=True)
    ids = [await connection.fetchval(many.id.format(n=number)) for number in some]
    cost.id = await _look_up(connection, ids, is_found=True)
    cost.unknown = await _look_up(connection, [f"subdomain:no-{number}" for number in some], is_found=False)
    cost.buffers = await _buffers(connection, many.host.format(n=some[0]))
    await _publish(connection)
    for size in (1, PUBLISHED_AT_ONCE):
        times = []
        for _ in range(5):
            await connection.execute(many.change.format(first=1, last=size))
            times.append(await _timed(connection, f"select tenantcache.publish({PUBLISHED_AT_ONCE})"))
            await _publish(connection)
        if size == 1:
            cost.publish_one = statistics.median(times)
        else:
            cost.publish_many = statistics.median(times)
    cost.verify = await _timed(connection, f"select tenantcache.verify_some({VERIFIED_AT_ONCE})")
    cost.misplaced = await _timed(connection, "select tenantcache.misplaced()")
    await connection.execute("update tenantcache.publisher set incomplete = 'changed'")
    cost.everything = await _timed(connection, "select tenantcache.rebuild()")
    for table, sql in many.writes.items():
        cost.writers[table] = (without[table], await _writes(url, sql, numbers, seconds))
        await _publish(connection)
    await connection.close()
    return cost


async def _buffers(connection: asyncpg.Connection, alias: str) -> int:
    """8 kB pages that a lookup touches."""
    explained = await connection.fetchval(f"explain (analyze, buffers, format json) {LOOK_UP}", [alias])
    plan = json.loads(explained)[0]["Plan"]
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])


async def run(tenants: int, seconds: float, only: str) -> list[Cost]:
    costs = []
    with tempfile.TemporaryDirectory(prefix="tenantcache-adoption-") as directory:
        Path(directory).chmod(0o755)  # noqa: ASYNC240 - Postgres may run as another account
        with PostgresServer(Path(directory) / "postgres", durable=True) as server:
            admin = await asyncpg.connect(server.url)
            for number, application in enumerate(APPLICATIONS):
                if only.lower() in application.name.lower():
                    await admin.execute(f"create database application_{number}")
                    url = server.database_url(f"application_{number}")
                    costs.append(await measure(url, application, MANY[application.name], tenants, seconds))
                    print(costs[-1].row(), flush=True)
                    await admin.execute(f"drop database application_{number} with (force)")
            await admin.close()
    return costs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    print(f"<!-- adoption -->\n{HEADER}")
    asyncio.run(run(1_000 if given.short else 100_000, 0.2 if given.short else 1.5, given.only))
    print("<!-- /adoption -->")
    return 0


if __name__ == "__main__":
    sys.exit(main())
