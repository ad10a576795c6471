"""Acting as a tenant: code sees it as the current one, and a client's requests go to its host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tenantcache.errors import TenantCacheError
from tenantcache.lookup.current import serving
from tenantcache.lookup.fastpath import Serving
from tenantcache.tenant import Tenant


@dataclass(frozen=True, slots=True)
class Acting:
    """A tenant, and how a client reaches it."""

    tenant: Tenant
    host: str

    @property
    def base_url(self) -> str:
        """For `TestClient(app, base_url=...)`, and httpx's clients."""
        return f"http://{self.host}"

    @property
    def ws_url(self) -> str:
        """For WebSockets, for which Starlette's test client has no base URL."""
        return f"ws://{self.host}"

    @property
    def headers(self) -> dict[str, str]:
        """For clients without a base URL: `client.get("/", headers=acme.headers)`."""
        return {"host": self.host}


@contextmanager
def acting_as(tenant: Tenant, base_domain: str, client: Any = None) -> Iterator[Acting]:
    """Inside, `current_tenant()` is `tenant`, and requests of `client` go to it.

    `client` has a `base_url`, as clients of httpx do; it is restored afterwards. Raises `TenantCacheError` if no host
    leads to the tenant.
    """
    acting = Acting(tenant, _host_of(tenant, base_domain))
    token = serving.set(Serving(tenant, None))
    before = None if client is None else client.base_url
    try:
        if client is not None:
            client.base_url = acting.base_url
        yield acting
    finally:
        if client is not None:
            client.base_url = before
        serving.reset(token)


def _host_of(tenant: Tenant, base_domain: str) -> str:
    if tenant.primary_domain:
        return tenant.primary_domain
    if tenant.subdomain and base_domain:
        return f"{tenant.subdomain}.{base_domain}"
    if tenant.domains:
        return tenant.domains[0]
    if base_domain and (tenant.slugs or tenant.subdomain == ""):
        return base_domain  # it is there itself, or its name is in the path or in a header
    raise TenantCacheError(f"tenant {tenant.id!r} has neither a subdomain nor a domain: no request can reach it")
