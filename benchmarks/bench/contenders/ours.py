"""tenantcache, with its defaults and with parts of it switched off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import ASGIApp

from benchmarks.bench.contenders.plain import bare
from benchmarks.bench.stores import Env
from benchmarks.bench.traffic import BASE_DOMAIN
from tenantcache import Settings, TenantCache, TenantMiddleware


def settings_of(env: Env, **changes: Any) -> Settings:
    values: dict[str, Any] = {
        "database_url": env.database_url,
        "redis_url": env.redis_url or None,
        "base_domains": [BASE_DOMAIN],
        "limit_per_minute": env.per_minute,
        "limit_per_day": env.per_day,
        "key_prefix": env.prefix,
    }
    return Settings(_environ={}, **values | changes)


@asynccontextmanager
async def _opened(env: Env, **changes: Any) -> AsyncIterator[ASGIApp]:
    async with TenantCache(settings_of(env, **changes)) as cache:
        await cache.warm_up.wait()  # else it is the filling of memory that is measured
        yield TenantMiddleware(bare(), cache=cache)


@asynccontextmanager
async def open_ours(env: Env) -> AsyncIterator[ASGIApp]:
    async with _opened(env) as app:
        yield app


@asynccontextmanager
async def open_quiet(env: Env) -> AsyncIterator[ASGIApp]:
    async with _opened(env, rate_limit_headers=False, key_prefix=env.prefix + "-quiet") as app:
        yield app


@asynccontextmanager
async def open_lookup(env: Env) -> AsyncIterator[ASGIApp]:
    async with _opened(env, limits="off", key_prefix=env.prefix + "-lookup") as app:
        yield app
