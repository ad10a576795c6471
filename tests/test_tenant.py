"""What tenants have in common is in memory once."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

from tenantcache.tenant import LimitTable, Tenant, tenant_from_row

ROW: dict[str, Any] = {
    "id": "1",
    "name": "Acme",
    "subdomain": "acme",
    "domains": [],
    "primary_domain": None,
    "status": "active",
    "plan": "pro plus",
    "limit_per_minute": 5,
    "limit_per_day": None,
    "time_zone": "Europe/Berlin",
    "attributes": {"a colour": "red", "a place": {"a floor": 1}},
}


def read(plan: object = "pro plus") -> Tenant:
    """As from a store: each row has texts of its own."""
    row = json.loads(json.dumps(ROW))
    return tenant_from_row(row if plan == "pro plus" else row | {"plan": plan}, LimitTable())


def test_tenants_share_the_texts_that_many_have() -> None:
    one, other = read(), read()
    assert one == other
    for name in ("status", "plan", "time_zone", "limits"):
        assert getattr(one, name) is getattr(other, name), name
    for own, others in ((one.attributes, other.attributes), (one.attributes["a place"], other.attributes["a place"])):
        assert list(map(id, own)) == list(map(id, others))


def test_a_text_of_another_type_is_kept() -> None:
    """Tests that fill a cache in memory may give an enum's member."""

    class Plan(StrEnum):
        PRO = "pro"

    assert read(Plan.PRO).plan is Plan.PRO
