"""An engine instead of those that an application's middlewares have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from starlette.types import Receive, Scope, Send

from tenantcache.engine import TenantCache
from tenantcache.web.middleware import TenantMiddleware

_serve = TenantMiddleware.__call__


@contextmanager
def standing_in(cache: TenantCache) -> Iterator[None]:
    """Make every `TenantMiddleware` in this process use `cache`, whenever and wherever it is made. For tests.

    A test cannot reach the middleware that an application makes, so the class is patched meanwhile. Each middleware
    hands its requests to one of the same options over `cache`. Outside of tests a middleware does not look for it.
    """
    stands: WeakKeyDictionary[TenantMiddleware, TenantMiddleware] = WeakKeyDictionary()

    async def serve(self: TenantMiddleware, scope: Scope, receive: Receive, send: Send) -> None:
        stand = stands.get(self)
        if stand is None:
            stand = stands[self] = self.over(cache)
        await _serve(stand, scope, receive, send)

    before = TenantMiddleware.__call__
    TenantMiddleware.__call__ = serve  # type: ignore[method-assign]
    try:
        yield
    finally:
        TenantMiddleware.__call__ = before  # type: ignore[method-assign]
