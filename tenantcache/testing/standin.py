"""An engine instead of those that an application has in its middlewares and modules."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from inspect import isfunction
from typing import Any
from weakref import WeakKeyDictionary

from starlette.types import Receive, Scope, Send

from tenantcache.engine import TenantCache
from tenantcache.errors import NotOpenError
from tenantcache.values.values import Values
from tenantcache.web.middleware import TenantMiddleware

_serve = TenantMiddleware.__call__

_VALUE_CALLS = [
    (owner, name, method)
    for owner in Values.__mro__[:-1]
    for name, method in vars(owner).items()
    if isfunction(method) and not name.startswith("_") and name != "cached"  # its functions ask `get_or_load`
]


@contextmanager
def standing_in(cache: TenantCache) -> Iterator[None]:
    """Make every `TenantMiddleware` in this process use `cache`, whenever and wherever it is made. For tests.

    The values of engines that are not open are those of `cache` as well: an application may have its engine, and
    functions with `@cache.values.cached`, in its modules.

    A test cannot reach the middleware that an application makes, so the classes are patched meanwhile. Each middleware
    hands its requests to one of the same options over `cache`. Outside of tests neither class looks for it.
    """
    with _middlewares_over(cache), _values_of(cache.values):
        yield


@contextmanager
def _middlewares_over(cache: TenantCache) -> Iterator[None]:
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


@contextmanager
def _values_of(stand: Values) -> Iterator[None]:
    with ExitStack() as stack:
        for owner, name, method in _VALUE_CALLS:
            stack.callback(setattr, owner, name, vars(owner)[name])
            setattr(owner, name, _over(stand, method))
        yield


def _over(stand: Values, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Values, *args: Any, **kwargs: Any) -> Any:
        return method(_instead_of(self, stand), *args, **kwargs)

    return call


def _instead_of(asked: Values, stand: Values) -> Values:
    """`asked` if its engine is open, as no other than the one that stands in is in most tests."""
    if asked.parts is stand.parts:
        return asked
    try:
        asked.parts.require_open()
    except NotOpenError:
        return stand if hasattr(asked, "shared") else stand.shared
    return asked
