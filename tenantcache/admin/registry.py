"""What tenants and domains are written to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol, TypedDict

from tenantcache.tenant import Row, Status


@dataclass(frozen=True, slots=True)
class TenantSearch:
    """Which tenants are wanted: None and "" want all. `text` is a part of an id, a name, a subdomain, a slug or a
    domain, capitals aside."""

    status: Status | None = None
    plan: str | None = None
    text: str = ""

    @property
    def wants_all(self) -> bool:
        return self.status is None and self.plan is None and not self.text


class Claim(TypedDict):
    """What is known of a tenant's claim to a domain. `served`: the domain is that tenant's."""

    domain: str
    tenant_id: str
    token: str
    verified_at: datetime | None
    served: bool


class Removed(NamedTuple):
    """What was taken away: the domain itself, if a tenant had it, and so many claims to it."""

    domain: bool
    claims: int

    @property
    def is_nothing(self) -> bool:
        return not self.domain and not self.claims


class Registry(Protocol):
    """The owned tables, for writing. All methods raise `StoreUnavailableError`, and `AdoptedTableError` if other
    tables are served. A call that raises has changed nothing.

    A claim has the items `domain`, `tenant_id`, `token` and `verified_at` (None until it is proven). One that is read
    has `served` as well: whether requests for the domain reach the tenant.
    """

    async def find(self, search: TenantSearch, after: str, most: int) -> list[Row]:
        """Tenants by id, those whose id comes after `after`, at most `most`. Those of an adopted table as well: never
        raises `AdoptedTableError`."""
        ...

    async def create(self, columns: Mapping[str, object], domains: Sequence[str], primary: str | None) -> Row:
        """Insert a tenant; an id of None makes one up. `primary` is one of `domains`. Raises `NameTakenError`."""
        ...

    async def update(self, tenant_id: str, changes: Mapping[str, object]) -> Row:
        """Set the columns in `changes`. Raises `UnknownTenantError` and `NameTakenError`."""
        ...

    async def delete(self, tenant_id: str) -> tuple[str | None, list[str]]:
        """Delete a tenant and its claims; return the subdomain and the domains that it had.

        Raises `UnknownTenantError`.
        """
        ...

    async def claim(self, domain: str, tenant_id: str, token: str) -> Claim:
        """Note that a tenant asks for a domain; return its claim, which keeps an older token.

        Raises `NameTakenError` and `UnknownTenantError`.
        """
        ...

    async def claims(self, domain: str, tenant_id: str | None) -> list[Claim]:
        """A tenant's claim to a domain, or (None) those of all tenants in the order in which they were made."""
        ...

    async def claims_of(self, tenant_id: str) -> list[Claim]:
        """A tenant's claims, by domain."""
        ...

    async def claims_to_check(self, limit: int) -> list[Claim]:
        """Claims that were verified and are served, those that were checked longest ago first."""
        ...

    async def note_verified(self, domain: str, tenant_id: str) -> bool:
        """Serve a claimed domain; False if it was not claimed, or is another tenant's by now.

        A claim that was proven before keeps the time of that proof.
        """
        ...

    async def note_failed(self, domain: str, tenant_id: str, grace: float) -> bool:
        """Note a failed check of a claim. If checks have failed for longer than `grace` seconds, the claim is not
        verified any more and the domain is not served. True if it was served until now."""
        ...

    async def note_unreachable(self, domain: str, tenant_id: str) -> None:
        """Note a check of a claim that had no answer."""
        ...

    async def remove(self, domain: str, tenant_id: str) -> Removed:
        """Take a tenant's domain and its claim to it away."""
        ...

    async def remove_from_every_tenant(self, domain: str) -> Removed:
        """As `remove`, for the tenant that has the domain and for each one that claims it."""
        ...

    async def set_primary(self, domain: str, tenant_id: str) -> bool:
        """Make a tenant's domain its primary one; False if the tenant does not have it."""
        ...
