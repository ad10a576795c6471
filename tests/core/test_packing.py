"""A tenant as bytes is the tenant again, whatever its columns hold."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from tenantcache.lookup.core.packing import Reading, due_in, id_in, pack, unpack, watermark_in
from tenantcache.tenant import Limits, Tenant, freeze

FULL: dict[str, Any] = {
    "subdomain": "acme",
    "domains": ("shop.acme.io", "acme.io"),
    "primary_domain": "acme.io",
    "status": "suspended",
    "plan": "pro",
    "limits": Limits(600, 2**53 - 1),
    "attributes": freeze({"tags": ["a", {"b": None}], "rate": 0.1, "big": 2**70, "ok": True, "name": "Zoë 🦊"}),
    "time_zone": "Europe/Berlin",
    "kind": "team",
    "subdomains": ("acme", "acme-old"),
    "slugs": ("acme",),
    "old_names": ("ack",),
    "old_slugs": ("ack-me",),
}


def reading(tenant: Tenant, **changes: Any) -> Reading:
    return Reading(tenant, 7, -inf, 1_234.567_890_123, "postgres", served=True)._replace(**changes)


@pytest.mark.parametrize("columns", [{}, FULL, *({name: value} for name, value in FULL.items())], ids=str)
def test_every_column_comes_back(columns: dict[str, Any]) -> None:
    tenant = Tenant("team:42", 'Zoë\'s \ud800 \x00 "shop"', **columns)
    packed = pack(reading(tenant))
    assert unpack(packed) == reading(tenant)
    assert hash(unpack(packed).tenant.domains) == hash(tenant.domains), "it is immutable again"
    with pytest.raises(TypeError):
        unpack(packed).tenant.attributes["new"] = 1  # type: ignore[index]


@pytest.mark.parametrize("name", ["", "Acme"])
@pytest.mark.parametrize("subdomain", [None, "", "acme"])
def test_the_base_domain_is_not_no_domain(name: str, subdomain: str | None) -> None:
    assert unpack(pack(reading(Tenant("1", name, subdomain)))).tenant == Tenant("1", name, subdomain)


@pytest.mark.parametrize(
    "changes", [{"watermark": 2**40 + 0.5}, {"read_at": 99.5}, {"tier": "redis"}, {"served": False}], ids=str
)
def test_when_and_where_it_was_read_comes_back(changes: dict[str, Any]) -> None:
    told = reading(Tenant("ä" * 200, "Acme"), **changes)
    packed = pack(told)
    assert unpack(packed) == told
    assert (watermark_in(packed), due_in(packed), id_in(packed)) == (told.watermark, told.due, "ä" * 200)


def test_what_says_nothing_takes_no_room() -> None:
    assert len(pack(reading(Tenant("1", "Acme", "acme")))) == 28 + 1 + len('["Acme","acme"]')


def test_what_tenants_share_is_one_object() -> None:
    one, other = (unpack(pack(reading(Tenant(id, "Acme", **FULL)))).tenant for id in ("1", "2"))
    assert one.plan is other.plan
    assert one.limits is other.limits
