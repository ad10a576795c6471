"""`cache.tenants` and `cache.domains` on the database in memory."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, cast

from tenantcache.admin.registry import Registry
from tenantcache.errors import NameTakenError, UnknownTenantError
from tenantcache.lookup.core.alias import cut, domain_alias
from tenantcache.tenant import LimitTable, Row, tenant_from_row
from tenantcache.testing.clock import FakeClock
from tenantcache.testing.database import MemoryDatabase


class MemoryRegistry(Registry):
    """`insert`, `change` and `drop` are `create`, `update` and `delete` for tests that are no coroutines."""

    def __init__(self, database: MemoryDatabase, clock: FakeClock) -> None:
        self._database = database
        self._clock = clock
        self._claims: dict[tuple[str, str], dict[str, Any]] = {}
        self._failing: dict[tuple[str, str], float] = {}

    # Tenants.

    def insert(self, columns: Mapping[str, Any], domains: Sequence[str], primary: str | None) -> Row:
        tenant_id = columns["id"] or str(uuid.uuid4())
        if tenant_id in self._database.rows:
            raise NameTakenError(f"id {tenant_id!r} is taken by another tenant")
        names = {"id": tenant_id, "domains": sorted(domains), "primary_domain": primary}
        return self._put(cast(Row, dict(columns) | names))

    def change(self, tenant_id: str, changes: Mapping[str, Any]) -> Row:
        return self._put(cast(Row, self._row(tenant_id) | dict(changes)))

    def drop(self, tenant_id: str) -> Row:
        row = self._row(tenant_id)
        self._database.delete(tenant_id)
        self._claims = {key: claim for key, claim in self._claims.items() if key[1] != tenant_id}
        return row

    async def create(self, columns: Mapping[str, Any], domains: Sequence[str], primary: str | None) -> Row:
        return self.insert(columns, domains, primary)

    async def update(self, tenant_id: str, changes: Mapping[str, Any]) -> Row:
        return self.change(tenant_id, changes)

    async def delete(self, tenant_id: str) -> tuple[str | None, list[str]]:
        row = self.drop(tenant_id)
        return row["subdomain"], row["domains"]

    def _row(self, tenant_id: str) -> Row:
        if tenant_id not in self._database.rows:
            raise UnknownTenantError(f"there is no tenant with the id {tenant_id!r}")
        return self._database.rows[tenant_id]

    def _put(self, row: Row) -> Row:
        for alias in tenant_from_row(row, LimitTable()).present_aliases[1:]:  # all but its id
            owner = self._database.owner(alias)
            if owner is None or owner["id"] == row["id"] or tenant_from_row(owner, LimitTable()).leads_on(alias):
                continue
            what, name = cut(alias)
            raise NameTakenError(f"{what} {name!r} is taken by another tenant")
        self._database.put(row)
        return row

    # Domains.

    async def claim(self, domain: str, tenant_id: str, token: str) -> Any:
        self._row(tenant_id)
        if self._owner_of(domain) not in (None, tenant_id):
            raise NameTakenError(f"domain {domain!r} is taken by another tenant")
        fresh = {"domain": domain, "tenant_id": tenant_id, "token": token, "verified_at": None, "checked_at": -1.0}
        return self._shown(self._claims.setdefault((domain, tenant_id), fresh))

    async def claims(self, domain: str, tenant_id: str | None) -> list[Any]:
        return [
            self._shown(claim)
            for (claimed, claimant), claim in self._claims.items()
            if claimed == domain and tenant_id in (None, claimant)
        ]

    async def claims_of(self, tenant_id: str) -> list[Any]:
        return [self._shown(claim) for key, claim in sorted(self._claims.items()) if key[1] == tenant_id]

    async def claims_to_check(self, limit: int) -> list[Any]:
        oldest = sorted(self._claims.values(), key=lambda claim: cast(float, claim["checked_at"]))
        return [found for claim in oldest if (found := self._shown(claim))["served"] and found["verified_at"]][:limit]

    async def note_verified(self, domain: str, tenant_id: str) -> bool:
        if self._owner_of(domain) not in (None, tenant_id) or (domain, tenant_id) not in self._claims:
            return False
        row = self._row(tenant_id)
        self._put(cast(Row, {**row, "domains": sorted({*row["domains"], domain})}))
        self._claims[domain, tenant_id] |= {"verified_at": self._clock.now, "checked_at": self._clock()}
        self._failing.pop((domain, tenant_id), None)
        return True

    async def note_failed(self, domain: str, tenant_id: str, grace: float) -> bool:
        await self.note_unreachable(domain, tenant_id)
        since = self._failing.setdefault((domain, tenant_id), self._clock())
        if self._clock() - since <= grace:
            return False
        self._claims[domain, tenant_id]["verified_at"] = None
        return self._take_away(domain, tenant_id)

    async def note_unreachable(self, domain: str, tenant_id: str) -> None:
        self._claims[domain, tenant_id]["checked_at"] = self._clock()

    async def remove(self, domain: str, tenant_id: str) -> list[bool]:
        claim = self._claims.pop((domain, tenant_id), None)
        return [True] * self._take_away(domain, tenant_id) + [False] * (claim is not None)

    async def remove_from_every_tenant(self, domain: str) -> list[bool]:
        claimants = [key[1] for key in self._claims if key[0] == domain]
        owner = self._owner_of(domain)
        tenants = dict.fromkeys([*claimants, *([owner] if owner is not None else [])])
        return [served for tenant_id in tenants for served in await self.remove(domain, tenant_id)]

    async def set_primary(self, domain: str, tenant_id: str) -> bool:
        if self._owner_of(domain) != tenant_id:
            return False
        self._put(cast(Row, {**self._row(tenant_id), "primary_domain": domain}))
        return True

    def _owner_of(self, domain: str) -> str | None:
        row = self._database.owner(domain_alias(domain))
        return None if row is None else row["id"]

    def _take_away(self, domain: str, tenant_id: str) -> bool:
        row = self._database.owner(domain_alias(domain))
        if row is None or row["id"] != tenant_id:
            return False
        primary = None if row["primary_domain"] == domain else row["primary_domain"]
        left = [name for name in row["domains"] if name != domain]
        self._put(cast(Row, {**row, "domains": left, "primary_domain": primary}))
        return True

    def _shown(self, claim: dict[str, Any]) -> dict[str, Any]:
        return claim | {"served": self._owner_of(claim["domain"]) == claim["tenant_id"]}
