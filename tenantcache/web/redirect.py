"""To a tenant's primary domain, for requests that came by another of its names.

Rules:

* 308: method and body stay as they are (RFC 9110 15.4.9), and so do path and query, octet for octet.
* No loop: the target is a domain of the same tenant, so that it leads to this tenant, and is its primary one. Where a
  proxy has replaced the Host by another name of the tenant the client is at the target already; what such proxies say
  in X-Forwarded-Host or Forwarded is believed for that alone, from anybody: not to redirect is always safe.
* Not to be stored: a primary domain may change, and two permanent redirects in a browser's cache are a loop.
"""

from __future__ import annotations

from urllib.parse import quote

from starlette.types import Receive, Scope, Send

from tenantcache.core.hosts import HostRules, forwarded_host
from tenantcache.core.tenant import DOMAIN_ALIAS, Tenant

_NO_BASE = HostRules(())


class Redirect:
    """308 to `location`."""

    def __init__(self, location: bytes) -> None:
        self.location = location

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"location", self.location), (b"content-length", b"0"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 308, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def redirect_of(scope: Scope, raw_host: bytes, alias: str | None, tenant: Tenant) -> Redirect | None:
    """Where the request should go instead; None where it is at the primary domain, or has nowhere else to go.

    `raw_host` is what was classified to `alias`. WebSockets stay: browsers do not follow redirects with them.
    """
    primary, target = tenant.primary_domain, _target(scope)
    if scope["type"] != "http" or primary is None or target is None:
        return None
    if not leaves(alias, tenant) or _is_at(scope, primary):
        return None
    port = raw_host.rpartition(b":")[2] if b":" in raw_host else b""
    authority = primary.encode("ascii") + (b":" + port if port else b"")
    return Redirect(scope.get("scheme", "http").encode("ascii") + b"://" + authority + target)


def leaves(alias: str | None, tenant: Tenant) -> bool:
    """Whether `alias` is another name of the tenant than its primary domain, and there is one to go to."""
    return tenant.primary_domain in tenant.domains and alias != f"{DOMAIN_ALIAS}{tenant.primary_domain}"


def _target(scope: Scope) -> bytes | None:
    """Path and query as they came; None for `*` and other targets without a path."""
    raw: bytes = scope.get("raw_path") or quote(scope["path"], safe="/%:@!$&'()*+,;=~").encode("ascii")
    if not raw.startswith(b"/"):
        return None
    query: bytes = scope.get("query_string", b"")
    return raw.partition(b"?")[0] + (b"?" + query if query else b"")


def _is_at(scope: Scope, primary: str) -> bool:
    said = forwarded_host(scope["headers"])
    return said is not None and _NO_BASE.classify(said).alias == DOMAIN_ALIAS + primary
