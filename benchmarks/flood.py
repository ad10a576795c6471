"""A flood of unknown hosts beside real traffic: what it touches, and what the real traffic notices.

One process, ASGI calls, no HTTP server in between, on a real Postgres and a real Redis that count for themselves. 500
requests a second of 1,000 tenants in memory are timed from the moment at which each was due: alone, beside 10,000
requests a second of other tenants (what any load costs), and beside 10,000 a second of distinct unknown hosts. All of
it runs once with the index of known hosts and once without.

    python -m benchmarks.flood                       three minutes; writes docs/flood.md and benchmarks/flood.json
    python -m benchmarks.flood --unknown-hosts 20000 --dry-run

The exit status is 1 if the promise is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import redis
from starlette.types import Message, Receive, Scope, Send

from benchmarks.flood_http import HttpPhase, http_table, measure_http
from benchmarks.pages import fill, table
from tenantcache import Settings, TenantCache, TenantMiddleware
from tenantcache.devservers import PostgresServer, RedisServer
from tenantcache.schema import install as schema

DOCUMENT = Path(__file__).parents[1] / "docs/flood.md"
RESULTS = Path(__file__).with_suffix(".json")

TENANTS = 1_000
COLD = 50
"""Tenants that are not in memory when the flood comes: theirs is the lookup that a flood could crowd out."""

REAL_RATE, FLOOD_RATE = 500, 10_000
"""Requests a second."""

LANES, BURST = 50, 10
"""The flood comes in so many lanes, each of which sends so many requests in a row."""

CALM = 5.0
"""Seconds of real traffic alone."""

ROUNDS = 5
"""What is compared takes turns, so that a noisy moment of the machine does not hit one side alone."""

BUDGET_BURST, BUDGET_RATE = 1_000, 200
"""Lookups of unknown hosts at once, and a second after that, if there is no index (see `engine.py`)."""

FREE = frozenset({"auth", "hello", "select", "command", "config", "info", "ping", "reset", "quit"})
"""Redis commands that metered providers do not bill."""


@dataclass
class Phase:
    """What happened in one of them. Times in seconds, from due to answered; `grown` is resident memory in bytes."""

    beside: str
    seconds: float = 0.0
    asked: int = 0
    answers: dict[int, int] = field(default_factory=dict)
    cold_served: int = 0
    lookups: int = 0
    queries: int = 0
    commands: int = 0
    evictions: int = 0
    negatives: int = 0
    grown: int = 0
    late: list[float] = field(default_factory=list)

    def percentile(self, percent: float) -> float:
        ordered = sorted(self.late)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def ask(app: TenantMiddleware, host: bytes) -> int:
    """One request, as a server would hand it over; returns the status."""
    status = 0

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", host), (b"user-agent", b"benchmark"), (b"accept", b"*/*")],
        "client": ("127.0.0.1", 40_000),
        "server": ("127.0.0.1", 8_000),
    }
    await app(scope, _receive, send)
    return status


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def real_traffic(app: TenantMiddleware, late: list[float], until: asyncio.Event) -> None:
    """Tenants in memory ask at a steady rate; notes how long after its due time each was answered."""
    started = time.perf_counter()
    for number in itertools.count():
        due = started + number / REAL_RATE
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        if until.is_set():
            return
        status = await ask(app, b"tenant-%d.example.com" % (number % TENANTS))
        late.append(time.perf_counter() - due)
        assert status == 200, f"a tenant in memory got {status}"


async def flood(app: TenantMiddleware, hosts: Iterator[bytes], count: int) -> Counter[int]:
    """Ask for `count` of `hosts` at FLOOD_RATE, or as fast as it goes; returns the answers by status."""
    answers: Counter[int] = Counter()
    started = time.perf_counter()

    async def lane(first: int) -> None:
        for batch in range(first, count // BURST, LANES):
            await asyncio.sleep(max(0.0, started + batch * BURST / FLOOD_RATE - time.perf_counter()))
            for host in itertools.islice(hosts, BURST):
                answers[await ask(app, host)] += 1

    await asyncio.gather(*(lane(first) for first in range(LANES)))
    return answers


async def cold_tenants(app: TenantMiddleware, first: int, seconds: float) -> int:
    """Tenants that are not in memory ask, one after the other; returns how many were served."""
    served = 0
    for number in range(first, first + COLD):
        served += await ask(app, b"cold-%d.example.com" % number) == 200
        await asyncio.sleep(seconds / COLD)
    return served


def unknown_hosts() -> Iterator[bytes]:
    """Distinct hosts: every other one under the base domain, the others in domains of their own."""
    for number in itertools.count():
        yield b"stranger-%d.%s" % (number, b"example.com" if number % 2 else b"example.net")


def known_hosts() -> Iterator[bytes]:
    return (b"tenant-%d.example.com" % (number % TENANTS) for number in itertools.count())


class Scene:
    """The servers, and what they have counted."""

    def __init__(self, postgres_url: str, redis_url: str) -> None:
        self.postgres_url, self.redis_url = postgres_url, redis_url
        self._redis = redis.Redis.from_url(redis_url, protocol=2, driver_info=None)
        self._process = psutil.Process(os.getpid())

    async def prepare(self) -> None:
        connection = await asyncpg.connect(self.postgres_url)
        await schema.install(connection)
        await connection.execute(f"""
            create extension pg_stat_statements;
            insert into tenantcache.tenants (name, subdomain, attributes)
                select 'Tenant', 'tenant-' || n, '{{"version": 1}}' from generate_series(0, {TENANTS - 1}) as n;
            insert into tenantcache.tenants (name, subdomain)
                select 'Cold', 'cold-' || n from generate_series(0, {2 * COLD - 1}) as n;
            analyze tenantcache.tenants;
        """)
        await connection.close()

    def environment(self, index: bool) -> dict[str, str]:
        """What a worker needs to serve the same."""
        return {
            "TENANTCACHE_DATABASE_URL": self.postgres_url,
            "TENANTCACHE_REDIS_URL": self.redis_url,
            "TENANTCACHE_BASE_DOMAINS": "example.com",
            "TENANTCACHE_LIMITS": "off",
            "TENANTCACHE_WARM_UP": "false",
            "TENANTCACHE_HOST_INDEX_MAX_HOSTS": "2000000" if index else "0",
        }

    async def counted(self, app: TenantMiddleware) -> Phase:
        """Everything that is counted, since the start."""
        connection = await asyncpg.connect(self.postgres_url)
        lookups, queries = await connection.fetchrow(
            "select coalesce(sum(calls) filter (where query ~ 'find_tenants'), 0)::int, sum(calls)::int"
            " from pg_stat_statements where query !~ 'pg_stat_statements'"
        )
        await connection.close()
        told = self._redis.info("commandstats")
        commands = {name.removeprefix("cmdstat_").partition("|")[0]: one["calls"] for name, one in told.items()}
        memory = app.cache.stats()["memory"]
        return Phase(
            "",
            lookups=lookups,
            queries=queries,
            commands=sum(calls for name, calls in commands.items() if name not in FREE),
            evictions=memory["evictions"],
            negatives=memory["negatives"],
            grown=self._process.memory_info().rss,
        )

    async def run(
        self, app: TenantMiddleware, phase: Phase, count: int, hosts: Iterator[bytes], cold: int = -1
    ) -> None:
        """Add to `phase` real traffic beside `count` requests for `hosts`, and `COLD` tenants from number `cold` on."""
        done = asyncio.Event()
        before, started = await self.counted(app), time.perf_counter()
        traffic = asyncio.create_task(real_traffic(app, phase.late, done))
        if count:
            flooding = asyncio.create_task(flood(app, hosts, count))
            if cold >= 0:
                phase.cold_served += await cold_tenants(app, cold, 0.8 * count / FLOOD_RATE)
            phase.answers = dict(Counter(phase.answers) + await flooding)
        else:
            await asyncio.sleep(CALM / ROUNDS)
        phase.asked += count
        phase.seconds += time.perf_counter() - started
        done.set()
        await traffic
        after = await self.counted(app)
        for name in ("lookups", "queries", "commands", "evictions", "grown"):
            added = getattr(after, name) - getattr(before, name)
            setattr(phase, name, getattr(phase, name) + added)
        phase.negatives = after.negatives


async def measure(scene: Scene, count: int, index: bool) -> list[Phase]:
    settings = Settings(
        _environ={},
        database_url=scene.postgres_url,
        redis_url=scene.redis_url,
        base_domains=["example.com"],
        limits="off",
        memory_max_tenants=TENANTS + 2 * COLD,  # 100 unknown hosts among them would begin to push tenants out
        memory_ttl=3600,
        warm_up=False,  # "cold" tenants are looked up
        host_index_max_hosts=2_000_000 if index else 0,
    )
    async with TenantCache(settings) as cache:
        app = TenantMiddleware(application, cache)
        async with asyncio.timeout(30):
            while index and not cache.indexer.is_ready:
                await asyncio.sleep(0.005)
            for host in itertools.islice(known_hosts(), TENANTS):
                while await ask(app, host) != 200:  # without an index, the budget bounds this as well
                    await asyncio.sleep(0.01)
        await asyncio.sleep(6.0)  # the last copies reach Redis, and the budget of lookups is whole again
        calm, other, flooded = Phase("nothing"), Phase("tenants"), Phase("unknown hosts")
        others, unknown, share = known_hosts(), unknown_hosts(), count // ROUNDS
        for _ in range(ROUNDS):
            await scene.run(app, calm, 0, others)
            await scene.run(app, other, share, others)
            await scene.run(app, flooded, share, unknown)
        beside_cold = Phase("unknown hosts, cold tenants")
        await scene.run(app, beside_cold, count // 10, unknown, 0 if index else COLD)
        return [calm, other, flooded, beside_cold]


def faults_of(index: bool, phases: list[Phase]) -> list[str]:
    """What breaks the promise, a line each."""
    found = []
    flooded, beside_cold = phases[2], phases[3]
    # Between two rounds the budget is whole again.
    allowed = 0 if index else ROUNDS * BUDGET_BURST + int(BUDGET_RATE * (flooded.seconds + 1))
    for what, value in (("lookups", flooded.lookups), ("Redis commands", flooded.commands)):
        if value > allowed:
            found.append(f"{value} {what} for unknown hosts; at most {allowed} are promised")
    if any(phase.evictions for phase in phases):
        found.append("a tenant was pushed out of memory")
    if set(flooded.answers) - ({404} if index else {404, 503}):
        found.append(f"unknown hosts were answered with {flooded.answers}")
    if index and beside_cold.cold_served != COLD:
        found.append(f"{COLD - beside_cold.cold_served} tenants that were not in memory were not served")
    return found


HEADINGS = (
    "index", "beside", "requests", "a second", "200", "404", "503", "lookups", "Redis", "evicted", "negatives",
    "memory", "p50", "p99", "p99.9",
)  # fmt: skip


def markdown(results: dict[bool, list[Phase]]) -> str:
    rows = []
    for index, phases in results.items():
        for phase in phases:
            rate = f"{phase.asked / phase.seconds:,.0f}" if phase.asked else ""
            cells = ["yes" if index else "no", phase.beside, f"{phase.asked:,}", rate]
            cells += [f"{phase.answers.get(status, 0):,}" for status in (200, 404, 503)]
            cells += [f"{value:,}" for value in (phase.lookups, phase.commands, phase.evictions, phase.negatives)]
            cells += [f"{phase.grown / 2**20:+.1f} MiB"]
            cells += [f"{phase.percentile(percent) * 1e3:.2f}" for percent in (50, 99, 99.9)]
            rows.append(cells)
    served = ", ".join(
        f"{phases[3].cold_served} of {COLD} {'with' if index else 'without'} the index"
        for index, phases in results.items()
    )
    summary = f"Tenants that were not in memory, and were served during the last flood: {served}."
    return f"{table(HEADINGS, rows, left=2)}\n\n{summary}"


def write(results: dict[bool, list[Phase]], over_http: dict[bool, list[HttpPhase]]) -> None:
    fill(DOCUMENT, "flood", markdown(results))
    fill(DOCUMENT, "flood over HTTP", http_table(over_http))
    told = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "phases": [_row(index, phase) for index, phases in results.items() for phase in phases],
        "over_http": [_row(index, phase) for index, phases in over_http.items() for phase in phases],
    }
    RESULTS.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _row(index: bool, phase: Phase | HttpPhase) -> dict[str, Any]:
    times = {f"p{percent:g}": round(phase.percentile(percent), 6) for percent in (50, 99, 99.9, 100)}
    return {"index": index, **asdict(phase), "late": times}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--unknown-hosts", type=int, default=200_000)
    parser.add_argument("--dry-run", action="store_true", help="print the table and write nothing")
    options = parser.parse_args()
    results, over_http = {}, {}
    with tempfile.TemporaryDirectory(prefix="tenantcache-flood-") as directory, RedisServer() as copies:
        Path(directory).chmod(0o755)  # Postgres may run as another account
        preload = {"shared_preload_libraries": "pg_stat_statements"}
        with PostgresServer(Path(directory) / "postgres", options=preload) as postgres:
            scene = Scene(postgres.url, copies.url)
            asyncio.run(scene.prepare())
            for index in (True, False):
                results[index] = asyncio.run(measure(scene, options.unknown_hosts, index))
            for index in (True, False):
                over_http[index] = measure_http(scene.environment(index), known_hosts, TENANTS, unknown_hosts())
    print(f"{markdown(results)}\n\nOver HTTP:\n\n{http_table(over_http)}")
    if not options.dry_run:
        write(results, over_http)
    faults = [fault for index, phases in results.items() for fault in faults_of(index, phases)]
    for fault in faults:
        print(f"BROKEN: {fault}", file=sys.stderr)
    return bool(faults)


if __name__ == "__main__":
    raise SystemExit(main())
