"""What the end-to-end tests serve: a small application that takes everything from the environment.

`/health/worker` is outside tenancy, and tells which worker answered and what its engine has counted. `/health/metrics`
has the metrics if there is a directory for them.
"""

from __future__ import annotations

import gc
import os

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from tenantcache import Tenant, TenantCache, TenantMiddleware

cache = TenantCache()


async def home(request: Request) -> JSONResponse:
    tenant: Tenant = request.state.tenant
    return JSONResponse({"id": tenant.id, "name": tenant.name, "worker": os.getpid()})


async def worker(_request: Request) -> JSONResponse:
    return JSONResponse({"worker": os.getpid(), "stats": cache.stats()})


metrics = []
if cache.settings.metrics_dir:  # only for the tests that are about them: others need not load what they need
    from tenantcache.observability.prometheus import MetricsApp

    metrics.append(Mount("/health/metrics", MetricsApp(cache)))

app = Starlette(
    routes=[Route("/", home), Route("/health/worker", worker), *metrics],
    middleware=[Middleware(TenantMiddleware, cache=cache)],
)
gc.freeze()  # what was imported is garbage at no time: to look through it takes a fifth of a short process
