"""What parts of the job cost in any library: a call that does nothing, and the floor with no header and with both.

What they share is written out in each, because a call of it would be measured too.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from benchmarks.bench.contenders.plain import Floor, Held, bare, floor_of
from benchmarks.bench.stores import Env


class Passing:
    """Hands each request on, and does nothing else."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class FloorWithoutHeader(Floor):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = b""
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
                break
        held = self.held.get(host)
        if held is None or held.expires <= time.monotonic() or held.minute < 1 or held.day < 1:
            await Response(status_code=429 if held else 404)(scope, receive, send)
            return
        held.minute -= 1
        held.day -= 1
        scope["state"]["tenant"] = held.tenant
        await self.app(scope, receive, send)


class FloorWithBothHeaders(Floor):
    """The seconds that are left never change, and the policy is that of every tenant."""

    def __init__(self, app: ASGIApp, held: dict[bytes, Held], env: Env) -> None:
        super().__init__(app, held)
        policy = b'"minute";q=%d;w=60, "day";q=%d;w=86400' % (env.per_minute, env.per_day)
        self.policy = (b"ratelimit-policy", policy)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = b""
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
                break
        held = self.held.get(host)
        if held is None or held.expires <= time.monotonic() or held.minute < 1 or held.day < 1:
            await Response(status_code=429 if held else 404)(scope, receive, send)
            return
        held.minute -= 1
        held.day -= 1
        scope["state"]["tenant"] = held.tenant
        policy = self.policy

        def send_with_headers(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                state = b'"minute";r=%d;t=42, "day";r=%d;t=40242' % (held.minute, held.day)
                message["headers"] += policy, (b"ratelimit", state)
            return send(message)

        await self.app(scope, receive, send_with_headers)


@asynccontextmanager
async def open_passing(_env: Env) -> AsyncIterator[ASGIApp]:
    yield Passing(bare())


@asynccontextmanager
async def open_without_header(env: Env) -> AsyncIterator[ASGIApp]:
    yield FloorWithoutHeader(bare(), floor_of(env))


@asynccontextmanager
async def open_with_both(env: Env) -> AsyncIterator[ASGIApp]:
    yield FloorWithBothHeaders(bare(), floor_of(env), env)
