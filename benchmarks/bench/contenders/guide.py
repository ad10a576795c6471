"""The pattern that guides to Redis recommend: cache-aside for the tenant, a counter for each window.

As such a guide has it, with its faults mended in its favour. Both counters go in one pipeline, and a counter's expiry
is set once. A request is counted when it is checked: a check by GET would admit all requests that come at once.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.bench.contenders.lookups import (
    NotFoundError,
    cached_lookup,
    connect,
    from_postgres,
    host_in,
    subdomain_of,
)
from benchmarks.bench.contenders.plain import bare
from benchmarks.bench.stores import Env

TENANT_TTL = 3600


class GuideMiddleware:
    """`find` gives the tenant (a dict) of a subdomain, or raises `NotFoundError`."""

    def __init__(self, app: ASGIApp, find: Any, redis: Redis, env: Env) -> None:
        self.app = app
        self.find = find
        self.redis = redis
        self.env = env

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            tenant = await self.find(subdomain_of(host_in(scope)))
        except NotFoundError:
            await PlainTextResponse("no such tenant", 404)(scope, receive, send)
            return
        if not await self.admits(tenant["id"]):
            await PlainTextResponse("too many requests", 429)(scope, receive, send)
            return
        scope["state"]["tenant"] = tenant
        await self.app(scope, receive, send)

    async def admits(self, tenant_id: str) -> bool:
        now = int(time.time())
        minute_key = f"{self.env.prefix}:ratelimit:{tenant_id}:minute:{now // 60}"
        day_key = f"{self.env.prefix}:ratelimit:{tenant_id}:day:{now // 86_400}"
        pipeline = self.redis.pipeline(transaction=False)
        pipeline.incr(minute_key)
        pipeline.incr(day_key)
        minute, day = await pipeline.execute()
        if minute == 1:
            await self.redis.expire(minute_key, 120)
        if day == 1:
            await self.redis.expire(day_key, 172_800)
        return bool(minute <= self.env.per_minute and day <= self.env.per_day)


@asynccontextmanager
async def open_guide(env: Env) -> AsyncIterator[ASGIApp]:
    async with connect(env) as (redis, postgres):

        async def find(subdomain: str) -> dict[str, Any]:
            key = f"{env.prefix}-guide:tenant:subdomain:{subdomain}"
            cached = await redis.get(key)
            if cached:
                found: dict[str, Any] = json.loads(cached)
                return found
            tenant = await from_postgres(postgres, subdomain)
            await redis.set(key, json.dumps(tenant), ex=TENANT_TTL)
            return tenant

        yield GuideMiddleware(bare(), find, redis, env)


@asynccontextmanager
async def open_cashews(env: Env) -> AsyncIterator[ASGIApp]:
    async with connect(env) as (redis, postgres), cached_lookup(env, postgres, "both") as find:
        yield GuideMiddleware(bare(), find, redis, _with_prefix(env, "cashews"))


def _with_prefix(env: Env, name: str) -> Env:
    return Env(env.database_url, env.redis_url, env.per_minute, env.per_day, f"{env.prefix}-{name}")
