"""Starts uvicorn on the test application, and speaks HTTP with a worker that the test has chosen.

There are two ways to run two workers, and the tests run both. With `--workers 2` they have one port, and uvicorn
replaces one that dies. Or two servers have two ports.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncpg

from tenantcache.devservers import HOST, free_port, spawn

ROOT = Path(__file__).parents[2]
START_TIMEOUT = 60.0
ANSWER_TIMEOUT = 10.0

BASE_DOMAIN = "example.com"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: Any
    """The JSON value in it, or None."""


class Connection:
    """One kept connection, and so always the same worker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.worker = 0
        """The process at the other end."""

    @classmethod
    async def open(cls, port: int) -> Self:
        connection = cls(*await asyncio.open_connection(HOST, port))
        connection.worker = (await connection.tell())["worker"]
        return connection

    async def get(self, host: str, path: str = "/") -> Answer:
        """Send one request. Raises OSError or EOFError if the worker is gone."""
        status, headers, body = await self.ask(host, path)
        return Answer(status, headers, json.loads(body) if body else None)

    async def ask(self, host: str, path: str = "/") -> tuple[int, dict[str, str], bytes]:
        """The same, with whatever body."""
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        async with asyncio.timeout(ANSWER_TIMEOUT):
            head = await self._reader.readuntil(b"\r\n\r\n")
            status, *lines = head.decode("latin-1").split("\r\n")[:-2]
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await self._reader.readexactly(int(headers["content-length"]))
        return int(status.split()[1]), headers, body

    async def tell(self) -> dict[str, Any]:
        """What the worker says of itself, outside tenancy."""
        answer = await self.get("localhost", "/health/worker")
        assert answer.status == 200
        found: dict[str, Any] = answer.body
        return found

    async def know_each_other(self, processes: int) -> None:
        """Wait until the worker counts as many processes: a pull later at most. Until then its share is too large."""
        for _ in range(int(ANSWER_TIMEOUT / 0.02)):
            if (await self.tell())["stats"]["freshness"]["processes"] >= processes:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"worker {self.worker} still counts fewer than {processes} processes")

    async def follow(self, entry: int) -> None:
        """Wait until the worker has applied the log up to `entry`: until then a new tenant is unknown to it."""
        for _ in range(int(ANSWER_TIMEOUT / 0.005)):
            if (await self.tell())["stats"]["freshness"]["applied"] >= entry:
                return
            await asyncio.sleep(0.005)
        raise AssertionError(f"worker {self.worker} does not follow")

    def close(self) -> None:
        self._writer.close()


def our_environment() -> dict[str, str]:
    """What is set here, save what would reach the application's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TENANTCACHE_")}
    return {name: value for name, value in kept.items() if name not in ("DATABASE_URL", "REDIS_URL")} | {
        "PYTHONPATH": str(ROOT)
    }


class Server:
    """One uvicorn command with `workers` workers."""

    def __init__(self, environment: dict[str, str], workers: int) -> None:
        self.port = free_port()
        self._environment = our_environment() | environment
        self._workers = workers
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the server; stop() closes it
        self._process = self._spawn()

    def _spawn(self) -> Any:
        command = [sys.executable, "-m", "uvicorn", "tests.end_to_end.app:app"]
        options = {
            "--host": HOST,
            "--port": str(self.port),
            "--workers": str(self._workers),
            "--http": "httptools",
            "--loop": "uvloop",
            "--ws": "none",  # no test has one, and what serves them takes a while to load
            "--log-level": "warning",
            # Neither an idle connection nor a busy machine is a reason to end anything.
            "--timeout-keep-alive": "60",
            # uvicorn waits this long for the answer of a worker that is killed while it is asked, and starts no other.
            "--timeout-worker-healthcheck": "20",
        }
        words = [word for option in options.items() for word in option]
        return spawn([*command, *words, "--no-access-log"], output=self._log, cwd=ROOT, env=self._environment)

    async def connect(self) -> list[Connection]:
        """A connection to each worker; waits until there are as many as there should be."""
        found: dict[int, Connection] = {}
        deadline = time.monotonic() + START_TIMEOUT
        while len(found) < self._workers:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"uvicorn has {len(found)} workers of {self._workers}:\n{self.log()}")
            try:
                connection = await Connection.open(self.port)
            except (OSError, EOFError):
                await asyncio.sleep(0.02)
                continue
            if connection.worker in found:
                connection.close()  # the kernel chooses who accepts
            else:
                found[connection.worker] = connection
        return list(found.values())

    def replace(self, worker: int) -> None:
        """Kill a worker without a word; uvicorn starts another, or we do."""
        os.kill(worker, signal.SIGKILL)
        if self._workers == 1:
            self._process.wait()
            self._process = self._spawn()

    def stop(self) -> None:
        """An orderly stop, as a deployment does."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=START_TIMEOUT)

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-4000:]

    def close(self) -> None:
        try:
            self.stop()
        finally:
            self._log.close()


class Fleet:
    """`async with Fleet(...) as fleet`: two workers, on one port or on two, and `connections` to each of them."""

    def __init__(self, *, ports: int, database_url: str, redis_url: str, **settings: str) -> None:
        self.connections: list[Connection] = []
        self.servers: list[Server] = []
        self._ports = ports
        values = {"database_url": database_url, "redis_url": redis_url, "base_domains": BASE_DOMAIN} | settings
        self._environment = {f"TENANTCACHE_{name.upper()}": value for name, value in values.items()}

    async def __aenter__(self) -> Self:
        self.servers = [Server(self._environment, 2 // self._ports) for _ in range(self._ports)]
        try:
            await self.connect()
            for connection in self.connections:
                await connection.know_each_other(2)
        except BaseException:
            self._close_servers()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.disconnect()
        self._close_servers()

    def _close_servers(self) -> None:
        for server in self.servers:
            server.close()

    async def connect(self) -> Sequence[Connection]:
        """Connect anew to both workers."""
        self.disconnect()
        self.connections = [connection for server in self.servers for connection in await server.connect()]
        return self.connections

    async def follow(self, database: asyncpg.Connection) -> None:
        """Wait until all workers know what is in the database now."""
        while await database.fetchval("select tenantcache.publish(1000)") not in ("nothing", "published"):
            await asyncio.sleep(0.005)
        entry = await database.fetchval("select max(seq) from tenantcache.change_log")
        for connection in self.connections:
            await connection.follow(entry)

    def disconnect(self) -> None:
        for connection in self.connections:
            connection.close()
        self.connections = []

    def replace(self, connection: Connection) -> None:
        """Kill the worker behind `connection` with SIGKILL, and have another in its place; `connect` afterwards."""
        index = self.connections.index(connection)
        self.servers[index if self._ports == 2 else 0].replace(connection.worker)

    def stop(self) -> None:
        self.disconnect()
        for server in self.servers:
            server.stop()
