"""Readers: ask the workers for hosts, and note when each request was sent, when it was answered, and with what.

The HTTP client is 40 lines of its own because a general one takes longer than the worker that it asks, and because
the time of an answer is to be noted where its last byte comes in.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from random import Random
from typing import cast

from benchmarks.consistency.judge import NO_ANSWER, Answer

HOST = "127.0.0.1"
VALUES_HOST = "example.com"
"""For values: they are asked for where requests have no tenant, so that they are judged by themselves."""

TIMEOUT = 12.0
"""Seconds: longer than any pause that a worker is put to, so that what it says afterwards is heard."""

CHASE = 0.025
"""Seconds for which a host that changes is asked for; 10 ms are promised for 99 % of the changes."""

CHASE_PAUSE = 0.001
"""Seconds between two such requests. Without it the readers alone would keep two cores busy, and the workers wait."""

ROVERS, ROVE_PAUSE = 6, 0.08
"""Readers of a worker that go over all hosts, and seconds between two requests of each. Several, because each request
for a host that must be read from a store that is away keeps one of them waiting."""

REFUSED_PAUSE = 0.05


class _Exchange(asyncio.Protocol):
    """One keep-alive connection with one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._answer: asyncio.Future[tuple[int, bytes, float]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError())

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or self._answer is None:
            return
        lowered = head.lower()
        length = int(lowered.partition(b"content-length: ")[2].partition(b"\r")[0])
        if len(body) >= length and not self._answer.done():
            self._received = b""
            self._answer.set_result((int(head[9:12]), body, time.monotonic()))

    async def ask(self, host: str, path: str) -> tuple[int, bytes, float]:
        """Status, body, and when it had come. Raises OSError."""
        if self._transport is None:
            raise ConnectionResetError
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Client:
    """Asks one worker; connects when it must. `incarnation` gives the number of the worker's current process."""

    def __init__(self, worker: int, port: int, incarnation: Callable[[], int]) -> None:
        self._worker = worker
        self._port = port
        self._incarnation = incarnation
        self._exchange: _Exchange | None = None
        self._met = 0  # the process that this connection was made to

    async def ask(self, what: str) -> Answer:
        """One answer for a host, or for the path of a value; its status is NO_ANSWER if there was none."""
        host, path = (VALUES_HOST, what) if what.startswith("/") else (what, "/")
        invoked = time.monotonic()
        try:
            async with asyncio.timeout(TIMEOUT):
                exchange = await self._connected()
                invoked = time.monotonic()
                status, body, returned = await exchange.ask(host, path)
        except (OSError, TimeoutError):
            self.close()
            return Answer(self._worker, self._met, what, invoked, time.monotonic(), NO_ANSWER)
        return Answer(self._worker, self._met, what, invoked, returned, status, body)

    async def _connected(self) -> _Exchange:
        if self._exchange is None:
            self._met = self._incarnation()
            loop = asyncio.get_running_loop()
            _, self._exchange = await loop.create_connection(_Exchange, HOST, self._port)
        return self._exchange

    def close(self) -> None:
        if self._exchange is not None:
            self._exchange.close()
            self._exchange = None


class Reader:
    """The readers of one worker: one chases what changes, others rove over all hosts. Answers gather in `answers`."""

    def __init__(self, client: Callable[[], Client], hosts: Callable[[], list[str]], random: Random) -> None:
        self.answers: list[Answer] = []
        self._client = client
        self._hosts = hosts
        self._random = random
        self._chased: list[str] = []
        self._until = 0.0
        self._changed = asyncio.Event()

    def announce(self, hosts: list[str]) -> None:
        """These hosts are about to change."""
        self._chased = hosts
        self._until = time.monotonic() + CHASE
        self._changed.set()

    async def run(self) -> None:
        """Read until cancelled."""
        rovers = (self._rove(self._client()) for _ in range(ROVERS))
        await asyncio.gather(self._chase(self._client()), *rovers)

    async def ask_late(self, hosts: list[str]) -> None:
        """Ask for `hosts` over a new connection each, all at once; returns when all have been answered."""
        clients = [self._client() for _ in hosts]
        self.answers += await asyncio.gather(*(client.ask(host) for client, host in zip(clients, hosts, strict=True)))
        for client in clients:
            client.close()

    async def _chase(self, client: Client) -> None:
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                while time.monotonic() < self._until:
                    await self._ask(client, self._random.choice(self._chased))
                    await asyncio.sleep(CHASE_PAUSE)
        finally:
            client.close()

    async def _rove(self, client: Client) -> None:
        try:
            while True:
                await self._ask(client, self._random.choice(self._hosts()))
                await asyncio.sleep(ROVE_PAUSE)
        finally:
            client.close()

    async def _ask(self, client: Client, host: str) -> None:
        answer = await client.ask(host)
        self.answers.append(answer)
        if answer.status == NO_ANSWER:
            await asyncio.sleep(REFUSED_PAUSE)
