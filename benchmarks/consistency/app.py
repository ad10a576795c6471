"""What the workers serve: the tenant of the request, values of the application, and the engine's own counts."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.consistency.valuewriters import PATH, TENANT, tag_of
from tenantcache import Settings, StoreUnavailableError, Tenant, TenantCache, TenantMiddleware, current_tenant
from tenantcache.stores.rediscopies import RedisCopies
from tenantcache.wiring.stores import Stores

# That the log was lost is what each fault is about; the table says what came of it.
logging.getLogger("tenantcache").setLevel(logging.ERROR)

VALUE_TTL, LOAD_TIMEOUT = 10, 4
"""Seconds. The run outlasts both many times."""

settings = Settings()
stores = Stores.from_settings(settings)
assert stores.link is not None
stores.copies = RedisCopies(stores.link, prefix=settings.key_prefix, ttl=float(os.environ["COPY_TTL"]))
cache = TenantCache(settings, stores=stores)


async def show(request: Request) -> JSONResponse:
    tenant: Tenant = request.state.tenant
    if current_tenant() is not tenant:
        return JSONResponse({"detail": "the context variable holds another tenant than the request"}, 500)
    return JSONResponse(
        {
            "id": tenant.id,
            "name": tenant.name,
            "version": tenant.attributes["version"],
            "subdomain": tenant.subdomain,
            "domains": tenant.domains,
            "status": tenant.status,
        }
    )


async def load_value(pool: asyncpg.Pool, name: str) -> dict[str, Any] | None:
    row = await pool.fetchrow(
        "select name, version from public.watched where name = $1"
        " union all select name, version from public.unwatched where name = $1",
        name,
    )
    return None if row is None else dict(row)


async def show_value(request: Request) -> JSONResponse:
    """The value, after what the query says was done: `invalidate`, `invalidate-tag`, or `set` to a version."""
    name, told, values = request.path_params["name"], request.query_params, cache.values
    terms: dict[str, Any] = {"tenant": TENANT, "ttl": VALUE_TTL, "tags": [tag_of(name)]}
    try:
        if "invalidate" in told:
            await values.invalidate(name, tenant=TENANT)
        elif "invalidate-tag" in told:
            await values.invalidate(tag=tag_of(name), tenant=TENANT)
        elif "set" in told:
            await values.set(name, {"name": name, "version": int(told["set"])}, **terms)
        else:
            load = partial(load_value, request.app.state.pool, name)
            found = await values.get_or_load(name, load, **terms, negative_ttl=2, hard_timeout=LOAD_TIMEOUT)
            return JSONResponse({"value": found}, 404 if found is None else 200)
    except (StoreUnavailableError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        return JSONResponse({"detail": repr(error)}, 503)
    return JSONResponse({})


@asynccontextmanager
async def with_pool(app: Starlette) -> AsyncIterator[None]:
    async with asyncpg.create_pool(settings.database_url, min_size=0, timeout=2, command_timeout=2) as app.state.pool:
        yield


async def show_stats(_request: Request) -> JSONResponse:
    return JSONResponse(cache.stats() | {"ready": cache.is_open and cache.indexer.is_ready})


app = Starlette(
    routes=[Route("/", show), Route("/health/stats", show_stats), Route(PATH + "{name}", show_value)],
    lifespan=with_pool,
    middleware=[Middleware(TenantMiddleware, cache=cache)],
)
