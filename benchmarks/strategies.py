"""What a hot request costs by each strategy: `python -m benchmarks.strategies`.

Microseconds of the middleware and of an application that does nothing, and how many times the host's that is: the best
of many short, interleaved rounds, in memory.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from tenantcache import TenantMiddleware
from tenantcache.testing import MemoryCache, TenantTable
from tenantcache.web.strategies import Header, Host, PathPrefix

ROUNDS, REQUESTS = 1_000, 100
LIMITS = {"limit_per_minute": 1_000_000_000, "limit_per_day": 1_000_000_000}


def by_function(scope: Scope) -> str:
    return "subdomain:acme"


async def by_coroutine(scope: Scope) -> str:
    return "subdomain:acme"


CASES: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "host": (None, "/x", LIMITS),
    "host, unlimited": (None, "/x", {"limit_per_minute": 0, "limit_per_day": 0}),
    "host, unlimited, usage off": (None, "/x", {"limit_per_minute": 0, "limit_per_day": 0, "usage_interval": 0}),
    "path": ([PathPrefix("/t"), Host()], "/t/acme/x", LIMITS),
    "header": ([Header("x-tenant", from_anyone=True), Host()], "/x", LIMITS),
    "function": ([by_function], "/x", LIMITS),
    "coroutine function": ([by_coroutine], "/x", LIMITS),
    "host, before a path": ([Host(), PathPrefix("/t")], "/x", LIMITS),
    "host, after a path": ([PathPrefix("/t"), Host()], "/x", LIMITS),
}


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def nowhere(message: Message) -> None:
    pass


async def nothing() -> Message:
    return {"type": "http.request"}


def make_scope(path: str) -> Scope:
    headers = [(b"host", b"acme.testserver"), (b"accept", b"*/*"), (b"x-tenant", b"acme")]
    return {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "headers": headers}


async def main() -> None:
    apps = {}
    for name, (strategies, path, settings) in CASES.items():
        cache = MemoryCache(**settings)
        TenantTable(cache).add("acme")
        await cache.open()
        apps[name] = TenantMiddleware(application, cache=cache, strategies=strategies), path
    best = dict.fromkeys(apps, float("inf"))
    for _ in range(ROUNDS):
        for name, (app, path) in apps.items():
            scopes = [make_scope(path) for _ in range(REQUESTS)]
            started = time.perf_counter()
            for scope in scopes:
                await app(scope, nothing, nowhere)
            best[name] = min(best[name], (time.perf_counter() - started) / REQUESTS)
    for name, seconds in best.items():
        print(f"{name:28} {seconds * 1e6:6.2f} µs {seconds / best['host']:6.2f}")
    for app, _ in apps.values():
        await app.cache.close()


if __name__ == "__main__":
    asyncio.run(main())
