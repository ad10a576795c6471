"""An engine in place of those that an application's middlewares have."""

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

    An application makes its middleware out of a test's reach, so the class is patched for as long as this lasts:
    whatever is asked of a middleware is done by its like over `cache`. Outside of tests nothing of it is there to look
    for.
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
