"""What the workers serve. Each answer says in which minute of the server's clock it was admitted.

A request is admitted somewhere between the two readings of the clock around the decision. If a minute begins in
between, the answer names both, and counts for neither.
"""

from __future__ import annotations

import gc
import os
from collections import Counter

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.over_admission.plan import BASE_DOMAIN
from tenantcache import TenantCache, TenantMiddleware

cache = TenantCache()


def minute_now() -> int:
    return int(cache.server_now() // 60)


class NoteArrival:
    """Outside of the middleware: reads the clock before it decides."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope.setdefault("state", {})["arrived"] = minute_now()
        await self._app(scope, receive, send)


async def admit(request: Request) -> JSONResponse:
    return JSONResponse({"minutes": {f"{request.state.arrived}-{minute_now()}": 1}})


async def burst(request: Request) -> JSONResponse:
    """As many requests at once as the query says, decided as `TenantCache.check` does: too many to send one by one."""
    tenant = await cache.resolve(f"{request.query_params['tenant']}.{BASE_DOMAIN}")
    assert tenant is not None
    minutes: Counter[str] = Counter()
    for _ in range(int(request.query_params["count"])):
        before = minute_now()
        if (await cache.check(tenant)).allowed:
            minutes[f"{before}-{minute_now()}"] += 1
    return JSONResponse({"minutes": minutes})


async def show_stats(_request: Request) -> JSONResponse:
    return JSONResponse(cache.stats() | {"ready": cache.is_open, "pid": os.getpid(), "server_now": cache.server_now()})


app = Starlette(
    routes=[Route("/", admit), Route("/internal/burst", burst), Route("/internal/stats", show_stats)],
    middleware=[Middleware(NoteArrival), Middleware(TenantMiddleware, cache=cache)],
)
gc.freeze()  # what was imported is garbage at no time: to look through it takes a fifth of a short process
