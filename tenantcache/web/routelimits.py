"""What a route may spend of a tenant's limits, and what it spends: `tenantcache.limits` has the public names."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Scope

from tenantcache.engine import TenantCache
from tenantcache.errors import ConfigurationError
from tenantcache.ratelimit.core.arguments import MAX_COST
from tenantcache.ratelimit.core.decision import Decision, Quota, policies_below
from tenantcache.tenant import MAX_PER_DAY, MAX_PER_MINUTE, Limits, Tenant
from tenantcache.web.context import serving_of
from tenantcache.web.limitheaders import HEADER_LINES, HeaderLine, ratelimit_headers
from tenantcache.web.limitrefusal import LimitExceededError, limit_refusal
from tenantcache.web.problems import REPLY, Reply

__all__ = ["LimitExceededError", "cost", "costs", "limit", "limited"]

Dependency = Callable[[HTTPConnection, Response], Awaitable[None]]
Endpoint = Callable[..., Any]

NO_LIMITS = Limits()

MARK = "tenantcache_charge"
"""What a function has that spends before an endpoint: its `Charge`, for `declare_limits`."""

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")


class _Spent(NamedTuple):
    """Tokens that a request holds, of the limit called `name` or of the tenant's own, since the server time `at`.

    None: it holds none.
    """

    tokens: int
    at: float | None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Charge:
    """What one request has to spend: `tokens` of the limit called `name`, or of the tenant's own if that is None."""

    tokens: int
    name: str | None = None
    limits: Limits = NO_LIMITS

    async def spend(self, connection: HTTPConnection) -> list[HeaderLine]:
        """Return the headers that tell of a named limit, unless the middleware adds them to whatever answers.

        Raises `LimitExceededError`, and as `declare` does.
        """
        served = serving_of(connection.scope)
        if served is None or not isinstance(served.cache, TenantCache):
            return []
        tenant, cache = served.tenant, served.cache
        own = _Spent(0 if served.admitted_at is None else 1, served.admitted_at)
        spent: list[_Spent] = connection.scope.setdefault(_SPENT, [own])
        quotas: tuple[Quota, ...] = ()
        if self.name is None:
            decision = await self._spend_more(cache, tenant, spent)
        else:
            self.declare(self.name, cache)
            decision = await cache.check_named(tenant, self.name, self.limits, self.tokens)
            quotas = decision.quotas
            spent.append(_Spent(self.tokens * decision.allowed, decision.at, self.name))
        headers = ratelimit_headers(quotas) if cache.settings.rate_limit_headers else []
        lines: list[HeaderLine] | None = connection.scope.get(HEADER_LINES)
        if lines is not None:
            lines += headers
        if not decision.allowed:
            while spent:
                _give_back(cache, tenant, spent.pop())
            _answer_within(connection.scope)
            raise LimitExceededError(decision, quotas)
        return headers if lines is None else []

    def declare(self, name: str, cache: TenantCache) -> None:
        """Tell `cache` of this limit. Raises `ConfigurationError` if another route gives that name other figures."""
        if (known := cache.route_limits.setdefault(name, self.limits)) != self.limits:
            raise ConfigurationError(
                f"limit {name!r} has other figures on another route: {known}, not {self.limits}; use one name for one"
                " limit"
            )
        cache.limiter.names.add(name)

    async def _spend_more(self, cache: TenantCache, tenant: Tenant, spent: list[_Spent]) -> Decision:
        """The request gives its token back and asks for all that it needs at once.

        If many came together and each kept the token that it came in with, none of them could get the rest.
        """
        if cache.settings.limits == "enforce" and (never := policies_below(tenant.limits, self.tokens)):
            return Decision(False, never)
        own = spent[0]
        needed = own.tokens + self.tokens - 1
        if needed <= own.tokens:
            return Decision(True)
        _give_back(cache, tenant, own)
        spent[0] = _Spent(0, None)
        decision = await cache.check(tenant, needed)
        if decision.allowed:
            spent[0] = _Spent(needed, decision.at)
        return decision


_SPENT = "tenantcache.spent"
"""The key in a scope of what the request's routes have spent: the tenant's own tokens, then those of named limits."""


def _give_back(cache: TenantCache, tenant: Tenant, spent: _Spent) -> None:
    if spent.tokens:
        cache.refund(tenant, spent.tokens, admitted_at=spent.at, name=spent.name)


def _answer_within(scope: Scope) -> None:
    """Let the application that the route belongs to answer as the middleware would, unless it has a handler itself.

    A mounted application answers 500 to every error that it does not know, so the middleware would be too late.
    """
    handlers: tuple[dict[Any, Any], Any] | None = scope.get("starlette.exception_handlers")
    if handlers is not None:
        handlers[0].setdefault(LimitExceededError, _answer)


async def _answer(connection: HTTPConnection, error: LimitExceededError) -> ASGIApp:
    """For the middleware that serves the request: its engine is in the context, and its reply in the scope."""
    served = serving_of(connection.scope)
    shown = served is not None and isinstance(served.cache, TenantCache) and served.cache.settings.rate_limit_headers
    shown = shown and HEADER_LINES not in connection.scope  # otherwise the middleware adds them
    problem = limit_refusal(error.decision, ratelimit_headers(error.named_quotas) if shown else [])
    reply: Reply | None = connection.scope.get(REPLY)
    return (reply(connection.scope, problem) if reply is not None else None) or problem


def limit(name: str, *, per_minute: int | None = None, per_day: int | None = None, cost: int = 1) -> Dependency:
    """A dependency that spends `cost` tokens of the limit `name` in each request.

    Routes of an engine that give the same name share one limit, and must give it the same figures. If they do not, the
    application does not start, or the second one raises `ConfigurationError` when it is asked. Raises ValueError.
    """
    return _dependency(_named(name, per_minute, per_day, cost))


def limited(
    name: str, *, per_minute: int | None = None, per_day: int | None = None, cost: int = 1
) -> Callable[[Endpoint], Endpoint]:
    """As `limit`, as a decorator of a Starlette endpoint: a function, or a method of an `HTTPEndpoint`."""
    return _decorator(_named(name, per_minute, per_day, cost))


def cost(tokens: int) -> Dependency:
    """A dependency that makes each request of a route cost `tokens` of the tenant's own limits, in place of 1.

    One that is refused gives back the token that it came in with. Raises ValueError.
    """
    return _dependency(Charge(_positive("cost", tokens)))


def costs(tokens: int) -> Callable[[Endpoint], Endpoint]:
    """As `cost`, as a decorator of a Starlette endpoint."""
    return _decorator(Charge(_positive("cost", tokens)))


def _dependency(charge: Charge) -> Dependency:
    async def spend(connection: HTTPConnection, response: Response) -> None:
        response.headers.raw.extend(await charge.spend(connection))

    setattr(spend, MARK, charge)
    return spend


def _decorator(charge: Charge) -> Callable[[Endpoint], Endpoint]:
    def decorate(endpoint: Endpoint) -> Endpoint:
        @wraps(endpoint)
        async def spend_first(*args: Any, **kwargs: Any) -> Any:
            connection = next((each for each in (*args, *kwargs.values()) if isinstance(each, HTTPConnection)), None)
            if connection is None:
                raise TypeError(f"{endpoint.__qualname__} is called without a request, by which its tenant is known")
            headers = await charge.spend(connection)
            if inspect.iscoroutinefunction(endpoint):
                response = await endpoint(*args, **kwargs)
            else:
                response = await run_in_threadpool(endpoint, *args, **kwargs)
            if isinstance(response, Response):
                response.headers.raw.extend(headers)
            return response

        setattr(spend_first, MARK, charge)
        return spend_first

    return decorate


def _named(name: str, per_minute: int | None, per_day: int | None, tokens: int) -> Charge:
    if not _NAME.fullmatch(name):
        raise ValueError(f"limit {name!r}: a name is 1 to 40 of a-z, 0-9, _ and -, and begins with a letter")
    if per_minute is None and per_day is None:
        raise ValueError(f"limit {name!r} limits nothing: give per_minute, per_day or both")
    for key, value, most in (("per_minute", per_minute, MAX_PER_MINUTE), ("per_day", per_day, MAX_PER_DAY)):
        if value is not None and (type(value) is not int or not 1 <= value <= most):
            raise ValueError(f"limit {name!r}: {key} is {value!r}; give a whole number from 1 to {most}")
    return Charge(_positive(f"limit {name!r}: cost", tokens), name, Limits(per_minute, per_day))


def _positive(what: str, tokens: int) -> int:
    if type(tokens) is not int or not 1 <= tokens <= MAX_COST:
        raise ValueError(f"{what} is {tokens!r}; give a whole number from 1 to {MAX_COST}")
    return tokens
