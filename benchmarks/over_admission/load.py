"""A load generator, in a process of its own: `python -m benchmarks.over_admission.load` with a JSON plan on stdin.

It asks every worker for every tenant at a steady pace over connections that it keeps, until the time in the plan, and
prints what it has counted as one JSON value.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import defaultdict
from itertools import cycle
from typing import Any

from benchmarks.over_admission.judge import Counts
from benchmarks.over_admission.plan import BASE_DOMAIN, Plan, TenantLoad

HOST = "127.0.0.1"
TIMEOUT = 5.0


class Client:
    """One connection to one worker, made anew when it breaks."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, host: str, path: str) -> tuple[int, Any]:
        """Status and JSON. Raises ConnectionError if no worker listens, EOFError or TimeoutError if one may have
        heard the request and its answer did not come."""
        try:
            async with asyncio.timeout(TIMEOUT):
                if self._streams is None:
                    self._streams = await asyncio.open_connection(HOST, self._port)
                return await self._exchange(*self._streams, host, path)
        except BaseException:
            self.close()
            raise

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, path: str
    ) -> tuple[int, Any]:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            return int(head[9:12]), json.loads(await reader.readexactly(length))
        except ConnectionError as error:
            raise EOFError from error

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def ask(plan: Plan, tenant: TenantLoad, port: int, counts: Counts) -> None:
    """Requests of one tenant to one worker, `pause` seconds apart."""
    client = Client(port)
    hosts, path = cycle([f"{name}.{BASE_DOMAIN}" for name in tenant.names]), "/"
    if tenant.burst > 1:
        hosts, path = cycle(["127.0.0.1"]), f"/internal/burst?tenant={tenant.name}&count={tenant.burst}"
    due = time.time() + tenant.after
    while due < plan.until:
        await asyncio.sleep(max(0.0, due - time.time()))
        due = max(due + tenant.pause, time.time() - tenant.pause)
        counts.offered[int(time.time() // 60)] += tenant.burst
        try:
            status, body = await client.get(next(hosts), path)
        except ConnectionError:
            continue
        except (EOFError, TimeoutError):
            counts.lost[int(time.time() // 60)] += tenant.burst
            continue
        if status == 200:
            for span, admitted in body["minutes"].items():
                counts.admit(span, admitted)
        else:
            counts.refuse(time.time(), status)
    client.close()


async def run(plan: Plan) -> dict[str, Counts]:
    found: dict[str, Counts] = defaultdict(Counts)
    async with asyncio.TaskGroup() as group:
        for tenant in plan.tenants:
            for port in plan.ports:
                group.create_task(ask(plan, tenant, port, found[tenant.name]))
    return found


def main() -> None:
    plan = Plan.from_json(sys.stdin.read())
    counts = asyncio.run(run(plan))
    print(json.dumps({name: one.as_json() for name, one in counts.items()}))


if __name__ == "__main__":
    main()
