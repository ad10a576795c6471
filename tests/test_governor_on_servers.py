"""A fleet of real processes goes through all bands on real servers, and back. Its webhook is told of each."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self

import asyncpg
import pytest

from tests.governed_process import HOSTS
from tests.servers.billing import BilledCommands

BUDGET = 100_000_000
KEY = bytes(range(32))

# What processes of long ago have used: a little 27 days ago, so that the mean of days is low, and the rest now.
_USE = """
    insert into tenantcache.redis_usage (hour, process, purpose, billed)
        values (date_trunc('hour', now()) - interval '27 days', $1, 'lookup', 1),
            (date_trunc('hour', now()), $1, 'lookup', $2)
    on conflict (hour, process, purpose) do update set billed = excluded.billed
"""

_LET_PASS = """
    update tenantcache.counter_store set band_changed_at = band_changed_at - interval '301 seconds',
        band_wanted_at = band_wanted_at - interval '301 seconds', complained_at = complained_at - interval '301 seconds'
"""


class Process:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.known: dict[str, Any] = {}
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, environ: Mapping[str, str]) -> Self:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.governed_process", stdin=pipe, stdout=pipe, env={**os.environ, **environ}
        )
        return cls(process)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.known = json.loads(line)

    def report(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")

    async def stop(self) -> int:
        """In order; return the exit status."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(20):
            await self._reading
            return await self._process.wait()


class Fleet:
    def __init__(self, processes: list[Process], admin: asyncpg.Connection) -> None:
        self.processes, self._admin = processes, admin
        self._others = "00000000-0000-0000-0000-000000000001"

    async def use(self, share: float) -> None:
        """Have others use so much of the budget in all."""
        await self._admin.execute(_USE, self._others, max(1, int(share * BUDGET)))

    async def let_pass(self) -> None:
        """As if five minutes had passed since the last change."""
        await self._admin.execute(_LET_PASS)

    async def begin_minute(self) -> None:
        """As if the minute had come that was announced."""
        await self._admin.execute("update tenantcache.counter_store set from_minute = 0")

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> None:
        """Until it holds for what each process knows. They look at the fleet's use again and again."""
        async with asyncio.timeout(20):
            while not all(process.known and condition(process.known) for process in self.processes):
                for process in self.processes:
                    process.report()
                await asyncio.sleep(0.2)

    async def reach(self, band: str) -> None:
        await self.until(lambda known: known["band"] == band)

    def count(self, what: str) -> int:
        return sum(process.known[what] for process in self.processes)


@pytest.fixture
async def messages() -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    received: list[dict[str, Any]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = dict(line.split(b": ", 1) for line in head.split(b"\r\n") if b": " in line)
        body = await reader.readexactly(int(lines[b"content-length"]))
        received.append({"id": lines[b"webhook-id"].decode(), **json.loads(body)})
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", received


@pytest.fixture
async def fleet(database_url: str, redis_url: str, messages: tuple[str, list[dict[str, Any]]]) -> AsyncIterator[Fleet]:
    environ = {
        "TENANTCACHE_DATABASE_URL": database_url,
        "TENANTCACHE_REDIS_URL": redis_url,
        "TENANTCACHE_REDIS_MONTHLY_BUDGET": str(BUDGET),
        "TENANTCACHE_BUDGET_WEBHOOK_URL": messages[0],
        "TENANTCACHE_BUDGET_WEBHOOK_SECRET": "whsec_" + base64.b64encode(KEY).decode(),
        "TENANTCACHE_MEMORY_MAX_TENANTS": "1",  # each lookup is a miss
        "TENANTCACHE_WARM_UP": "false",
        "TENANTCACHE_LIMIT_PER_MINUTE": "1000000",
        "TENANTCACHE_LIMIT_PER_DAY": "100000000",
    }
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(connected(database_url))
        await admin.executemany(
            "insert into tenantcache.tenants (id, name, subdomain) values ($1, $1, $1)",
            [(host.partition(".")[0],) for host in HOSTS],
        )
        fleet = Fleet([], admin)
        await fleet.use(0)  # all that was used in the last days is read at a start
        fleet.processes += [await Process.start(environ) for _ in range(3)]
        yield fleet
        for process in fleet.processes:
            await process.stop()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.mark.slow
@pytest.mark.timeout(180)  # three processes start, and each of seven changes takes a second or two
async def test_a_fleet_goes_through_all_bands_and_back(
    fleet: Fleet, billed_commands: BilledCommands, messages: tuple[str, list[dict[str, Any]]]
) -> None:
    await fleet.until(lambda known: known["store"] == "redis" and known["admitted"] > 20)
    assert billed_commands.by_command()["get"] > 0
    await fleet.use(0.75)
    await fleet.reach("thrift")
    await fleet.use(0.92)
    await fleet.reach("no copies")
    billed_commands.reset()
    admitted = fleet.count("admitted")
    await fleet.until(lambda known: fleet.count("admitted") > admitted + 200)
    assert not {"get", "mget", "set", "unlink"} & billed_commands.by_command().keys()

    await fleet.use(0.99)
    await asyncio.sleep(0.5)
    assert {process.known["band"] for process in fleet.processes} == {"no copies"}  # not before its time
    await fleet.let_pass()
    await fleet.reach("no Redis")
    await fleet.until(lambda known: "postgres" in (known["to"], known["store"]))
    await fleet.begin_minute()
    await fleet.until(lambda known: known["store"] == "postgres")

    await asyncio.sleep(0.3)  # what was under way
    billed_commands.reset()
    admitted = fleet.count("admitted")
    await fleet.until(lambda known: fleet.count("admitted") > admitted + 200)
    leaver = fleet.processes.pop()
    assert await leaver.stop() == 0
    assert billed_commands.by_command() == {}  # PING alone, also at a stop

    for band in ("no copies", "thrift", "normal"):
        await fleet.use(0.1)
        await fleet.let_pass()
        await fleet.reach(band)
    await fleet.let_pass()
    await fleet.until(lambda known: "redis" in (known["to"], known["store"]))
    await fleet.begin_minute()
    billed_commands.reset()
    await fleet.until(lambda known: known["store"] == "redis")
    admitted = fleet.count("admitted")
    await fleet.until(lambda known: fleet.count("admitted") > admitted + 200)
    assert billed_commands.by_command()["get"] > 0

    assert [process.known["failed"] for process in [*fleet.processes, leaver]] == [0, 0, 0]
    assert [process.known["refused"] for process in [*fleet.processes, leaver]] == [0, 0, 0]
    assert [process.known["changes"] for process in fleet.processes] == [6, 6]
    told = messages[1]
    assert [(each["data"]["from"], each["data"]["to"]) for each in told] == [
        ("normal", "thrift"),
        ("thrift", "no copies"),
        ("no copies", "no Redis"),
        ("no Redis", "no copies"),
        ("no copies", "thrift"),
        ("thrift", "normal"),
    ]
    assert len({each["id"] for each in told}) == 6
