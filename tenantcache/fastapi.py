"""For FastAPI: the tenant of a request as a dependency.

@app.get("/")
async def home(tenant: CurrentTenant) -> dict[str, str]:
    return {"hello": tenant.name}
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, HTTPException

from tenantcache.context import current_tenant
from tenantcache.core.tenant import Tenant


async def require_tenant() -> Tenant:
    """The tenant of this request. Answers 404 on a host or a path that has none (it bypasses tenancy)."""
    tenant = current_tenant()
    if tenant is None:
        raise HTTPException(404, "There is no tenant at this address.")
    return tenant


CurrentTenant = Annotated[Tenant, Depends(require_tenant)]
