"""The tenant of the request that is being served, for code that is not handed the request."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from tenantcache.lookup.fastpath import Serving
from tenantcache.tenant import Tenant

serving: ContextVar[Serving | None] = ContextVar("tenantcache_serving", default=None)
begin, end = serving.set, serving.reset


def serving_of(scope: Mapping[str, Any]) -> Serving | None:
    """What the context holds, if that is of the request of `scope`.

    A context may still have another request's: servers begin a pipelined request within the task of the one before it.
    """
    served = serving.get()
    is_meant = served is not None and (scope.get("state") or {}).get("tenant") is served.tenant
    return served if is_meant else None


def current_tenant() -> Tenant | None:
    """The tenant of this request; None outside of one, and if the request bypassed tenancy.

    Seen as well by tasks that the request starts and by endpoints that run in a thread pool.
    """
    served = serving.get()
    return None if served is None else served.tenant
