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
from functools import lru_cache, partial
from typing import NamedTuple

from starlette.types import Scope

from tenantcache.engine import TenantCache
from tenantcache.errors import StoreUnavailableError
from tenantcache.lookup.core.hosts import BASE_DOMAIN, BYPASS, MALFORMED, MAX_HOST_LENGTH, HostMatch
from tenantcache.lookup.entry import Entry
from tenantcache.lookup.fastpath import Key, Serving
from tenantcache.ratelimit.core.decision import Decision
from tenantcache.ratelimit.limiter import ADMITTED
from tenantcache.stats import RefusalReason
from tenantcache.tenant import Tenant
from tenantcache.web.limitheaders import HeaderLine, LimitHeaders
from tenantcache.web.limitrefusal import limit_refusal
from tenantcache.web.preflight import is_preflight
from tenantcache.web.problems import Problem, problems_of, unavailable
from tenantcache.web.redirect import Redirect, Redirects
from tenantcache.web.requesthost import RequestHost
from tenantcache.web.strategies import Found, Name, ReadHost, Strategy

MAX_REMEMBERED = 1_024
"""Hosts whose meaning is remembered: to read one takes as long as a hot request."""


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
    """Admits the requests of one middleware. `strategies` are empty if the host alone names tenants.

    `special_paths` are prefixes of all paths that are not served as others are.
    """

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
        self.special_paths: tuple[str, ...] = self._bypass + self._unlimited
        self._limits_preflights = settings.limit_preflights
        self._problems = problems_of(settings.status_codes)
        self._redirects = Redirects(cache.hosts, to_primary=settings.redirect_to_primary)
        self._host_of = lru_cache(MAX_REMEMBERED)(lambda raw: ReadHost(raw, cache.hosts.classify(raw)))

    async def find(self, scope: Scope) -> Found:
        """What names the tenant of an HTTP request or a WebSocket. Asks no store."""
        if _is_under(scope["path"], self._bypass):
            return _found(BYPASS, scope)
        return await self.find_named(self._request_host.read(scope), scope)

    async def find_named(self, raw_host: bytes | None, scope: Scope) -> Found:
        """As `find`, if the Host value that counts is known already, and the path does not bypass."""
        if raw_host is None or len(raw_host) > MAX_HOST_LENGTH:
            return _found(MALFORMED, scope)
        host = self._host_of(raw_host)
        by_host = host.match
        if not self.strategies or by_host.kind == "malformed":
            return _found(by_host, scope, raw_host)
        for strategy in self.strategies:
            found = strategy.find(scope, host, self._request_host.is_from_proxy)
            if found is not None:
                found = found if isinstance(found, tuple) else await found
                if found is not None:
                    return found
        # A host that would name a tenant names none here, and has no key: no strategy asked it.
        if by_host == BASE_DOMAIN:
            return _found(BYPASS, scope)
        return _found(by_host if by_host.kind != "alias" else HostMatch("unknown", None, by_host.under_base), scope)

    async def admit(self, found: Found) -> Outcome:
        """Decide on a request. Stores that do not answer are a refusal, too."""
        key, scope, read = found
        name = read()
        match name.match.kind:
            case "bypass":
                return Bypass(scope)
            case "malformed":
                return self._refuse("malformed", scope)
            case "unknown":
                return self._refuse_unknown(name.match, scope)
            case "alias":
                return await self._admit_name(name, key, scope)

    def _refuse(self, reason: RefusalReason, scope: Scope) -> Refuse:
        self._cache.refusals.note(reason)
        return Refuse(scope, self._problems[reason])

    def _refuse_unknown(self, match: HostMatch, scope: Scope) -> Refuse:
        return self._refuse("unknown" if match.under_base else "foreign", scope)

    async def _admit_name(self, name: Name, key: Key | None, scope: Scope) -> Outcome:
        """Look up what was named."""
        match = name.match
        host = key if isinstance(key, bytes) else None
        try:
            if not self._cache.is_open:
                await self._cache.open()  # the server sends no lifespan events
            entry = await self._cache.find(match)
        except StoreUnavailableError as error:
            self._cache.refusals.note("lookup_unavailable")
            return Refuse(scope, unavailable(error.retry_after))
        tenant = entry.tenant
        if tenant is None:
            return Bypass(scope) if match == BASE_DOMAIN else self._refuse_unknown(match, scope)
        if tenant.status != "active":
            return self._refuse(tenant.status, scope)
        redirect = self._redirects.find(scope, host, name.at, match.alias, tenant)
        return redirect or await self._admit_tenant(tenant, entry, key, scope)

    async def _admit_tenant(self, tenant: Tenant, entry: Entry, key: Key | None, scope: Scope) -> Outcome:
        decision = await self._spend(tenant, scope)
        headers = self._headers.of(decision.quotas)
        if not decision.allowed:
            self._cache.refusals.note("limit_unavailable" if decision.unavailable else "limit")
            return Refuse(scope, limit_refusal(decision), headers)
        if not entry.served:
            entry.served = True
            scope.setdefault("state", {})["tenant_tier"] = entry.tier
        serving = Serving(tenant, self._cache, decision.at)
        if key is None or scope["type"] != "http":
            return Serve(scope, serving, headers)
        if self._redirects.is_final(entry.alias, tenant, by_host=isinstance(key, bytes)):
            self._cache.fast_paths.open(key, entry, serving)
        return Serve(scope, serving, headers)

    async def _spend(self, tenant: Tenant, scope: Scope) -> Decision:
        if not self._limits_preflights and is_preflight(scope):
            return ADMITTED  # and no usage
        if _is_under(scope["path"], self._unlimited):
            self._cache.limiter.note_unbacked(tenant, 1)  # it is usage all the same
            return ADMITTED
        return await self._cache.check(tenant)


def _found(match: HostMatch, scope: Scope, key: bytes | None = None) -> Found:
    return key, scope, partial(Name, match)


def _prefixes(paths: Sequence[str]) -> tuple[str, ...]:
    return tuple(path.rstrip("/") for path in paths)


def _is_under(path: str, prefixes: tuple[str, ...]) -> bool:
    return any(path == prefix or path.startswith(prefix + "/") for prefix in prefixes)
