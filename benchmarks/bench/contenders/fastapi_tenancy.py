"""fastapi-tenancy: its lookup, and its lookup with its own limiter.

Its store insists on a table `tenants` of its own, which is filled from ours.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
from starlette.types import ASGIApp

from benchmarks.bench.contenders.plain import bare
from benchmarks.bench.stores import Env
from benchmarks.bench.traffic import BASE_DOMAIN

MOST_A_MINUTE = 10_000
"""It takes no higher limit."""


@asynccontextmanager
async def _opened(env: Env, **changes: Any) -> AsyncIterator[ASGIApp]:
    from fastapi_tenancy import IsolationStrategy, ResolutionStrategy, TenancyConfig, TenancyManager
    from fastapi_tenancy.middleware.tenancy import TenancyMiddleware
    from fastapi_tenancy.resolution import SubdomainTenantResolver
    from fastapi_tenancy.storage.database import SQLAlchemyTenantStore

    logging.getLogger("fastapi_tenancy").setLevel(logging.ERROR)
    url = env.database_url.replace("postgresql://", "postgresql+asyncpg://")
    options: dict[str, Any] = {
        "database_url": url,
        "resolution_strategy": ResolutionStrategy.SUBDOMAIN,
        "isolation_strategy": IsolationStrategy.RLS,
        "domain_suffix": "." + BASE_DOMAIN,
        "l1_cache_enabled": True,
        "l1_cache_max_size": 10_000,
    }
    manager = TenancyManager(TenancyConfig(**options | changes), SQLAlchemyTenantStore(url))
    # As its documentation wants it if there is no proxy in front.
    manager.resolver = SubdomainTenantResolver(manager.store, "." + BASE_DOMAIN, trust_x_forwarded=False)
    connection = await asyncpg.connect(env.database_url)
    # Two workers that begin at once would both create the table, and one would fail.
    await connection.execute("select pg_advisory_lock(1)")
    try:
        await manager.initialize()
        await connection.execute("""
            insert into public.tenants (id, identifier, name, status, tenant_metadata)
                select id, subdomain, name, status, attributes::text from tenantcache.tenants on conflict do nothing
        """)
        await connection.close()
        yield TenancyMiddleware(bare(), manager=manager)
    finally:
        await connection.close()
        await manager.close()


def open_lookup(env: Env) -> AbstractAsyncContextManager[ASGIApp]:
    return _opened(env)


def open_limited(env: Env) -> AbstractAsyncContextManager[ASGIApp]:
    """A sorted set for each tenant, with a member for each request. There is one window, and no day."""
    per_minute = min(env.per_minute, MOST_A_MINUTE)
    return _opened(env, redis_url=env.redis_url, enable_rate_limiting=True, rate_limit_per_minute=per_minute)
