"""Reading the tenant that a person names: from Postgres, so that it costs nothing."""

from __future__ import annotations

from typing import Protocol

from tenantcache.errors import StoreError, StoreUnavailableError, UnknownTenantError, told_as_unavailable
from tenantcache.lookup.core.alias import id_alias
from tenantcache.lookup.core.hosts import HostRules
from tenantcache.lookup.sources import TenantStore
from tenantcache.settings.model import Settings
from tenantcache.tenant import LimitOrigins, Row, Tenant, tenant_from_row


class Source(Protocol):
    """A reader, or an engine."""

    @property
    def settings(self) -> Settings: ...

    @property
    def hosts(self) -> HostRules: ...

    async def read_row(self, alias: str) -> Row | None: ...


async def read_row(store: TenantStore, alias: str) -> Row | None:
    """The columns of the tenant that `alias` leads to. Raises `StoreUnavailableError`."""
    with told_as_unavailable(StoreError):
        snapshot = await store.read([alias])
    if alias in snapshot.unknown:
        raise StoreUnavailableError("the names of tenants are being read anew; try again in a moment")
    return snapshot.rows[alias]


async def get_tenant(source: Source, tenant_id: str) -> Tenant:
    """The tenant with that id. Raises `UnknownTenantError`, which names the tenant that has the text as its host."""
    row = await _row_by_id(source, tenant_id)
    if row is None:
        owner = await _row_by_host(source, tenant_id)
        hint = "" if owner is None else f"; the host of that name leads to the tenant {owner['id']!r}"
        raise UnknownTenantError(f"there is no tenant with the id {tenant_id!r}{hint}")
    return tenant_from_row(row, source.settings.limit_table)


async def find_tenant(source: Source, name: str) -> tuple[Tenant, LimitOrigins]:
    """The tenant with that id, else the one that the host leads to, and where its limits come from.

    Raises `UnknownTenantError`.
    """
    row = await _row_by_id(source, name) or await _row_by_host(source, name)
    if row is None:
        raise UnknownTenantError(
            f"{name!r} is neither the id of a tenant nor a host that leads to one; `tenantcache resolve` says why"
        )
    limits = source.settings.limit_table
    return tenant_from_row(row, limits), limits.origins(row)


async def origins_of(source: Source, tenant: Tenant) -> LimitOrigins | None:
    """Where the limits of a tenant come from; None if it is not there any more."""
    row = await _row_by_id(source, tenant.id)
    return None if row is None else source.settings.limit_table.origins(row)


async def _row_by_id(source: Source, tenant_id: str) -> Row | None:
    return await source.read_row(id_alias(tenant_id)) if is_storable(tenant_id) else None


async def _row_by_host(source: Source, host: str) -> Row | None:
    alias = source.hosts.classify(host.encode("utf-8", "surrogateescape")).alias
    return None if alias is None else await source.read_row(alias)


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can hold `text`: arguments may have octets that are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
