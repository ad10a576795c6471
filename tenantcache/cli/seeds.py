"""The tenants of the demo: fifty, over three plans and all states, the same ones each time."""

from __future__ import annotations

import json
from typing import Any

import asyncpg

PLANS: dict[str, dict[str, int | None]] = {
    "free": {"per_minute": 60, "per_day": 5_000},
    "pro": {"per_minute": 600, "per_day": 100_000},
    "enterprise": {"per_minute": 6_000, "per_day": None},
}

# fmt: off
_NAMES = (
    "Acme", "Globex", "Initech", "Umbrella", "Hooli", "Soylent", "Stark", "Wayne", "Wonka", "Tyrell", "Cyberdyne",
    "Massive", "Pied Piper", "Dunder", "Vandelay", "Sterling", "Prestige", "Oceanic", "Aperture", "Gringotts",
    "Duff", "Kwik", "Monsters", "Planet", "Momcorp", "Buy n Large", "Virtucon", "Nakatomi", "Weyland", "Yoyodyne",
    "Zorin", "Spectre", "Rekall", "Omni", "Oscorp", "Lexcorp", "Daily Planet", "Bluth", "Central Perk",
    "Los Pollos", "Good Burger", "Paper Street", "Gekko", "Bubba Gump", "Cheers", "Mooby", "Sirius", "Ollivander",
    "Three Broomsticks", "Winkie",
)
# fmt: on

_SUSPENDED = frozenset({"umbrella", "soylent", "spectre", "gekko"})
_MAINTENANCE = frozenset({"oceanic"})
_DOMAINS = {
    "acme": ("shop.acme.test", "www.acme.test"),
    "globex": ("portal.globex.test",),
    "hooli": ("hooli.test",),
    "wonka": ("tickets.wonka.test",),
    "stark": ("api.stark.test", "stark.test"),
    "umbrella": ("umbrella.test",),
}
_PLAN_OF = {"acme": "pro", "globex": "enterprise", "initech": "free"}
_COLOURS = ("#2563eb", "#059669", "#d97706", "#dc2626", "#7c3aed", "#0891b2", "#be185d")

_INSERT_TENANTS = """
    INSERT INTO tenantcache.tenants (id, name, subdomain, status, plan, limit_per_minute, attributes)
    SELECT id, name, subdomain, status, plan, limit_per_minute, attributes
    FROM jsonb_to_recordset($1) AS seed (
        id text, name text, subdomain text, status text, plan text, limit_per_minute integer, attributes jsonb)
    ON CONFLICT DO NOTHING
"""
# The join leaves out domains of a tenant that was deleted, or that has another id.
_INSERT_DOMAINS = """
    INSERT INTO tenantcache.tenant_domains (domain, tenant_id, is_primary)
    SELECT domain, tenant_id, is_primary
    FROM jsonb_to_recordset($1) AS seed (domain text, tenant_id text, is_primary boolean)
    JOIN tenantcache.tenants ON tenants.id = tenant_id
    ON CONFLICT DO NOTHING
"""


async def seed(connection: asyncpg.Connection) -> None:
    """Add the demo's tenants that are missing. Tenants that were changed stay as they are."""
    async with connection.transaction():
        await connection.execute(_INSERT_TENANTS, json.dumps(tenants()))
        await connection.execute(_INSERT_DOMAINS, json.dumps(domains()))


def tenants() -> list[dict[str, Any]]:
    """The rows of `tenantcache.tenants`, as JSON objects."""
    return [_tenant(number, name) for number, name in enumerate(_NAMES)]


def domains() -> list[dict[str, Any]]:
    """The rows of `tenantcache.tenant_domains`, as JSON objects."""
    return [
        {"domain": domain, "tenant_id": slug, "is_primary": number == 0}
        for slug, own in _DOMAINS.items()
        for number, domain in enumerate(own)
    ]


def _tenant(number: int, name: str) -> dict[str, Any]:
    slug = name.lower().replace(" ", "-")
    status = "suspended" if slug in _SUSPENDED else "maintenance" if slug in _MAINTENANCE else "active"
    return {
        "id": slug,
        "name": name,
        "subdomain": slug,
        "status": status,
        "plan": _PLAN_OF.get(slug, tuple(PLANS)[number % len(PLANS)]),
        # One tenant has a limit of its own, which counts before its plan's.
        "limit_per_minute": 10 if slug == "cheers" else None,
        "attributes": {"color": _COLOURS[number % len(_COLOURS)], "seats": 5 * (number % 9 + 1)},
    }
