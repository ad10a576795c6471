"""The flood over sockets: one uvicorn worker, and its clients in another process. Part of `benchmarks.flood`."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from benchmarks.consistency.fleet import Worker
from benchmarks.pages import table
from tenantcache.devservers import HOST

REAL_RATE, FLOOD_RATE = 200, 2_000
"""Requests a second: together about half of what one worker of this application does on a core of its own."""

REAL_LANES, FLOOD_LANES = 20, 40
"""Connections, each of which carries one request at a time."""

SECONDS = 3.0
ROUNDS = 2


class _Server(Worker):
    """One that is ready without an index, if it keeps none."""

    def _is_ready(self, pid: int) -> bool:
        try:
            stats = self.stats()
        except OSError:
            return False
        return bool(stats["ready"] or (stats["freshness"]["valid"] and not self._keeps_index))

    @property
    def _keeps_index(self) -> bool:
        return self._environment["TENANTCACHE_HOST_INDEX_MAX_HOSTS"] != "0"


@dataclass
class HttpPhase:
    """What the real traffic noticed beside other requests: seconds from due to answered, and the others' answers."""

    beside: str
    answers: dict[int, int] = field(default_factory=dict)
    late: list[float] = field(default_factory=list)

    def percentile(self, percent: float) -> float:
        ordered = sorted(self.late)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


async def _lane(port: int, hosts: Iterator[bytes], dues: Iterator[float], phase: HttpPhase, real: bool) -> None:
    reader, writer = await asyncio.open_connection(HOST, port)
    for due in dues:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        writer.write(b"GET / HTTP/1.1\r\nHost: " + next(hosts) + b"\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
        status = int(head[9:12])
        if real:
            phase.late.append(time.perf_counter() - due)
            assert status == 200, f"a tenant in memory got {status}"
        else:
            phase.answers[status] = phase.answers.get(status, 0) + 1
    writer.close()


async def _traffic(port: int, hosts: Iterator[bytes], phase: HttpPhase, real: bool) -> None:
    """Send at a steady rate for SECONDS, each request when it is due or as soon as its lane is free."""
    rate, lanes = (REAL_RATE, REAL_LANES) if real else (FLOOD_RATE, FLOOD_LANES)
    started, count = time.perf_counter(), int(rate * SECONDS)

    def dues(lane: int) -> Iterator[float]:
        return (started + number / rate for number in range(lane, count, lanes))

    await asyncio.gather(*(_lane(port, hosts, dues(lane), phase, real) for lane in range(lanes)))


async def _phase(port: int, hosts: Callable[[], Iterator[bytes]], phase: HttpPhase, others: Iterator[bytes]) -> None:
    running = [_traffic(port, hosts(), phase, True)]
    if phase.beside != "nothing":
        running.append(_traffic(port, others, phase, False))
    await asyncio.gather(*running)


async def _warm(port: int, hosts: Iterator[bytes]) -> None:
    """Ask for each host until it is served: without an index, the budget of lookups bounds this as well."""
    reader, writer = await asyncio.open_connection(HOST, port)
    for host in hosts:
        status = 0
        while status != 200:
            writer.write(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
            status = int(head[9:12])
    writer.close()


def measure_http(
    environment: dict[str, str], tenants: Callable[[], Iterator[bytes]], count: int, unknown: Iterator[bytes]
) -> list[HttpPhase]:
    """Real traffic of `tenants` (the first `count` are all of them) beside nothing, tenants, and unknown hosts."""
    phases = [HttpPhase("nothing"), HttpPhase("tenants"), HttpPhase("unknown hosts")]

    async def run(port: int) -> None:
        await _warm(port, itertools.islice(tenants(), count))
        await asyncio.sleep(5.5)  # the budget of lookups is whole again
        for _ in range(ROUNDS):
            for phase in phases:
                await _phase(port, tenants, phase, unknown if phase.beside == "unknown hosts" else tenants())

    with _Server({**os.environ, **environment}) as worker:
        asyncio.run(run(worker.port))
    return phases


def http_table(results: dict[bool, list[HttpPhase]]) -> str:
    rows = []
    for index, phases in results.items():
        for phase in phases:
            cells = ["yes" if index else "no", phase.beside]
            cells += [f"{phase.answers.get(status, 0):,}" for status in (200, 404, 503)]
            cells += [f"{phase.percentile(percent) * 1e3:.2f}" for percent in (50, 99, 99.9)]
            rows.append(cells)
    return table(("index", "beside", "200", "404", "503", "p50", "p99", "p99.9"), rows, left=2)
