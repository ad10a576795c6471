"""A TCP proxy in a process of its own, whose links go bad the way networks do.

A link is one listening port in front of one server. What may happen to it:

* `cut`: every connection is reset (RST), and new ones are, until it heals.
* `stall`: nothing is passed on, in either direction, and nothing is closed: a cable pulled out. A new connection is
  accepted and hears nothing. When the link heals, all that was held back arrives late, as TCP would deliver it.
* `half_open`: the server's side of every connection goes away without a word to the client's, which stays open
  and throws away whatever it is given: a firewall that forgot a connection. New connections work.

The process is not ours so that a busy caller does not slow the links down; it ends when its caller does.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import socket
import struct
from collections.abc import Iterable, Mapping
from enum import StrEnum
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
CHUNK = 65_536
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER with a time of 0: close() sends RST instead of FIN (Linux and BSD, see socket(7))."""


class Fault(StrEnum):
    NONE = "none"
    CUT = "cut"
    STALL = "stall"
    HALF_OPEN = "half_open"


class _Pair:
    """One client's connection and the one behind it."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.near, self.far = near, far
        self.is_half_open = False

    def reset(self) -> None:
        _reset(self.near)
        _reset(self.far)

    def lose_server(self) -> None:
        self.is_half_open = True
        _reset(self.far)


class Link:
    """One port in front of the server at `port` of this machine."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._fault = Fault.NONE
        self._flows = asyncio.Event()
        self._flows.set()
        self._pairs: set[_Pair] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> int:
        """Listen on a free port, and return it."""
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        self.set(Fault.CUT)
        if self._server is not None:
            self._server.close()

    def set(self, fault: Fault) -> None:
        """Make `fault` happen from now on; HALF_OPEN happens to the connections of now, and is then over."""
        self._fault = fault
        if fault is Fault.STALL:
            self._flows.clear()
        else:
            self._flows.set()
        for pair in tuple(self._pairs):
            if fault is Fault.CUT:
                pair.reset()
            elif fault is Fault.HALF_OPEN:
                pair.lose_server()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._flows.wait()
        try:
            if self._fault is Fault.CUT:
                raise ConnectionResetError
            far_reader, far_writer = await asyncio.open_connection(HOST, self._target)
        except OSError:
            _reset(writer)
            return
        pair = _Pair(writer, far_writer)
        self._pairs.add(pair)
        try:
            await asyncio.gather(self._pump(reader, far_writer, pair), self._pump(far_reader, writer, pair))
        finally:
            self._pairs.discard(pair)
            pair.reset()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, pair: _Pair) -> None:
        with contextlib.suppress(OSError):
            while chunk := await source.read(CHUNK):
                await self._flows.wait()
                if not pair.is_half_open:
                    target.write(chunk)
                    await target.drain()
        await self._flows.wait()
        if not pair.is_half_open:
            target.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket | None = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        if connection is not None and connection.fileno() >= 0:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    writer.transport.abort()


class ProxyProcess:
    """Starts the process. `ports` has the port of each link, by the name that `targets` gave it (name to port)."""

    def __init__(self, targets: Mapping[str, int]) -> None:
        context = multiprocessing.get_context("spawn")
        self._control, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(theirs, dict(targets)), daemon=True)
        self._process.start()
        theirs.close()
        self.ports: dict[str, int] = self._control.recv()

    def set(self, fault: Fault, links: Iterable[str]) -> None:
        """Make `fault` happen to the named links; returns when it has."""
        self._control.send((fault.value, list(links)))
        self._control.recv()

    def heal(self) -> None:
        self.set(Fault.NONE, self.ports)

    def close(self) -> None:
        self._control.close()
        self._process.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _run(control: Connection, targets: dict[str, int]) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_obey(control, targets))


async def _obey(control: Connection, targets: dict[str, int]) -> None:
    links = {name: Link(port) for name, port in targets.items()}
    control.send({name: await link.open() for name, link in links.items()})
    ended = asyncio.Event()

    def obey() -> None:
        try:
            fault, names = control.recv()
        except EOFError:
            ended.set()
            return
        for name in names:
            links[name].set(Fault(fault))
        control.send(None)

    asyncio.get_running_loop().add_reader(control.fileno(), obey)
    await ended.wait()
    for link in links.values():
        await link.close()
