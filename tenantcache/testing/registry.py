"""`cache.tenants` and `cache.domains` on the database in memory."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import cast

from tenantcache.admin.registry import Claim, Registry, Removed, TenantSearch
from tenantcache.errors import NameTakenError, UnknownTenantError
from tenantcache.lookup.core.alias import cut, domain_alias
from tenantcache.tenant import LimitTable, Row, tenant_from_row
from tenantcache.testing.clock import FakeClock
from tenantcache.testing.database import MemoryDatabase


@dataclass(slots=True)
class _Held:
    """A tenant's claim to a domain. `check` is the number of the last check: time may stand still between two."""

    domain: str
    tenant_id: str
    token: str
    verified_at: datetime | None = None
    failing_since: float | None = None
    check: int = 0


class MemoryRegistry(Registry):
    """`insert`, `change` and `drop` are `create`, `update` and `delete` for tests that are not coroutines."""

    def __init__(self, database: MemoryDatabase, clock: FakeClock) -> None:
        self._database = database
        self._clock = clock
        self._claims: dict[tuple[str, str], _Held] = {}
        """By domain and tenant, oldest first."""
        self._checks = count(1)

    # Tenants.

    def insert(self, columns: Mapping[str, object], domains: Sequence[str], primary: str | None) -> Row:
        tenant_id = str(columns["id"] or uuid.uuid4())
        if tenant_id in self._database.rows:
            raise NameTakenError(f"id {tenant_id!r} is taken by another tenant")
        names = {"id": tenant_id, "domains": sorted(domains), "primary_domain": primary if primary in domains else None}
        return self._put({**columns, **names})

    def change(self, tenant_id: str, changes: Mapping[str, object]) -> Row:
        return self._put({**self._row(tenant_id), **changes})

    def drop(self, tenant_id: str) -> Row:
        row = self._row(tenant_id)
        self._database.delete(tenant_id)
        self._claims = {key: claim for key, claim in self._claims.items() if claim.tenant_id != tenant_id}
        return row

    async def find(self, search: TenantSearch, after: str, most: int) -> list[Row]:
        rows = [row for tenant_id, row in sorted(self._database.rows.items()) if tenant_id > after]
        return [row for row in rows if _is_wanted(row, search)][:most]

    async def create(self, columns: Mapping[str, object], domains: Sequence[str], primary: str | None) -> Row:
        return self.insert(columns, domains, primary)

    async def update(self, tenant_id: str, changes: Mapping[str, object]) -> Row:
        return self.change(tenant_id, changes)

    async def delete(self, tenant_id: str) -> tuple[str | None, list[str]]:
        row = self.drop(tenant_id)
        return row["subdomain"], row["domains"]

    def _row(self, tenant_id: str) -> Row:
        if tenant_id not in self._database.rows:
            raise UnknownTenantError(f"there is no tenant with the id {tenant_id!r}")
        return self._database.rows[tenant_id]

    def _put(self, columns: Mapping[str, object]) -> Row:
        row = cast(Row, json.loads(json.dumps(columns, allow_nan=False)))  # what the caller holds may change later
        for alias in tenant_from_row(row, LimitTable()).present_aliases[1:]:  # all but its id
            owner = self._database.owner(alias)
            if owner is None or owner["id"] == row["id"] or tenant_from_row(owner, LimitTable()).leads_on(alias):
                continue
            what, name = cut(alias)
            raise NameTakenError(f"{what} {name!r} is taken by another tenant")
        self._database.put(row)
        return row

    # Domains.

    async def claim(self, domain: str, tenant_id: str, token: str) -> Claim:
        if self._owner_of(domain) not in (None, tenant_id):
            raise NameTakenError(f"domain {domain!r} is taken by another tenant")
        self._row(tenant_id)
        return self._shown(self._claims.setdefault((domain, tenant_id), _Held(domain, tenant_id, token)))

    async def claims(self, domain: str, tenant_id: str | None) -> list[Claim]:
        return [
            self._shown(claim)
            for claim in self._claims.values()
            if claim.domain == domain and tenant_id in (None, claim.tenant_id)
        ]

    async def claims_of(self, tenant_id: str) -> list[Claim]:
        return [self._shown(claim) for key, claim in sorted(self._claims.items()) if claim.tenant_id == tenant_id]

    async def claims_to_check(self, limit: int) -> list[Claim]:
        oldest = sorted(self._claims.values(), key=lambda claim: claim.check)
        return [self._shown(claim) for claim in oldest if claim.verified_at is not None and self._serves(claim)][:limit]

    async def note_verified(self, domain: str, tenant_id: str) -> bool:
        claim = self._claims.get((domain, tenant_id))
        if claim is None or self._owner_of(domain) not in (None, tenant_id):
            return False
        row = self._row(tenant_id)
        self._put({**row, "domains": sorted({*row["domains"], domain})})
        claim.verified_at = claim.verified_at or self._clock.now
        claim.failing_since = None
        claim.check = next(self._checks)
        return True

    async def note_failed(self, domain: str, tenant_id: str, grace: float) -> bool:
        claim = self._claims.get((domain, tenant_id))
        if claim is None:
            return False
        claim.check = next(self._checks)
        if claim.failing_since is None:
            claim.failing_since = self._clock()
        if self._clock() - claim.failing_since <= grace:
            return False
        claim.verified_at = None
        return self._take_away(domain, tenant_id)

    async def note_unreachable(self, domain: str, tenant_id: str) -> None:
        claim = self._claims.get((domain, tenant_id))
        if claim is not None:
            claim.check = next(self._checks)

    async def remove(self, domain: str, tenant_id: str) -> Removed:
        had_claim = self._claims.pop((domain, tenant_id), None) is not None
        return Removed(self._take_away(domain, tenant_id), int(had_claim))

    async def remove_from_every_tenant(self, domain: str) -> Removed:
        claims = [claim for claim in self._claims.values() if claim.domain == domain]
        self._claims = {key: claim for key, claim in self._claims.items() if claim.domain != domain}
        return Removed(self._take_away(domain, self._owner_of(domain)), len(claims))

    async def set_primary(self, domain: str, tenant_id: str) -> bool:
        if self._owner_of(domain) != tenant_id:
            return False
        self._put({**self._row(tenant_id), "primary_domain": domain})
        return True

    def _owner_of(self, domain: str) -> str | None:
        row = self._database.owner(domain_alias(domain))
        return None if row is None else row["id"]

    def _take_away(self, domain: str, tenant_id: str | None) -> bool:
        row = self._database.owner(domain_alias(domain))
        if row is None or row["id"] != tenant_id:
            return False
        primary = None if row["primary_domain"] == domain else row["primary_domain"]
        self._put({**row, "domains": [name for name in row["domains"] if name != domain], "primary_domain": primary})
        return True

    def _serves(self, claim: _Held) -> bool:
        return self._owner_of(claim.domain) == claim.tenant_id

    def _shown(self, claim: _Held) -> Claim:
        return Claim(
            domain=claim.domain,
            tenant_id=claim.tenant_id,
            token=claim.token,
            verified_at=claim.verified_at,
            served=self._serves(claim),
        )


def _is_wanted(row: Row, search: TenantSearch) -> bool:
    names = (row["id"], row["name"], row["subdomain"] or "", *row["domains"])
    others = (*row.get("subdomains", ()), *row.get("names", ()))
    return (
        search.status in (None, row["status"])
        and search.plan in (None, row["plan"])
        and any(search.text.lower() in name.lower() for name in (*names, *others))
    )
