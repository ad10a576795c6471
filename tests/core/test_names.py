"""Names that no host carries, and the aliases of tenants that have some: no name reaches another sort or kind."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tenantcache.lookup.core.names import alias_of_label, alias_of_name, fold, is_kind
from tenantcache.settings.strategytext import read_strategy, split_strategies
from tenantcache.tenant import Tenant

KINDS = st.from_regex(r"[a-z0-9_-]{1,12}", fullmatch=True)
NAMES = st.text(max_size=20) | st.from_regex(r"[A-Za-z:/._ é-]{0,12}", fullmatch=True)


@pytest.mark.parametrize(
    ("name", "folded"),
    [
        ("My_Org", "my_org"),
        ("acme/Sales", "acme/sales"),
        ("GRÖSSE", "grÖsse"),
        ("İstanbul", "İstanbul"),
        ("\u212a", "\u212a"),  # KELVIN SIGN, which is "k" for Python's lower()
        ("a:b", "a:b"),
        (" ", " "),
        ("日本", "日本"),
        ("a" * 253, "a" * 253),
        ("é" * 126, "é" * 126),
        ("a" * 254, None),
        ("é" * 127, None),
        ("", None),
        ("a\0", None),
        ("a\nb", None),
        ("\x7f", None),
        ("\x9f", None),
        ("\udc80", None),
    ],
)
def test_what_a_name_is(name: str, folded: str | None) -> None:
    assert fold(name) == folded
    assert alias_of_label(name) == (None if folded is None else f"subdomain:{folded}")
    assert alias_of_name(name, "team") == (None if folded is None else f"name:team:{folded}")


@pytest.mark.parametrize("text", ["", "Team", "a:b", "a b", "é", "a" * 64, "a\n", "team:"])
def test_what_no_kind_is(text: str) -> None:
    assert not is_kind(text)
    assert text == "" or alias_of_name("acme", text) is None


@given(KINDS, NAMES, KINDS, NAMES)
@example("team", "a:b", "team", "a")
@example("a", "b:c", "a-b", "c")
def test_one_alias_is_one_name_of_one_kind(kind: str, name: str, other_kind: str, other_name: str) -> None:
    alias, other = alias_of_name(name, kind), alias_of_name(other_name, other_kind)
    if alias is not None and alias == other:
        assert (kind, fold(name)) == (other_kind, fold(other_name))
    for found in (alias_of_name(name, ""), alias_of_label(name)):
        assert found is None or found not in (alias, other)


# The aliases of a tenant.


def test_old_names_lead_on_unless_they_are_present_ones() -> None:
    tenant = Tenant(
        "team:1",
        "Acme",
        subdomain="acme",
        domains=("acme.io",),
        kind="team",
        slugs=("acme_sales",),
        old_names=("was", "old.io", "acme", "acme.io"),
        old_slugs=("was_sales", "acme_sales"),
    )
    old = ("subdomain:was", "domain:old.io", "name:team:was", "name:team:was_sales", "name:team:old.io")
    present = ("id:team:1", "subdomain:acme", "domain:acme.io", "name:team:acme", "name:team:acme_sales")
    assert [alias for alias in old if not tenant.leads_on(alias)] == []
    assert [alias for alias in (*present, "subdomain:other", "name:org:was", None) if tenant.leads_on(alias)] == []
    assert set(present) == set(tenant.present_aliases)
    assert {*old, *present, "name:team:acme.io"} == set(tenant.aliases)


def test_a_tenant_on_the_base_domain_itself() -> None:
    tenant = Tenant("1", "Acme", subdomain="")
    assert tenant.labels == ("",)
    assert tenant.aliases == ("id:1", "subdomain:")


# Strategies in a line.


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("path:/api/v1,keep", ["path:/api/v1,keep"]),
        ("path:/api/v1,keep,host", ["path:/api/v1,keep", "host"]),
        ("path:/t , kind=team ,keep, header:x,kind=team", ["path:/t,kind=team,keep", "header:x,kind=team"]),
        ("host,path:/t,segments=2", ["host", "path:/t,segments=2"]),
        ("path:/keep,path:/kind", ["path:/keep", "path:/kind"]),
        ("keep,host", ["keep", "host"]),
        (" , ", []),
        (["path:/t,keep", "host"], ["path:/t,keep", "host"]),
        (None, None),
    ],
)
def test_strategies_in_a_line(text: Any, parts: Any) -> None:
    assert split_strategies(text) == parts
    if isinstance(text, str):
        assert split_strategies(",".join(parts)) == parts, "as they are shown"


def test_a_strategy_has_parts() -> None:
    assert read_strategy("path:/t:id,kind=team,keep") == ("path", "/t", "id", {"kind": "team", "keep": ""})
    assert read_strategy("host") == ("host", "", "", {})
