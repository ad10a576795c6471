"""Requests as a server hands them over, and who they are for."""

from __future__ import annotations

import asyncio
import bisect
import itertools
from random import Random
from typing import Any

from starlette.types import ASGIApp, Message, Scope

BASE_DOMAIN = "example.com"

# What a browser sends to an API behind a load balancer.
OTHER_HEADERS: list[tuple[bytes, bytes]] = [
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"accept", b"application/json, text/plain, */*"),
    (b"accept-language", b"en-US,en;q=0.5"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"cookie", b"session=0e1b0a4c7f8d4e6f9a2b3c4d5e6f7a8b; theme=dark"),
    (b"x-request-id", b"7f0c3a52-1d7e-4c55-9a34-52c1c1a6c1de"),
    (b"connection", b"keep-alive"),
]


def host_of(number: int) -> str:
    return f"tenant-{number}.{BASE_DOMAIN}"


def scope_of(number: int) -> dict[str, Any]:
    """An HTTP scope as uvicorn makes it, for the tenant of that number."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", host_of(number).encode()), *OTHER_HEADERS],
        "client": ("203.0.113.7", 40_000),
        "server": ("127.0.0.1", 8000),
    }


async def receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def call(app: ASGIApp, template: Scope) -> int:
    """One request; return its status. The scope is a new one each time, as servers make it."""
    status = 0

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]

    await app({**template, "headers": template["headers"].copy(), "state": {}}, receive, send)
    return status


async def call_many(app: ASGIApp, templates: list[dict[str, Any]], count: int, at_once: int) -> dict[int, int]:
    """`count` requests over `templates` in turn, `at_once` of them under way; how often each status came."""
    statuses: dict[int, int] = {}

    async def caller(start: int) -> None:
        for number in range(start, count, at_once):
            status = await call(app, templates[number % len(templates)])
            statuses[status] = statuses.get(status, 0) + 1

    if at_once == 1:
        await caller(0)
    else:
        await asyncio.gather(*(caller(start) for start in range(at_once)))
    return statuses


class Zipf:
    """Draws tenants 0 to n - 1, that of rank r in proportion to 1 / r."""

    def __init__(self, tenants: int, random: Random) -> None:
        self._cumulative = list(itertools.accumulate(1 / rank for rank in range(1, tenants + 1)))
        self._random = random

    def __call__(self) -> int:
        return bisect.bisect(self._cumulative, self._random.random() * self._cumulative[-1])
