"""What is written into Redis comes back, and anything else is not a copy."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tenantcache.freshness.core.logmark import LogMark
from tenantcache.values.core.codec import JsonCodec
from tenantcache.values.core.lifetime import Lifetime
from tenantcache.values.core.stored import Stored, decode, encode

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_TAGS = st.lists(st.text() | st.just('","value":'), max_size=3).map(tuple)


@given(_JSON, _TAGS, st.text(), st.integers(0, 1 << 60), st.floats(0, 4e9))
def test_it_comes_back(value: object, tags: tuple[str, ...], epoch: str, seq: int, loaded_at: float) -> None:
    body = JsonCodec().encode(value)
    stored = Stored(epoch, LogMark(seq, 5), loaded_at, Lifetime(60, 5), tags, body)
    found = decode(encode(stored))
    assert found == stored
    assert JsonCodec().decode(found.body) == value
    assert json.loads(encode(stored))["value"] == value


@given(st.binary() | _JSON.map(lambda value: json.dumps(value).encode()))
def test_anything_else_is_not_a_copy(octets: bytes) -> None:
    assert decode(octets) is None


@given(st.data())
def test_what_was_cut_or_changed_is_refused_or_read(data: st.DataObject) -> None:
    whole = encode(Stored("e", LogMark(1, 2), 3.0, Lifetime(60), ("t",), b'{"a":1}'))
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert decode(whole[:cut]) is None or whole[:cut].endswith(b"}")
    place, octet = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 255))
    decode(whole[:place] + bytes([octet]) + whole[place + 1 :])


def test_a_later_version_is_not_read() -> None:
    whole = encode(Stored("e", LogMark(1, 2), 3.0, Lifetime(60), (), b"1"))
    assert decode(whole) is not None
    assert decode(whole.replace(b'{"tenantcache":1', b'{"tenantcache":2')) is None
