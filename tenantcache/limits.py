"""Limits for single routes, each tenant its own: as FastAPI dependencies and as decorators.

    @app.get("/exports", dependencies=[Depends(limit("exports", per_minute=5, per_day=100))])
    async def exports(tenant: CurrentTenant) -> ...

    @limited("exports", per_minute=5)          # Starlette
    async def exports(request: Request) -> ...

The tenant's own limits hold on such a route as well. A request without a tenant (on a base domain or a bypass path, or
without `TenantMiddleware`) is counted for no tenant, and passes.
"""

from tenantcache.web.routelimits import LimitExceededError, cost, costs, limit, limited

__all__ = ["LimitExceededError", "cost", "costs", "limit", "limited"]
