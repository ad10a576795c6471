"""Domains that tenants bring along, and the proof that they own them: `cache.domains`.

Rules:

* What is in `tenantcache.tenant_domains` is served. A domain that a tenant asks for lies in `domain_challenges` until
  it is proven, so that typing it in is not enough. What is written by SQL needs no proof.
* The proof is a TXT record with a random token of that tenant's alone: two tenants that ask for one domain have two.
* Asking has three outcomes. "failed" is what the DNS says; if it could not be asked, nothing has been learnt, and
  nothing changes.
* A tenant's own users call this, with what they typed. So each call that changes something names the tenant, and
  never changes another tenant's domain or claim. What an operator may do to every tenant's has a name of its own.
* A domain that stops being proven is not taken away at once: people change DNS servers and forget a record. It goes
  after `grace` of failing.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from tenantcache.admin.dns import DnspythonResolver, TxtResolver
from tenantcache.admin.registry import Claim, Registry
from tenantcache.admin.writethrough import WriteThrough
from tenantcache.errors import (
    DnsUnreachableError,
    InvalidDomainError,
    NameTakenError,
    UnknownDomainError,
)
from tenantcache.lookup.core.alias import domain_alias
from tenantcache.lookup.core.hosts import MAX_NAME_LENGTH, HostRules

LABEL = "_tenantcache-challenge"
"""An underscored name (RFC 8552), apart from the domain itself: there, other records and other services live."""

PREFIX = "tenantcache-verify="

TOKEN_BYTES = 24
"""192 random bits, 32 characters: impossible to guess, and still selected by a double click."""

GRACE = 7 * 86_400.0
"""Seconds. A weekend and some days more to notice that the site's new DNS server lacks a record."""

MAX_QUESTIONS = 10
"""DNS questions under way at once when domains are checked again."""

DnsOutcome = Literal["verified", "failed", "unreachable"]


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a tenant has to put into the DNS. `verified`: it was seen there. `served`: requests reach the tenant."""

    domain: str
    tenant_id: str
    token: str
    verified: bool = False
    served: bool = False

    @property
    def record_name(self) -> str:
        return f"{LABEL}.{self.domain}"

    @property
    def record_value(self) -> str:
        return PREFIX + self.token

    @classmethod
    def of(cls, claim: Claim) -> Self:
        verified = claim["verified_at"] is not None
        return cls(claim["domain"], claim["tenant_id"], claim["token"], verified, claim["served"])


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of asking. `tenant_id` is whose token was found; without one, whose was looked for, if only one's was.

    `removed` is true if the domain has failed for so long that it is no longer served.
    """

    domain: str
    outcome: DnsOutcome
    tenant_id: str | None
    detail: str
    removed: bool = False


class Domains:
    """Besides what each method says, all raise `StoreUnavailableError`, `NotOpenError`, and `AdoptedTableError` if
    an adopted table is served. `dns` is how the DNS is asked; put another `TxtResolver` there to change that."""

    def __init__(
        self, registry: Registry, write_through: WriteThrough, hosts: HostRules, require_open: Callable[[], None]
    ) -> None:
        self.dns: TxtResolver = DnspythonResolver()
        self._registry = registry
        self._write_through = write_through
        self._hosts = hosts
        self._require_open = require_open

    async def add(self, tenant_id: str, name: str) -> Challenge:
        """Ask for a domain; again for the same one gives the same token.

        `name` is mapped by UTS-46 (`BÜCHER.example` is xn--bcher-kva.example). Raises `InvalidDomainError` for what is
        not a host name, is an IP address, or is at or under a base domain; `NameTakenError`; `UnknownTenantError`.
        """
        self._require_open()
        domain = self._normalise(name)
        longest = MAX_NAME_LENGTH - len(f"{LABEL}.")
        if len(domain) > longest:
            raise InvalidDomainError(f"domain {name!r} is too long to be proven; at most {longest} octets are possible")
        claim = await self._registry.claim(domain, tenant_id, secrets.token_urlsafe(TOKEN_BYTES))
        return Challenge.of(claim)

    async def verify(self, name: str, tenant_id: str | None = None) -> Verification:
        """Ask the DNS whether a tenant that has asked for the domain owns it, and serve it if so.

        Of several tenants that have asked for it, the first one whose token is there gets it. `tenant_id` looks for
        the token of that tenant only: give it if a tenant's user asks, to whom another tenant's success says nothing.
        A domain that is served is never taken away by this. Raises `UnknownDomainError` if no tenant has asked for it,
        `NameTakenError` if it became another tenant's meanwhile, and `ConfigurationError` without a resolver.
        """
        self._require_open()
        domain = self._normalise(name)
        claims = [Challenge.of(record) for record in await self._registry.claims(domain, tenant_id)]
        if not claims:
            raise UnknownDomainError(f"no tenant has asked for the domain {domain!r}; add it first")
        found = await self._ask(claims)
        if found.outcome == "verified":
            assert found.tenant_id is not None
            await self._serve(domain, found.tenant_id)
        return found

    async def recheck(self, *, limit: int = 100, grace: float = GRACE) -> list[Verification]:
        """Ask again about verified domains, those first that were asked about longest ago.

        One that has failed for `grace` seconds is served no longer. To be called from time to time, by one process.
        """
        self._require_open()
        claims = [Challenge.of(record) for record in await self._registry.claims_to_check(limit)]
        gate = asyncio.Semaphore(MAX_QUESTIONS)

        async def check(claim: Challenge) -> Verification:
            async with gate:
                return await self._check_again(claim, grace)

        return list(await asyncio.gather(*(check(claim) for claim in claims)))

    async def challenges(self, tenant_id: str) -> list[Challenge]:
        """What the tenant has asked for, proven or not."""
        self._require_open()
        return [Challenge.of(record) for record in await self._registry.claims_of(tenant_id)]

    async def claims(self, name: str) -> list[Challenge]:
        """Which tenants have asked for a domain, in the order in which they did.

        For operators: to a tenant's user it tells what another tenant has asked for. Raises `InvalidDomainError`.
        """
        self._require_open()
        return [Challenge.of(record) for record in await self._registry.claims(self._normalise(name), None)]

    async def set_primary(self, tenant_id: str, name: str) -> None:
        """Make a domain of the tenant its primary one. Raises `UnknownDomainError` if the tenant does not have it."""
        self._require_open()
        domain = self._normalise(name)
        if not await self._registry.set_primary(domain, tenant_id):
            raise UnknownDomainError(f"the tenant {tenant_id!r} does not have the domain {domain!r}")
        await self._write_through.publish(tenant_id)

    async def remove(self, tenant_id: str, name: str) -> None:
        """Serve the tenant's domain no longer, and forget that the tenant has asked for it.

        Other tenants' claims to the domain stay, and so does the domain if it is another tenant's. Raises
        `UnknownDomainError` if the tenant neither has it nor has asked for it.
        """
        self._require_open()
        domain = self._normalise(name)
        removed = await self._registry.remove(domain, tenant_id)
        if removed.is_nothing:
            raise UnknownDomainError(f"the tenant {tenant_id!r} neither has the domain {domain!r} nor has asked for it")
        if removed.domain:
            await self._write_through.withdraw([domain_alias(domain)])

    async def remove_from_every_tenant(self, name: str) -> None:
        """Serve the domain no longer, whichever tenant has it, and forget all claims to it.

        For operators, and never to be called with what a tenant's user has typed. Raises `UnknownDomainError` if no
        tenant has the domain or has asked for it.
        """
        self._require_open()
        domain = self._normalise(name)
        if (await self._registry.remove_from_every_tenant(domain)).is_nothing:
            raise UnknownDomainError(f"no tenant has the domain {domain!r} or has asked for it")
        await self._write_through.withdraw([domain_alias(domain)])

    def _normalise(self, name: str) -> str:
        try:
            return self._hosts.normalise_domain(name)
        except ValueError as error:
            raise InvalidDomainError(str(error)) from None

    async def _ask(self, claims: Sequence[Challenge]) -> Verification:
        """Ask once for all claims to one domain."""
        domain, record_name = claims[0].domain, claims[0].record_name
        only = claims[0].tenant_id if len(claims) == 1 else None
        try:
            values = {value.strip() for value in await self.dns.txt(record_name)}
        except DnsUnreachableError as error:
            return Verification(domain, "unreachable", only, f"{record_name}: {error}; nothing was changed")
        for claim in claims:
            if claim.record_value in values:
                return Verification(domain, "verified", claim.tenant_id, f"{record_name} holds the token")
        lacking = f"has {len(values)} TXT records, none of them" if values else "has no TXT record"
        wanted = f" {claims[0].record_value}" if only is not None else " a token that was asked for"
        return Verification(domain, "failed", only, f"{record_name} {lacking}{wanted if values else ''}")

    async def _serve(self, domain: str, tenant_id: str) -> None:
        if not await self._registry.note_verified(domain, tenant_id):
            raise NameTakenError(f"domain {domain!r} is taken by another tenant")
        await self._write_through.publish(tenant_id)

    async def _check_again(self, claim: Challenge, grace: float) -> Verification:
        found = await self._ask([claim])
        if found.outcome == "verified":
            await self._registry.note_verified(claim.domain, claim.tenant_id)
        elif found.outcome == "unreachable":
            await self._registry.note_unreachable(claim.domain, claim.tenant_id)
        elif await self._registry.note_failed(claim.domain, claim.tenant_id, grace):
            await self._write_through.publish(claim.tenant_id)
            return Verification(claim.domain, "failed", claim.tenant_id, found.detail, removed=True)
        return found
