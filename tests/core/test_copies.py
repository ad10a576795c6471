"""What goes into Redis comes back; whatever else is found there is no copy, and never an error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantcache.freshness.core.logmark import LogMark
from tenantcache.lookup.core.copies import SCHEMA_VERSION, Copy, decode, encode
from tenantcache.tenant import Row

ROW: Row = {
    "id": "1",
    "name": "Bücher & Söhne",
    "subdomain": "acme",
    "domains": ["shop.acme.io", "xn--bcher-kva.example"],
    "primary_domain": "shop.acme.io",
    "status": "active",
    "plan": "pro",
    "limit_per_minute": 0,
    "limit_per_day": None,
    "time_zone": "Europe/Berlin",
    "attributes": {"colour": "#fff", "flags": [True, None, 1.5]},
}

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
names = st.text(max_size=20)
rows = st.fixed_dictionaries(
    {
        "id": names,
        "name": names,
        "subdomain": st.none() | names,
        "domains": st.lists(names, max_size=3),
        "primary_domain": st.none() | names,
        "status": st.sampled_from(["active", "suspended", "maintenance"]),
        "plan": st.none() | names,
        "limit_per_minute": st.none() | st.integers(0, 2**31 - 1),
        "limit_per_day": st.none() | st.integers(0, 2**53 - 1),
        "time_zone": st.none() | names,
        "attributes": st.dictionaries(names, json_values, max_size=3),
    }
)


def stored(*parts: Any) -> bytes:
    return json.dumps(list(parts)).encode()


@given(epoch=st.text(max_size=80), seq=st.integers(0, 2**63 - 1), at=st.integers(0, 2**63 - 1), found=rows)
def test_what_goes_in_comes_out(epoch: str, seq: int, at: int, found: Row) -> None:
    copy = Copy(epoch, LogMark(seq, at), found)
    assert decode(encode(copy)) == copy


def test_the_format_is_fixed() -> None:
    """Older and newer versions of the library read each other's copies while a deployment rolls."""
    value = encode(Copy("e:1", LogMark(42, 1735689600123456), ROW))
    assert json.loads(value) == [2, "e:1", 42, 1735689600123456, ROW]
    assert "Bücher".encode() in value, "not escaped: that would cost memory"


@given(st.binary(max_size=60))
def test_no_bytes_make_it_raise(value: bytes) -> None:
    assert decode(value) is None


@given(json_values)
def test_no_json_makes_it_raise(value: Any) -> None:
    assert decode(json.dumps(value).encode()) is None


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[" * 100_000, id="deeper than the parser goes"),
        pytest.param(b"\xff\xfe", id="no UTF-8"),
        pytest.param(stored(SCHEMA_VERSION + 1, "e", 1, 5, ROW), id="another version"),
        pytest.param(stored(SCHEMA_VERSION, "e", 1, 5), id="a part missing"),
        pytest.param(stored(SCHEMA_VERSION, "e", 1, 5, ROW, None), id="a part too many"),
        pytest.param(stored(SCHEMA_VERSION, 7, 1, 5, ROW), id="an epoch that is no text"),
        pytest.param(stored(SCHEMA_VERSION, "e", "1", 5, ROW), id="watermark as text"),
        pytest.param(stored(SCHEMA_VERSION, "e", True, 5, ROW), id="watermark as a truth value"),
        pytest.param(stored(SCHEMA_VERSION, "e", 1.0, 5, ROW), id="watermark as a float"),
        pytest.param(stored(SCHEMA_VERSION, "e", 1, "5", ROW), id="at as text"),
        pytest.param(stored(1, "e", 1, ROW), id="the version before, without at"),
        pytest.param(stored(SCHEMA_VERSION, "e", 1, 5, []), id="a row that is no object"),
        pytest.param(stored(SCHEMA_VERSION, "e", 1, 5, {**ROW, "more": 1}), id="a column too many"),
        pytest.param(
            stored(SCHEMA_VERSION, "e", 1, 5, {k: v for k, v in ROW.items() if k != "plan"}), id="one missing"
        ),
    ],
)
def test_anything_else_is_no_copy(value: bytes) -> None:
    assert decode(value) is None


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("id", None),
        ("name", 5),
        ("subdomain", ["acme"]),
        ("domains", "shop.acme.io"),
        ("domains", [1]),
        ("status", "banned"),
        ("status", None),
        ("limit_per_minute", "60"),
        ("limit_per_minute", True),
        ("limit_per_day", 1.5),
        ("attributes", []),
        ("attributes", None),
    ],
)
def test_a_column_of_the_wrong_type_is_no_copy(column: str, value: Any) -> None:
    assert decode(stored(SCHEMA_VERSION, "e", 1, 5, {**ROW, column: value})) is None
