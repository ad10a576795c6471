"""What tenants have in common is in memory once."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any, cast

import pytest

from tenantcache.tenant import Limits, LimitTable, Row, Tenant, tenant_from_row

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


@pytest.mark.parametrize(
    ("own", "plan", "limits", "origins"),
    [
        ((5, 7), "pro", (5, 7), ("tenant", "tenant")),
        ((0, None), "pro", (None, 60), ("tenant", "plan")),
        ((None, None), "free", (600, None), ("default", "plan")),
        ((None, None), None, (600, 1000), ("default", "default")),
        ((None, 9), "unknown", (600, 9), ("default", "tenant")),
        ((None, None), "open", (None, None), ("plan", "plan")),
    ],
)
def test_where_limits_come_from(
    own: tuple[int | None, int | None],
    plan: str | None,
    limits: tuple[int | None, int | None],
    origins: tuple[str, str],
) -> None:
    plans: dict[str, dict[str, int | None]] = {
        "pro": {"per_minute": 50, "per_day": 60},
        "free": {"per_day": 0},
        "open": {"per_minute": None, "per_day": 0},
    }
    table = LimitTable(Limits(600, 1000), plans)
    row = cast(Row, ROW | {"plan": plan, "limit_per_minute": own[0], "limit_per_day": own[1]})
    assert table.find(row) == Limits(*limits)
    assert table.origins(row) == {"per_minute": origins[0], "per_day": origins[1]}
