"""Tenants for a test, a line each. No coroutines: tests that are none use them as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from tenantcache.core.tenant import Row, Tenant, tenant_from_row
from tenantcache.tenants import Check, TenantChanges, column_defaults
from tenantcache.testing.engine import MemoryCache


class TenantTable:
    """The tenants of a `MemoryCache`. Columns are those of `cache.tenants.create`, and so are the errors."""

    def __init__(self, cache: MemoryCache) -> None:
        self._cache = cache

    def add(
        self,
        tenant_id: str,
        *,
        domains: Sequence[str] = (),
        primary_domain: str | None = None,
        **columns: Unpack[TenantChanges],
    ) -> Tenant:
        """Add a tenant; its name and its subdomain are its id, unless told otherwise."""
        check = Check(self._cache.hosts)
        check.id(tenant_id)
        given: dict[str, Any] = {"name": tenant_id, "subdomain": tenant_id} | dict(columns)
        checked = check.columns(given)
        names = list(dict.fromkeys(check.domain(domain) for domain in domains))
        primary = None if primary_domain is None else check.domain(primary_domain)
        check.stop_at_faults()
        if primary is not None and primary not in names:
            names.append(primary)
        return self._tenant(
            self._cache.registry.insert({"id": tenant_id, **column_defaults(), **checked}, names, primary)
        )

    def update(self, tenant_id: str, **changes: Unpack[TenantChanges]) -> Tenant:
        """Change what is given; the next request sees it."""
        check = Check(self._cache.hosts)
        checked = check.columns(changes)
        check.stop_at_faults()
        return self._tenant(self._cache.registry.change(tenant_id, checked))

    def suspend(self, tenant_id: str) -> Tenant:
        return self.update(tenant_id, status="suspended")

    def resume(self, tenant_id: str) -> Tenant:
        return self.update(tenant_id, status="active")

    def delete(self, tenant_id: str) -> None:
        self._cache.registry.drop(tenant_id)

    def get(self, tenant_id: str) -> Tenant | None:
        row = self._cache.database.rows.get(tenant_id)
        return None if row is None else self._tenant(row)

    def _tenant(self, row: Row) -> Tenant:
        return tenant_from_row(row, self._cache.settings.limit_table)
