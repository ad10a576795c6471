"""Runs a program with a proxy before each of its Redis servers, and puts together what was counted.

What Redis runs inside scripts does not pass the proxy: it is taken from the server's own count, if the server gives it
and has no other clients.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

from tenantcache.budget.core.bill import Bill, calls_inside_scripts
from tenantcache.budget.core.patterns import fold
from tenantcache.budget.recorder import Recorder
from tenantcache.budget.servercount import ServerCount, read_server_count
from tenantcache.cli.program import run_program
from tenantcache.cli.recordedurl import RecordedUrl
from tenantcache.cli.recordreport import INSIDE, Recording
from tenantcache.errors import ConfigurationError, UnreachableError
from tenantcache.stores.anyredis import AnyRedis
from tenantcache.stores.reasons import redis_reason

DRAIN_TIMEOUT = 1.0
"""Seconds for connections that the program leaves behind."""


async def run_recorded(command: Sequence[str], urls: Sequence[RecordedUrl]) -> tuple[int, Recording]:
    """Run `command` with a proxy before the server of each URL. Returns its exit status, and what was counted.

    Raises ConfigurationError, `UnreachableError` and `ProgramError`.
    """
    bill = Bill(fold)
    environ = dict(os.environ)
    async with AsyncExitStack() as stack:
        servers: dict[str, Server] = {}
        for url in urls:
            if url.address not in servers:
                server = Server(url, Recorder(url.upstream(), bill))
                await server.open()
                servers[url.address] = server
                await stack.enter_async_context(server.recorder)
            environ[url.name] = url.at(servers[url.address].recorder.port)
        status = await run_program(command, environ)
        notes = [note for server in servers.values() for note in await server.finish()]
        inside = inside_scripts(bill, list(servers.values()), notes)
    return status, Recording(bill, inside, notes)


@dataclass(slots=True)
class Server:
    """One server of the program, with the proxy before it, and its own count before the program ran and after."""

    url: RecordedUrl
    recorder: Recorder
    before: ServerCount | None = None
    after: ServerCount | None = None

    async def open(self) -> None:
        """Raises `UnreachableError` if the server cannot be used, ConfigurationError if it cannot be recorded."""
        try:
            answer = await self.recorder.upstream.ask()
        except OSError as error:
            raise UnreachableError(f"Redis at {self.url.address} {redis_reason(error)}") from None
        if not (answer.startswith(b"-NOAUTH") and not self.url.has_user):  # the program may have the password elsewhere
            self.before = await self._count()

    async def _count(self) -> ServerCount | None:
        async with await AnyRedis.connect(self.url.url, self.url.address, max_commands=1) as redis:
            if redis.info.get("cluster_enabled") == 1:
                raise ConfigurationError(
                    f"{self.url.address} is a node of a cluster, whose clients go to its other nodes by themselves; "
                    "record against a single Redis, or use the fixture redis_budget in tests"
                )
            return await read_server_count(redis.nodes[0])

    async def finish(self) -> list[str]:
        """Wait for the program's last commands, and return what a person should know."""
        notes = []
        if not await self.recorder.drain(DRAIN_TIMEOUT):
            notes.append("some processes of the program still run; what they send now is not counted")
        for error in self.recorder.failures.values():
            notes.append(f"a connection failed: Redis at {self.url.address} {redis_reason(error)}")
        if self.before is not None:
            with suppress(UnreachableError):
                self.after = await self._count()
        return notes

    @property
    def others(self) -> int:
        """How many other clients were connected, as far as the server tells. Our second reading is a connection too."""
        assert self.before is not None and self.after is not None
        foreign = self.after.connections - self.before.connections - self.recorder.opened - 1
        return self.before.connected - 1 + max(foreign, 0)


def inside_scripts(bill: Bill, servers: Sequence[Server], notes: list[str]) -> dict[str, int] | None:
    """What scripts called, by command; None, with a note, if there were scripts and this is not known."""
    if not bill.scripts:
        return {}
    found = None
    if any(server.before is None or server.after is None for server in servers):
        reason = "the server does not give its own count (INFO commandstats)"
    else:
        reason = "the server's own count began anew meanwhile"
        before = sum((Counter(server.before.calls) for server in servers if server.before), Counter[str]())
        after = sum((Counter(server.after.calls) for server in servers if server.after), Counter[str]())
        found = calls_inside_scripts(before, after, bill.commands)
    if found is None:
        notes.append(f"what {bill.scripts:,} scripts called inside Redis is billed too, and not known: {reason}")
    elif others := sum(server.others for server in servers):
        notes.append(
            f"{others:,} other clients were connected to the server; if they sent commands, these stand in the line "
            f"{INSIDE}"
        )
    return found
