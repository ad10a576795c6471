"""For FastAPI: the tenant of a request as a dependency.

@app.get("/")
async def home(tenant: CurrentTenant) -> dict[str, str]:
    return {"hello": tenant.name}

@app.get("/reports", dependencies=[Depends(require_plan("pro", "enterprise"))])
async def reports() -> list[Report]: ...
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, HTTPException

from tenantcache.lookup.current import current_tenant
from tenantcache.tenant import Tenant
from tenantcache.web.plans import PLAN_NEEDED, check_plans, includes

__all__ = ["CurrentTenant", "require_plan", "require_tenant"]


async def require_tenant() -> Tenant:
    """The tenant of this request. Answers 404 on a host or a path that has none (it bypasses tenancy)."""
    tenant = current_tenant()
    if tenant is None:
        raise HTTPException(404, "There is no tenant at this address.")
    return tenant


CurrentTenant = Annotated[Tenant, Depends(require_tenant)]


def require_plan(*plans: str, status_code: int = 403) -> Callable[[Tenant], Awaitable[Tenant]]:
    """A dependency: the tenant, if it has one of `plans`. Answers `status_code` otherwise, and 404 without a tenant.

    Raises TypeError without a plan.
    """
    known = check_plans(plans)

    async def require(tenant: CurrentTenant) -> Tenant:
        if not includes(known, tenant):
            raise HTTPException(status_code, PLAN_NEEDED)
        return tenant

    return require
