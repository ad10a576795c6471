"""The tenant of the request that is being served, for code that is not handed the request."""

from __future__ import annotations

from contextvars import ContextVar

from tenantcache.core.tenant import Tenant

serving: ContextVar[Tenant | None] = ContextVar("tenantcache_tenant", default=None)


def current_tenant() -> Tenant | None:
    """The tenant of this request; None outside of one, and where the request bypassed tenancy.

    Seen as well by tasks that the request starts and by endpoints that run in a thread pool.
    """
    return serving.get()
