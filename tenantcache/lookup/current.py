"""The tenant of the request that is being served, for code that is not handed the request."""

from __future__ import annotations

from contextvars import ContextVar

from tenantcache.lookup.fastpath import Serving
from tenantcache.tenant import Tenant

serving: ContextVar[Serving | None] = ContextVar("tenantcache_serving", default=None)


def current_tenant() -> Tenant | None:
    """The tenant of this request; None outside of one, and if the request bypassed tenancy.

    Seen as well by tasks that the request starts and by endpoints that run in a thread pool.
    """
    served = serving.get()
    return None if served is None else served.tenant
