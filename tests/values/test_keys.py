"""Names of values: no key of one tenant can be read as another's (Hypothesis)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantcache.values.core.valuekey import MAX_OCTETS, expiry_name, redis_key, tag_name, value_name

# Names that an attacker would try: what stands between parts, escapes, digests, other scripts, halves of characters.
_HOSTILE = st.lists(
    st.sampled_from([":", "%", "%3A", "%25", "~", "#", "{", "}", "\n", "\r\n", "\0", "", "*", "é", "\ud800", "a", "A"])
    | st.text(max_size=5),
    max_size=8,
).map("".join)
_KEYS = st.tuples(st.none() | _HOSTILE.filter(bool), _HOSTILE)


@given(_KEYS, _KEYS)
def test_no_two_values_have_one_name(one: tuple[str | None, str], other: tuple[str | None, str]) -> None:
    for name in (value_name, tag_name, expiry_name, lambda t, k: redis_key("tenantcache", t, k, "")):
        assert (name(*one) == name(*other)) == (one == other)


@given(_KEYS, _HOSTILE)
def test_a_type_cannot_be_made_up_by_a_key(place: tuple[str | None, str], key: str) -> None:
    assert redis_key("p", *place, "f00d") != redis_key("p", place[0], key, "")


@given(_KEYS)
def test_names_are_short_and_plain(place: tuple[str | None, str]) -> None:
    for name in (value_name(*place), tag_name(*place), expiry_name(*place)):
        assert len(name) <= MAX_OCTETS
        assert name.isascii() and name.isprintable() and " " not in name


@given(st.tuples(st.text("a", min_size=200, max_size=400), st.text("b:", max_size=10)), st.text("b:", max_size=10))
def test_long_names_differ_too(place: tuple[str, str], key: str) -> None:
    assert len(value_name(*place)) <= MAX_OCTETS
    assert (value_name(*place) == value_name(place[0], key)) == (place[1] == key)


@pytest.mark.parametrize(
    ("tenant", "key", "expected"),
    [
        ("acme", "profile:42", "p:value:acme:profile:42"),
        ("ac:me", "a b", "p:value:ac%3Ame:a%20b"),
        (None, "rates", "p:value::rates"),
        ("é", "%", "p:value:%C3%A9:%25"),
        ("a", "x{y}#z~", "p:value:a:x%7By%7D%23z%7E"),
    ],
)
def test_what_they_look_like(tenant: str | None, key: str, expected: str) -> None:
    assert redis_key("p", tenant, key, "") == expected
    assert redis_key("p", tenant, key, "f00d") == f"{expected}#f00d"


def test_a_digest_is_of_the_whole_name() -> None:
    name = value_name("acme", "x" * 300)
    assert name.startswith("value:~")
    assert len(name) == len("value:~") + 64
