"""CORS preflights: what a browser asks before it sends a request to another origin (https://fetch.spec.whatwg.org).

Clients cannot leave them out. If one is refused, the request that waits for it is never sent. So they spend nothing.
"""

from __future__ import annotations

from starlette.types import Scope

_WANTED = frozenset((b"origin", b"access-control-request-method"))


def is_preflight(scope: Scope) -> bool:
    """Whether an HTTP request is one, by its method and headers, as Starlette's CORSMiddleware tells."""
    return scope.get("method") == "OPTIONS" and _WANTED.issubset(name for name, _ in scope["headers"])
