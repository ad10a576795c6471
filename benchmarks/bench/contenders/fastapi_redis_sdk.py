"""fastapi-redis-sdk: two stacked `rate_limit()` dependencies, as its guide shows them.

Its settings are of the whole process, and its counters take the prefix from there with each request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, Request, Response
from starlette.types import ASGIApp

from benchmarks.bench.contenders.lookups import LocalLookup, LookupMiddleware, connect
from benchmarks.bench.stores import Env


def _tenant_of(request: Request) -> str:
    return str(request.scope["state"]["tenant"]["id"])


@asynccontextmanager
async def open_fastapi_redis_sdk(env: Env) -> AsyncIterator[ASGIApp]:
    """It limits routes of FastAPI alone, so what FastAPI costs beside Starlette is part of its figure."""
    from redis_fastapi import FastAPIRedis, Rate, get_settings, rate_limit

    settings = get_settings()
    settings.url, settings.prefix = env.redis_url, f"{env.prefix}-sdk"
    app = FastAPI()
    FastAPIRedis(app).lifespan().rate_limiting()
    limits = {"minute": Rate.per_minute(env.per_minute), "day": Rate.per_day(env.per_day)}

    @app.get("/", dependencies=[
        Depends(rate_limit(rate, scope=scope, identifier=_tenant_of)) for scope, rate in limits.items()
    ])  # fmt: skip
    async def answer() -> Response:
        return Response(b"ok", media_type="text/plain")

    async with connect(env) as (redis, postgres), app.router.lifespan_context(app):
        yield LookupMiddleware(app, LocalLookup(redis, postgres, settings.prefix))
