"""What the workers serve: the tenant of the request, as the application sees it, and the engine's own counts."""

from __future__ import annotations

import logging
import os

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tenantcache import Settings, Tenant, TenantCache, TenantMiddleware, current_tenant
from tenantcache.stores.redis import RedisCopies
from tenantcache.wiring.stores import Stores

# That the log was lost is what each fault is about; the table says what came of it.
logging.getLogger("tenantcache").setLevel(logging.ERROR)

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


async def show_stats(_request: Request) -> JSONResponse:
    return JSONResponse(cache.stats() | {"ready": cache.is_open and cache.indexer.is_ready})


app = Starlette(
    routes=[Route("/", show), Route("/health/stats", show_stats)],
    middleware=[Middleware(TenantMiddleware, cache=cache)],
)
