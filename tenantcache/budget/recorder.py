"""A proxy on loopback before one Redis, which counts what passes through it.

Bytes go on as they came, before they are read: what a program and Redis say to each other is the same as without it,
pub/sub, MONITOR and blocking commands included. A side that is slow slows the other side down, as a socket does.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tenantcache.budget.core.bill import Bill
from tenantcache.budget.core.conversation import Conversation

LOOPBACK = "127.0.0.1"
CHUNK = 256 * 1024
"""Bytes that are read at once."""
CONNECT_TIMEOUT = 10.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """The real Redis: host and port, or the path of its socket."""

    host: str = ""
    port: int = 0
    path: str = ""
    tls: ssl.SSLContext | None = None

    async def ask(self) -> bytes:
        """The first line of the answer to PING. Raises OSError."""
        reader, writer = await self.open()
        try:
            writer.write(b"PING\r\n")
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            raise ConnectionResetError from None
        finally:
            writer.close()

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect. Raises OSError (which TimeoutError and SSLError are)."""
        async with asyncio.timeout(CONNECT_TIMEOUT):
            if self.path:
                return await asyncio.open_unix_connection(self.path, limit=CHUNK)
            return await asyncio.open_connection(self.host, self.port, ssl=self.tls, limit=CHUNK)


class Recorder:
    """An async context manager that listens while it is open; `port` is where. `bill` is told of each command.

    `opened` counts connections to Redis; `failures` holds why connections to Redis could not be made, each reason once.
    """

    def __init__(self, upstream: Upstream, bill: Bill) -> None:
        self.upstream = upstream
        self._bill = bill
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.port: int = 0
        self.opened: int = 0
        self.failures: dict[str, OSError] = {}

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0, limit=CHUNK)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def drain(self, seconds: float) -> bool:
        """Wait until all connections have ended. Returns False if some have not after so many seconds."""
        await asyncio.sleep(0)  # those that were accepted just now
        if not self._connections:
            return True
        _, pending = await asyncio.wait(self._connections, timeout=seconds)
        return not pending

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._connect(reader, writer)
        except asyncio.CancelledError:
            pass  # the end of the recording; nothing waits for this task's result
        finally:
            self._connections.discard(task)
            writer.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream_reader, upstream_writer = await self.upstream.open()
        except OSError as error:
            self.failures.setdefault(str(error), error)
            return
        self.opened += 1
        conversation = Conversation(self._bill)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, upstream_writer, conversation.sent))
                group.create_task(_pump(upstream_reader, writer, conversation.received))
        finally:
            conversation.ended()
            upstream_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, look: Callable[[bytes], None]) -> None:
    """Pass on what arrives until it ends, and then the end. A connection that breaks ends both directions."""
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            look(data)
            await writer.drain()
    except OSError:
        writer.transport.abort()
        return
    with suppress(OSError):
        if writer.can_write_eof():
            writer.write_eof()
        else:
            writer.close()  # TLS cannot end one direction alone
