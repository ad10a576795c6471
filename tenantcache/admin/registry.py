"""What tenants and domains are written to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tenantcache.tenant import Row


class Registry(Protocol):
    """The owned tables, for writing. All methods raise `StoreUnavailableError`, and `AdoptedTableError` if other
    tables are served."""

    async def create(self, columns: Mapping[str, Any], domains: Sequence[str], primary: str | None) -> Row:
        """Insert a tenant; an id of None makes one up. Raises `NameTakenError`."""
        ...

    async def update(self, tenant_id: str, changes: Mapping[str, Any]) -> Row:
        """Set the columns in `changes`. Raises `UnknownTenantError` and `NameTakenError`."""
        ...

    async def delete(self, tenant_id: str) -> tuple[str | None, list[str]]:
        """Delete a tenant; return the subdomain and the domains that it had. Raises `UnknownTenantError`."""
        ...

    async def claim(self, domain: str, tenant_id: str, token: str) -> Any:
        """Note that a tenant asks for a domain; return its claim, which keeps an older token.

        Raises `NameTakenError` and `UnknownTenantError`.
        """
        ...

    async def claims(self, domain: str, tenant_id: str | None) -> list[Any]: ...

    async def claims_of(self, tenant_id: str) -> list[Any]: ...

    async def claims_to_check(self, limit: int) -> list[Any]:
        """Claims that were verified and are served, those that were checked longest ago first."""
        ...

    async def note_verified(self, domain: str, tenant_id: str) -> bool:
        """Serve a claimed domain; False if it is another tenant's by now."""
        ...

    async def note_failed(self, domain: str, tenant_id: str, grace: float) -> bool:
        """Note a failed check; True if the domain has failed for `grace` seconds and is no longer served."""
        ...

    async def note_unreachable(self, domain: str, tenant_id: str) -> None: ...

    async def remove(self, domain: str, tenant_id: str) -> list[bool]:
        """Take a tenant's domain, and its claim to it, away. For each of the two that there was: was it served?"""
        ...

    async def remove_from_every_tenant(self, domain: str) -> list[bool]:
        """As `remove`, whichever tenant has the domain, and with all claims to it."""
        ...

    async def set_primary(self, domain: str, tenant_id: str) -> bool:
        """Make a tenant's domain its primary one; False if the tenant does not have it."""
        ...
