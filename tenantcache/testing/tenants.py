"""Tenants for a test. The methods are not coroutines, so that any test can call them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from tenantcache.admin.tenants import Check, TenantChanges, column_defaults
from tenantcache.lookup.core.names import fold, is_kind
from tenantcache.tenant import Row, Tenant, tenant_from_row
from tenantcache.testing.engine import MemoryCache


class TenantTable:
    """The tenants of a `MemoryCache`. Columns and errors are those of `cache.tenants.create`.

    The columns that only adopted tenants have can be given too: `kind`, `slugs`, `old_names` and `old_slugs`.
    """

    def __init__(self, cache: MemoryCache) -> None:
        self._cache = cache

    def add(
        self,
        tenant_id: str,
        *,
        domains: Sequence[str] = (),
        primary_domain: str | None = None,
        kind: str = "",
        slugs: Sequence[str] = (),
        old_names: Sequence[str] = (),
        old_slugs: Sequence[str] = (),
        **columns: Unpack[TenantChanges],
    ) -> Tenant:
        """Add a tenant. By default its name and its subdomain are its id.

        The id of a tenant with a kind begins with the kind: `add("acme", kind="team")` is `team:acme`. By default it
        has no subdomain, and its slug is its id. The subdomain "" is the base domain itself.
        """
        check = Check(self._cache.hosts)
        check.id(tenant_id)
        if kind and not is_kind(kind):
            check.fault(f"kind is {kind!r:.80}; give 1 to 63 of a to z, 0 to 9, _ and -")
        given: dict[str, Any] = {"name": tenant_id, "subdomain": None if kind else tenant_id} | dict(columns)
        on_base_domain = given["subdomain"] == ""
        checked = check.columns(given | {"subdomain": None} if on_base_domain else given)
        if on_base_domain:
            checked["subdomain"] = ""
        names = list(dict.fromkeys(check.domain(domain) for domain in domains))
        primary = None if primary_domain is None else check.domain(primary_domain)
        adopted = {
            "names": _folded(check, slugs or ([tenant_id] if kind else [])),
            "old_names": _folded(check, old_names),
            "old_slugs": _folded(check, old_slugs),
        }
        check.stop_at_faults()
        if primary is not None and primary not in names:
            names.append(primary)
        row = {"id": f"{kind}:{tenant_id}" if kind else tenant_id, **column_defaults(), **checked}
        if kind or any(adopted.values()):
            row |= {"kind": kind, **adopted}
        return self._tenant(self._cache.registry.insert(row, names, primary))

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


def _folded(check: Check, names: Sequence[str]) -> list[str]:
    """As the database writes them."""
    found = [fold(name) for name in names]
    for name, folded in zip(names, found, strict=True):
        if folded is None:
            check.fault(f"name {name!r:.80} is not possible; give 1 to 253 octets without control characters")
    return [name for name in found if name is not None]
