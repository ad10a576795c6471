"""The index of known hosts against a set: it may say "perhaps" of a stranger, never "certainly not" of a known host."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantcache.lookup.core import hostindex
from tenantcache.lookup.core.hostindex import HostIndex

ALIASES = st.text(max_size=12)


def small_index(capacity: int) -> HostIndex:
    """A table so small that most entries are not in their own slot."""
    with patch.object(hostindex, "MIN_CAPACITY", capacity):
        return HostIndex(0)


@given(batches=st.lists(st.lists(ALIASES, max_size=8)), strangers=st.lists(ALIASES))
def test_it_answers_like_a_set(batches: list[list[str]], strangers: list[str]) -> None:
    index, model = HostIndex(0), set[str]()
    for batch in batches:
        index.add(batch)
        model.update(batch)
        assert all(alias in index for alias in model)
    # Two of some hundred strings share 64 bits of SipHash once in 10**15 runs.
    assert [stranger in index for stranger in strangers] == [stranger in model for stranger in strangers]


@given(
    capacity=st.integers(min_value=1, max_value=16),
    aliases=st.lists(ALIASES, unique=True, max_size=24),
    stranger=ALIASES,
)
def test_a_crowded_table_never_loses_what_was_added(capacity: int, aliases: list[str], stranger: str) -> None:
    index = small_index(capacity)
    room = capacity * 9 // 10
    for count, alias in enumerate(aliases, start=1):
        index.add([alias])
        assert index.is_full == (count >= room)
        assert all(known in index for known in aliases[:count])
    if len(aliases) >= room:
        assert stranger in index, "a full index rules nothing out"


def test_the_same_alias_again_takes_no_room() -> None:
    index = small_index(10)
    index.add(["subdomain:acme"] * 50)
    index.add(f"subdomain:{number}" for number in range(7))
    assert not index.is_full
    index.add(["subdomain:one-more"])
    assert index.is_full


def test_an_index_for_a_million_weighs_twelve_bytes_each() -> None:
    assert HostIndex(1_000_000).nbytes == 12_000_000


@pytest.mark.parametrize("expected", [0, 1, 5_000])
def test_there_is_room_for_a_third_more_than_expected(expected: int) -> None:
    index = HostIndex(expected)
    index.add(str(number) for number in range(expected * 4 // 3))
    assert not index.is_full
