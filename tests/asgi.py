"""Calls an ASGI application as a server would, and keeps what it sends. No sockets, no client library."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from starlette.types import ASGIApp, Message

Lines = Sequence[tuple[bytes, bytes]]

CLIENT = ("203.0.113.7", 40_000)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def lines(self, name: str) -> list[str]:
        """Every value of one header, in order."""
        return [value.decode("latin-1") for key, value in self.headers if key == name.encode()]

    def header(self, name: str) -> str | None:
        """The value of a header that may stand there once at most."""
        found = self.lines(name)
        assert len(found) <= 1, f"{name} is there {len(found)} times"
        return found[0] if found else None

    def json(self) -> Any:
        return json.loads(self.body)


def http_scope(
    host: bytes | None = b"acme.example.com",
    path: str = "/",
    *,
    headers: Lines = (),
    client: tuple[str, int] | None = CLIENT,
    raw_path: bytes | None = None,
) -> dict[str, Any]:
    host_lines = [] if host is None else [(b"host", host)]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode() if raw_path is None else raw_path,
        "query_string": b"",
        "root_path": "",
        "headers": [*host_lines, *headers],
        "client": client,
        "server": ("127.0.0.1", 8000),
    }


def websocket_scope(
    host: bytes | None = b"acme.example.com", path: str = "/", *, extension: bool = False
) -> dict[str, Any]:
    scope = http_scope(host, path) | {"type": "websocket", "scheme": "ws", "subprotocols": []}
    del scope["method"]
    return scope | ({"extensions": {"websocket.http.response": {}}} if extension else {})


async def exchange(app: ASGIApp, scope: dict[str, Any], received: Sequence[Message]) -> list[Message]:
    """Run `app` on `scope`, feed it `received`, and return what it sends."""
    left = list(received)
    sent: list[Message] = []

    async def receive() -> Message:
        assert left, "the application waits for more than there is"
        return left.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


async def get(app: ASGIApp, host: bytes | None = b"acme.example.com", path: str = "/", **options: Any) -> Answer:
    """One request; `options` are those of `http_scope`."""
    return await request(app, http_scope(host, path, **options))


async def request(app: ASGIApp, scope: dict[str, Any]) -> Answer:
    sent = await exchange(app, scope, [{"type": "http.request", "body": b"", "more_body": False}])
    start, *bodies = sent
    assert start["type"] == "http.response.start"
    assert all(message["type"] == "http.response.body" for message in bodies)
    return Answer(start["status"], list(start["headers"]), b"".join(message.get("body", b"") for message in bodies))


async def connect(
    app: ASGIApp, host: bytes | None = b"acme.example.com", path: str = "/", *, extension: bool = False
) -> list[Message]:
    """Open a WebSocket, and close it from the client's side if it was accepted."""
    received: list[Message] = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}]
    return await exchange(app, websocket_scope(host, path, extension=extension), received)


class Lifespan:
    """`async with Lifespan(app) as lifespan`: `started` and `stopped` are what the application answered."""

    def __init__(self, app: ASGIApp) -> None:
        self.sent: list[Message] = []
        self._app = app
        self._received: asyncio.Queue[Message] = asyncio.Queue()
        self._answered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        self._task = asyncio.create_task(self._run(scope))
        await self._say("lifespan.startup")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._task is not None
        if not self._task.done():
            await self._say("lifespan.shutdown")
        await asyncio.gather(self._task, return_exceptions=True)

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.sent]

    @property
    def error(self) -> BaseException | None:
        """What the application raised; only once it has ended."""
        assert self._task is not None
        return self._task.exception()

    async def _run(self, scope: dict[str, Any]) -> None:
        try:
            await self._app(scope, self._received.get, self._send)
        finally:
            self._answered.set()

    async def _send(self, message: Message) -> None:
        self.sent.append(message)
        self._answered.set()

    async def _say(self, kind: str) -> None:
        self._answered.clear()
        await self._received.put({"type": kind})
        async with asyncio.timeout(10):
            await self._answered.wait()
