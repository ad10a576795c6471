"""Floors of values, against a list of all that was ever named."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tenantcache.values.core.floors import Floors

_ENTRIES = st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=3), max_size=40)


@given(_ENTRIES, st.integers(1, 12), st.sampled_from("abcdefgh"), st.integers(0, 40))
def test_a_copy_that_missed_a_change_is_never_above_the_floor(
    entries: list[list[str]], size: int, name: str, seq: int
) -> None:
    floors = Floors(size)
    for number, names in enumerate(entries, 1):
        floors.raise_to(number, names)
    missed = any(name in names for number, names in enumerate(entries, 1) if number > seq)
    if missed:
        assert seq < floors.floor([name])
    assert len(floors) <= max(2, size)


@given(_ENTRIES, st.sampled_from("abcdefgh"))
def test_with_room_for_all_a_floor_is_the_newest_entry_that_names_it(entries: list[list[str]], name: str) -> None:
    floors = Floors(1000)
    for number, names in enumerate(entries, 1):
        floors.raise_to(number, names)
    assert floors.floor([name]) == max((n for n, names in enumerate(entries, 1) if name in names), default=0)


def test_what_is_forgotten_is_no_more_than_half() -> None:
    floors = Floors(4)
    for number in range(1, 7):
        floors.raise_to(number, [f"n{number}"])
    # 5 and 6 are the newer half, 3 and 4 the older one.
    assert floors.tail == 3
    assert floors.floor(["n4"]) == 4
    assert floors.floor(["n1"]) == 3


def test_the_version_tells_of_whatever_may_have_made_a_copy_old() -> None:
    floors = Floors()
    versions = [floors.version]
    floors.raise_to(1, ["a"])
    versions.append(floors.version)
    floors.doubt()
    versions.append(floors.version)
    floors.restart(5)
    versions.append(floors.version)
    assert versions == sorted(set(versions))
    assert floors.floor(["a"]) == 5


def test_a_restart_forgets_the_floors_of_another_timeline() -> None:
    """Their numbers are given again, and a copy from above the tail would be refused for them."""
    floors = Floors()
    floors.raise_to(9, ["a"])
    floors.restart(5)
    assert floors.floor(["a"]) == 5
    assert len(floors) == 0
