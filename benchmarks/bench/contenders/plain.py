"""What there is without any library: nothing, and the least that a lookup with limits can be."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from benchmarks.bench.stores import Env
from benchmarks.bench.traffic import host_of

FLOOR_TENANTS = 10_000


async def answer(_request: Request) -> Response:
    return Response(b"ok", media_type="text/plain")


def bare() -> Starlette:
    return Starlette(routes=[Route("/", answer)])


@asynccontextmanager
async def open_bare(_env: Env) -> AsyncIterator[ASGIApp]:
    yield bare()


class Held:
    """A tenant in the floor's dict, with what is left of its limits."""

    __slots__ = ("day", "expires", "minute", "tenant")

    def __init__(self, tenant: object, expires: float, minute: int, day: int) -> None:
        self.tenant = tenant
        self.expires = expires
        self.minute = minute
        self.day = day


class Floor:
    """The cheapest middleware that could be called one. Not a limiter: it is never refilled or shared."""

    def __init__(self, app: ASGIApp, held: dict[bytes, Held]) -> None:
        self.app = app
        self.held = held

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

        def send_with_header(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message["headers"].append((b"ratelimit", b'"minute";r=%d' % held.minute))
            return send(message)

        await self.app(scope, receive, send_with_header)


def floor_of(env: Env) -> dict[bytes, Held]:
    expires = time.monotonic() + 86_400
    return {
        host_of(number).encode(): Held({"id": f"t{number}"}, expires, env.per_minute, env.per_day)
        for number in range(FLOOR_TENANTS)
    }


@asynccontextmanager
async def open_floor(env: Env) -> AsyncIterator[ASGIApp]:
    yield Floor(bare(), floor_of(env))
