"""What the context holds of the request that is being served, and how the middleware puts it there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import Token
from typing import Any

from tenantcache.lookup.current import serving
from tenantcache.lookup.fastpath import Serving

begin: Callable[[Serving | None], Token[Serving | None]] = serving.set
end: Callable[[Token[Serving | None]], None] = serving.reset


def serving_of(scope: Mapping[str, Any]) -> Serving | None:
    """What the context holds, if that is of the request of `scope`.

    A context may still have another request's: servers begin a pipelined request within the task of the one before it.
    """
    served = serving.get()
    is_meant = served is not None and (scope.get("state") or {}).get("tenant") is served.tenant
    return served if is_meant else None
