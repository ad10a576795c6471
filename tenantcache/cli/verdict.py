"""What a request for a host would get, and what to do about it.

The order is that of `web/admission.py`, whose answers (`problems_of`, `Redirects`) are used: the host, the tenant, its
status, a redirect. Limits come after these, and a request that is over them is refused later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tenantcache.lookup.core.hosts import BASE_DOMAIN, HostMatch, HostRules, normalise_domain
from tenantcache.settings.model import Settings, variable_of
from tenantcache.tenant import Tenant
from tenantcache.web.problems import problems_of
from tenantcache.web.redirect import Redirects

Outcome = Literal[
    "served", "redirect", "bypass", "malformed", "unknown", "foreign", "suspended", "maintenance", "deleted"
]

REDIRECT_STATUS = 308
REACHES = ("served", "redirect", "bypass")
"""Outcomes with which a request reaches the application, or an address from which it does."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`status` is the HTTP status of the refusal or redirect; None if the application answers."""

    outcome: Outcome
    status: int | None = None
    location: str | None = None

    @property
    def reaches(self) -> bool:
        return self.outcome in REACHES


def judge(settings: Settings, hosts: HostRules, raw: bytes, match: HostMatch, tenant: Tenant | None) -> Verdict:
    """What becomes of a GET for / with this Host value. `tenant` is what its alias leads to."""
    if match.kind == "bypass" or (match == BASE_DOMAIN and tenant is None):
        return Verdict("bypass")
    if match.kind == "malformed":
        return _refusal(settings, "malformed")
    if tenant is None:
        return _refusal(settings, "unknown" if match.under_base else "foreign")
    if tenant.status != "active":
        return _refusal(settings, tenant.status)
    scope = {"type": "http", "scheme": "https", "path": "/", "raw_path": b"/", "query_string": b"", "headers": []}
    redirect = Redirects(hosts, to_primary=settings.redirect_to_primary).find(scope, raw, None, match.alias, tenant)
    if redirect is None:
        return Verdict("served")
    return Verdict("redirect", REDIRECT_STATUS, redirect.location.decode("latin-1"))


def _refusal(settings: Settings, outcome: Outcome) -> Verdict:
    return Verdict(outcome, problems_of(settings.status_codes)[outcome].status)


def suggest_host(hosts: HostRules, text: str) -> str | None:
    """A host that a person may have meant with what is none: the one in a URL, or the one that browsers send."""
    place = text.partition("://")[2] or text
    for end in "/?#":
        place = place.partition(end)[0]
    place = place.rpartition("@")[2].strip()
    if place != text and hosts.classify(place.encode("utf-8", "surrogateescape")).kind != "malformed":
        return place
    name, colon, port = place.partition(":")
    try:
        sent = normalise_domain(name) + colon + port
    except ValueError:
        return None
    return sent if sent != text and hosts.classify(sent.encode("ascii")).kind != "malformed" else None


_STATUS_ADVICE: Mapping[str, str] = {
    "suspended": "to serve it again: tenantcache tenants resume {id}",
    "maintenance": "to serve it again: tenantcache tenants resume {id}",
    "deleted": "a tombstone: it keeps its names; tenantcache tenants resume {id} brings it back",
}


def advise_on_tenant(verdict: Verdict, tenant: Tenant, *, is_adopted: bool) -> str | None:
    """What to do about a tenant that is not served."""
    if verdict.outcome == "redirect":
        return f"requests are sent on to {verdict.location}"
    advice = _STATUS_ADVICE.get(verdict.outcome)
    if advice is None:
        return None
    return "change its row in the adopted table" if is_adopted else advice.format(id=tenant.id)


def advise_on_setting(decided_by: str | None, base: str | None) -> str:
    """What to do about a host that a setting keeps from being a tenant's."""
    if decided_by == "base_domain_tenant":
        return "no tenant is there (its subdomain would be the empty text), so requests go on without a tenant"
    if decided_by == "reserved_subdomains":
        return f"to let a tenant have it, take the label out of {variable_of('reserved_subdomains')}"
    if decided_by == "base_domains" and base is not None:
        return f"{variable_of('base_domains')} holds {base}: exactly one label in front of it is a tenant's subdomain"
    return "no tenant can have an address; ask by a name"
