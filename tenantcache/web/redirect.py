"""To the address that a tenant has now: its primary domain, or its present name in place of an old one.

Rules:

* 308: method and body stay as they are (RFC 9110 15.4.9). So do path and query, octet for octet, an old name aside.
* An old name always leads on. Any other name leads only to the primary domain, and only if that is set (`to_primary`).
* No loop: the target is a present name of the same tenant, so that it leads to this tenant, and from there no further.
  If a proxy has replaced the Host by another name of the tenant, the client is at the target already. What a request
  says of that in X-Forwarded-Host or Forwarded is believed, from any peer: not to redirect is always safe.
* A name in the path is replaced there. The location has no host, because a proxy may have replaced the host. A name in
  a header stays, and is served.
* Not to be stored: a name may change, and two permanent redirects in a browser's cache are a loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote, unquote

from starlette.types import Receive, Scope, Send

from tenantcache.lookup.core.alias import domain_alias
from tenantcache.lookup.core.hosts import NO_BASE_DOMAINS, HostRules
from tenantcache.tenant import Tenant
from tenantcache.web.forwarded import forwarded_host
from tenantcache.web.strategies import NameInPath


class Redirect:
    """308 to `location`."""

    def __init__(self, location: bytes) -> None:
        self.location = location

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"location", self.location), (b"content-length", b"0"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 308, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


class Redirects:
    """Of one middleware. With `to_primary`, names that a tenant has now lead to its primary domain, too."""

    def __init__(self, hosts: HostRules, *, to_primary: bool) -> None:
        self._hosts = hosts
        self._to_primary = to_primary

    def find(
        self, scope: Scope, host: bytes | None, at: NameInPath | None, alias: str | None, tenant: Tenant
    ) -> Redirect | None:
        """To where the request should go instead; None if it is to be served.

        `alias` led to the tenant. It stands in the raw `host`, or `at` a place in the path, or in neither. WebSockets
        are served: browsers do not follow redirects with them.
        """
        if scope["type"] != "http":
            return None
        is_old = tenant.leads_on(alias)
        if host is None:
            return present_path(scope, at, tenant) if is_old and at is not None else None
        if self._to_primary and leaves(alias, tenant):
            return redirect_of(scope, host, alias, tenant)
        return present_host(scope, host, self._hosts, tenant) if is_old else None

    def is_final(self, alias: str | None, tenant: Tenant, *, by_host: bool) -> bool:
        """Whether requests by `alias`, which a Host or something else contains, are never sent elsewhere."""
        return not (by_host and self._to_primary and leaves(alias, tenant)) and not tenant.leads_on(alias)


def redirect_of(scope: Scope, raw_host: bytes, alias: str | None, tenant: Tenant) -> Redirect | None:
    """To the primary domain; None if the request is there, or has nowhere else to go.

    `raw_host` is what was classified to `alias`.
    """
    primary = tenant.primary_domain
    if scope["type"] != "http" or primary is None or not leaves(alias, tenant) or _is_at(scope, primary):
        return None
    return _to_host(scope, raw_host, primary)


def leaves(alias: str | None, tenant: Tenant) -> bool:
    """Whether `alias` is another name of the tenant than its primary domain, and there is one to go to."""
    return tenant.primary_domain in tenant.domains and alias != domain_alias(tenant.primary_domain)


def present_host(scope: Scope, raw_host: bytes, hosts: HostRules, tenant: Tenant) -> Redirect | None:
    """From an old name in the Host to a present one: under the same base domain, else the primary domain, else any."""
    present = tenant.present_aliases
    said = forwarded_host(scope["headers"])
    if said is not None and hosts.classify(said).alias in present:
        return None
    base = hosts.base_of(raw_host)
    own = (tenant.primary_domain or "", *tenant.domains)
    near = _under(tenant, () if base is None else (base,))
    for name in (*near, *own, *_under(tenant, hosts.base_domains)):
        # It is classified to a present name, so it can be sent, is not reserved, and leads to this tenant.
        if hosts.classify(name.encode("ascii", "replace")).alias in present:
            return _to_host(scope, raw_host, name)
    return None


def present_path(scope: Scope, at: NameInPath, tenant: Tenant) -> Redirect | None:
    """From an old name in the path to a present one, which stands in its place."""
    name = at.strategy.present_name(tenant)
    if name is None or at.start.startswith("//"):
        return None
    old, query = f"{at.start}{at.name}", scope.get("query_string", b"")
    rest = _raw_rest(scope, old)
    target = _quoted(at.start) + quote(name, safe="/").encode("ascii") + rest
    return Redirect(target + (b"?" + query if query else b""))


def _under(tenant: Tenant, bases: Sequence[str]) -> list[str]:
    return [f"{label}.{base}" if label else base for base in bases for label in tenant.labels]


def _to_host(scope: Scope, raw_host: bytes, name: str) -> Redirect | None:
    """To the same target on another host; the port is that of `raw_host`."""
    target = _target(scope)
    if target is None:
        return None
    port = raw_host.rpartition(b":")[2] if b":" in raw_host else b""
    authority = name.encode("ascii") + (b":" + port if port else b"")
    return Redirect(scope.get("scheme", "http").encode("ascii") + b"://" + authority + target)


def _quoted(path: str) -> bytes:
    return quote(path, safe="/%:@!$&'()*+,;=~").encode("ascii")


def _raw_rest(scope: Scope, beginning: str) -> bytes:
    """What follows in the path on `beginning`, as it came, so that a %2F in it stays one."""
    raw: bytes = (scope.get("raw_path") or b"").partition(b"?")[0]
    parts, count = raw.split(b"/"), beginning.count("/") + 1
    if unquote(b"/".join(parts[:count])) == beginning:
        return b"".join(b"/" + part for part in parts[count:])
    return _quoted(scope["path"][len(beginning) :])


def _target(scope: Scope) -> bytes | None:
    """Path and query as they came; None for `*` and other targets without a path."""
    raw: bytes = scope.get("raw_path") or _quoted(scope["path"])
    if not raw.startswith(b"/"):
        return None
    query: bytes = scope.get("query_string", b"")
    return raw.partition(b"?")[0] + (b"?" + query if query else b"")


def _is_at(scope: Scope, primary: str) -> bool:
    said = forwarded_host(scope["headers"])
    return said is not None and NO_BASE_DOMAINS.classify(said).alias == domain_alias(primary)
