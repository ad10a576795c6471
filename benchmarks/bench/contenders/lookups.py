"""Ways to the tenant of a host, other than ours."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from cachetools import TTLCache
from redis.asyncio import Redis
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.bench.contenders.plain import bare
from benchmarks.bench.stores import Env
from benchmarks.bench.traffic import BASE_DOMAIN

Find = Callable[[str], Awaitable[dict[str, Any]]]

_QUERY = """
    select id, name, subdomain, status, plan, attributes::text as attributes
    from tenantcache.tenants where subdomain = $1
"""
_SUFFIX = "." + BASE_DOMAIN


class NotFoundError(Exception):
    """There is no tenant of that subdomain."""


def host_in(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"host":
            return str(value, "latin-1")
    return ""


def subdomain_of(host: str) -> str:
    name = host.partition(":")[0].lower()
    if not name.endswith(_SUFFIX):
        raise NotFoundError
    return name[: -len(_SUFFIX)]


@asynccontextmanager
async def connect(env: Env) -> AsyncIterator[tuple[Redis, asyncpg.Pool]]:
    """redis-py's asyncio client (it uses hiredis if that is installed) and a pool of asyncpg."""
    redis = Redis.from_url(env.redis_url, protocol=2, driver_info=None)
    async with asyncpg.create_pool(env.database_url, min_size=0, max_size=4) as postgres:
        try:
            yield redis, postgres
        finally:
            await redis.aclose()


async def from_postgres(postgres: asyncpg.Pool, subdomain: str) -> dict[str, Any]:
    row = await postgres.fetchrow(_QUERY, subdomain)
    if row is None:
        raise NotFoundError
    return dict(row) | {"attributes": json.loads(row["attributes"])}


class LocalLookup:
    """The tenant from a TTLCache, else from Redis, else from Postgres. Never invalidated: up to 60 s out of date."""

    def __init__(self, redis: Redis, postgres: asyncpg.Pool, prefix: str) -> None:
        self._redis = redis
        self._postgres = postgres
        self._prefix = prefix
        self._held: TTLCache[str, dict[str, Any]] = TTLCache(100_000, 60)

    async def __call__(self, subdomain: str) -> dict[str, Any]:
        held = self._held.get(subdomain)
        if held is None:
            key = f"{self._prefix}:tenant:subdomain:{subdomain}"
            cached = await self._redis.get(key)
            held = json.loads(cached) if cached else await from_postgres(self._postgres, subdomain)
            if not cached:
                await self._redis.set(key, json.dumps(held), ex=3600)
            self._held[subdomain] = held
        return held


@asynccontextmanager
async def cached_lookup(env: Env, postgres: asyncpg.Pool, name: str) -> AsyncIterator[Find]:
    """cashews with its client-side cache: values in the process, invalidated by Redis (CLIENT TRACKING, broadcast)."""
    from cashews import Cache

    cache = Cache()
    prefix = f"{env.prefix}-cashews-{name}:"
    cache.setup(env.redis_url, client_side=True, client_side_prefix=prefix, protocol=2)
    await cache.init()

    @cache(ttl="1h", key="tenant:subdomain:{subdomain}")
    async def find(subdomain: str) -> dict[str, Any]:
        return await from_postgres(postgres, subdomain)

    try:
        yield find
    finally:
        await cache.close()


class LookupMiddleware:
    """The tenant on `scope["state"]["tenant"]`, or 404."""

    def __init__(self, app: ASGIApp, find: Find) -> None:
        self.app = app
        self.find = find

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            tenant = await self.find(subdomain_of(host_in(scope)))
        except NotFoundError:
            await PlainTextResponse("no such tenant", 404)(scope, receive, send)
            return
        scope["state"]["tenant"] = tenant
        await self.app(scope, receive, send)


@asynccontextmanager
async def open_cashews(env: Env) -> AsyncIterator[ASGIApp]:
    async with (
        asyncpg.create_pool(env.database_url, min_size=0, max_size=4) as postgres,
        cached_lookup(env, postgres, "lookup") as find,
    ):
        yield LookupMiddleware(bare(), find)
