"""The slow path of a request: which tenant is this, and is it within its limits?

It may wait for stores, and says what is to become of the request, as a value: `Refuse`, `Redirect`, `Bypass` or
`Serve`. The middleware acts on it.

The order of the checks, of which the first that decides is the last:

* the path, the host, and the strategies that name a tenant;
* the tenant and its status;
* a redirect to another name;
* the limits: so no token is spent for a request that is refused or redirected before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from starlette.types import Scope

from tenantcache.engine import TenantCache
from tenantcache.errors import StoreUnavailableError
from tenantcache.lookup.core.hosts import BASE_DOMAIN, BYPASS, HostMatch
from tenantcache.lookup.fastpath import Serving
from tenantcache.lookup.memory import Entry
from tenantcache.ratelimit.core.decision import NOTHING_SPENT, Decision
from tenantcache.ratelimit.limiter import ADMITTED
from tenantcache.tenant import Tenant
from tenantcache.web.limitheaders import HeaderLine, LimitHeaders
from tenantcache.web.limitrefusal import limit_refusal
from tenantcache.web.preflight import is_preflight
from tenantcache.web.problems import Problem, problems_of, unavailable
from tenantcache.web.redirect import Redirect, Redirects
from tenantcache.web.requesthost import RequestHost
from tenantcache.web.strategies import Found, Strategy, StrategyRequest


class Refuse(NamedTuple):
    """Answer with `problem`; `headers` are for whatever answers in its place, too."""

    scope: Scope
    problem: Problem
    headers: Sequence[HeaderLine] = ()


class Bypass(NamedTuple):
    """Go on without a tenant."""

    scope: Scope


class Serve(NamedTuple):
    """Go on as a request of `serving.tenant`, which is within its limits; `headers` tell of these."""

    scope: Scope
    serving: Serving
    headers: Sequence[HeaderLine]


Outcome = Refuse | Redirect | Bypass | Serve
"""The scope of an outcome is the one to go on with: a path prefix that names the tenant is taken off it."""


class Admission:
    """Admits the requests of one middleware. `strategies` are empty if the host alone names tenants."""

    def __init__(
        self, cache: TenantCache, request_host: RequestHost, strategies: Sequence[Strategy], headers: LimitHeaders
    ) -> None:
        settings = cache.settings
        self._cache = cache
        self._request_host = request_host
        self.strategies = strategies
        self._headers = headers
        self._bypass = _prefixes(settings.bypass_paths)
        self._unlimited = _prefixes(settings.unlimited_paths)
        self._limits_preflights = settings.limit_preflights
        self._problems = problems_of(settings.status_codes)
        self._redirects = Redirects(cache.hosts, to_primary=settings.redirect_to_primary)

    @property
    def special_paths(self) -> tuple[str, ...]:
        """Prefixes of all paths that are not served as others are."""
        return self._bypass + self._unlimited

    async def admit(self, scope: Scope) -> Outcome:
        """Decide on an HTTP request or a WebSocket. Stores that do not answer are a refusal, too."""
        if _is_under(scope["path"], self._bypass):
            return Bypass(scope)
        host = self._request_host.read(scope)
        by_host = HostMatch("malformed") if host is None else self._cache.hosts.classify(host)
        if host is None or by_host.kind == "malformed":
            return Refuse(scope, self._problems["malformed"])
        found = await self._ask_strategies(by_host, scope) if self.strategies else Found(by_host, scope)
        if found.match.kind == "bypass":
            return Bypass(found.scope)
        if found.match.kind == "unknown":
            return Refuse(found.scope, self._unknown(found.match))
        return await self._admit_found(found, host if found.match is by_host else None)

    async def _ask_strategies(self, by_host: HostMatch, scope: Scope) -> Found:
        request = StrategyRequest(scope, by_host, lambda: self._request_host.is_from_proxy(scope))
        for strategy in self.strategies:
            found = await strategy.find(request)
            if found is not None:
                return found
        # A host that would name a tenant names none here: no strategy asked it.
        if by_host == BASE_DOMAIN:
            return Found(BYPASS, scope)
        return Found(by_host if by_host.kind != "alias" else HostMatch("unknown", None, by_host.under_base), scope)

    def _unknown(self, match: HostMatch) -> Problem:
        return self._problems["unknown" if match.under_base else "foreign"]

    async def _admit_found(self, found: Found, host: bytes | None) -> Outcome:
        """Look up what was found; `host` is what named it, None if a strategy did."""
        match, scope, place = found
        try:
            if not self._cache.is_open:
                await self._cache.open()  # the server sends no lifespan events
            entry = await self._cache.find(match)
        except StoreUnavailableError as error:
            return Refuse(scope, unavailable(error.retry_after))
        tenant = entry.tenant
        if tenant is None:
            return Bypass(scope) if match == BASE_DOMAIN else Refuse(scope, self._unknown(match))
        if tenant.status != "active":
            return Refuse(scope, self._problems[tenant.status])
        redirect = self._redirects.find(scope, host, place, match.alias, tenant)
        return redirect or await self._admit_tenant(tenant, entry, host, scope)

    async def _admit_tenant(self, tenant: Tenant, entry: Entry, host: bytes | None, scope: Scope) -> Outcome:
        decision = await self._spend(tenant, scope)
        headers = self._headers.of(decision.quotas)
        if not decision.allowed:
            return Refuse(scope, limit_refusal(decision), headers)
        if not entry.served:
            entry.served = True
            scope.setdefault("state", {})["tenant_tier"] = entry.tier
        serving = Serving(tenant, self._cache, decision.at or NOTHING_SPENT)
        if host is not None and scope["type"] == "http" and self._redirects.is_final(entry.alias, tenant):
            self._cache.fast_paths.open(host, entry, serving)
        return Serve(scope, serving, headers)

    async def _spend(self, tenant: Tenant, scope: Scope) -> Decision:
        if not self._limits_preflights and is_preflight(scope):
            return ADMITTED  # and no usage
        if _is_under(scope["path"], self._unlimited):
            self._cache.limiter.note_unbacked(tenant, 1)  # it is usage all the same
            return ADMITTED
        return await self._cache.check(tenant)


def _prefixes(paths: Sequence[str]) -> tuple[str, ...]:
    return tuple(path.rstrip("/") for path in paths)


def _is_under(path: str, prefixes: tuple[str, ...]) -> bool:
    return any(path == prefix or path.startswith(prefix + "/") for prefix in prefixes)
