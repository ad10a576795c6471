"""A dict in many parts: what it says is what one dict would say."""

from __future__ import annotations

from random import Random

import pytest

from tenantcache.runtime.shards import PART, Shards


@pytest.mark.parametrize("room", [1, PART + 1, 20 * PART])
def test_it_holds_what_a_dict_holds(room: int) -> None:
    random, shards, plain = Random(room), Shards[int](room), dict[str, int]()
    for number in range(5_000):
        key = f"k{random.randrange(1_000)}"
        if random.random() < 0.4:
            assert shards.pop(key) == plain.pop(key, None)
        else:
            shards.put(key, number)
            plain[key] = number
        assert len(shards) == len(plain)
        assert (key in shards, shards.get(key)) == (key in plain, plain.get(key))
    assert sorted(shards.items()) == sorted(plain.items())


def test_what_is_put_again_is_the_newest() -> None:
    shards = Shards[int](1)
    for key in ("a", "b", "a"):
        shards.put(key, 1)
    assert shards.oldest() == "b"
    assert len(shards) == 2


def test_the_oldest_of_nothing() -> None:
    with pytest.raises(KeyError):
        Shards[int](20 * PART).oldest()


def test_all_parts_give_their_oldest_in_turn() -> None:
    shards = Shards[int](4 * PART)
    for number in range(1_000):
        shards.put(f"k{number}", number)
    oldest = [next(iter(part)) for part in shards.parts]
    assert sorted(shards.oldest() for _ in shards.parts) == sorted(oldest)


def test_what_was_cleared_comes_back_in_parts() -> None:
    shards = Shards[int](4 * PART)
    for number in range(1_000):
        shards.put(f"k{number}", number)
    dropped = shards.clear()
    assert sum(map(len, dropped)) == 1_000
    assert max(map(len, dropped)) < 500
    assert (len(shards), list(shards.items())) == (0, [])
