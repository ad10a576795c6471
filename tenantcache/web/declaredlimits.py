"""The named limits in an application, found before its first request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tenantcache.engine import TenantCache
from tenantcache.web.routelimits import MARK, Charge

MAX_DEPTH = 20
"""Applications and middlewares within one another that are looked into: one may be mounted within itself."""


def declare_limits(app: object, cache: TenantCache) -> None:
    """Tell `cache` of the named limits in `app`, as far as Starlette's and FastAPI's routes show them.

    It learns of others when they are first asked for. Raises `ConfigurationError` if two routes disagree.
    """
    for function in _functions_of(app):
        charge: Charge | None = getattr(function, MARK, None)
        if charge is not None and charge.name is not None:
            charge.declare(charge.name, cache)


def _functions_of(app: object, depth: int = MAX_DEPTH) -> Iterator[object]:
    yield from _given_to(app)
    routes = getattr(app, "routes", None)
    if routes is None and depth:
        yield from _functions_of(getattr(app, "app", None), depth - 1)  # a middleware, as most of them are made
    for route in routes if isinstance(routes, list) and depth else ():
        endpoint = getattr(route, "endpoint", None)
        yield from (endpoint, *(vars(endpoint).values() if isinstance(endpoint, type) else ()))
        yield from _dependencies_of(getattr(route, "dependant", None))
        yield from _given_to(getattr(route, "include_context", None))
        router = getattr(route, "original_router", None)  # FastAPI looks into the routers that it includes later
        yield from _functions_of(router or route, depth - 1)


def _given_to(owner: object) -> Iterator[object]:
    """What stands in `dependencies=[...]` of an application, a router, or `include_router`."""
    given = getattr(owner, "dependencies", None)
    yield from (getattr(each, "dependency", None) for each in (given if isinstance(given, list) else ()))


def _dependencies_of(dependant: Any) -> Iterator[object]:
    for below in getattr(dependant, "dependencies", ()):
        yield below.call
        yield from _dependencies_of(below)
