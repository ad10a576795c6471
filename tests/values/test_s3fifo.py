"""S3-FIFO: its rules one by one, its bounds as a property, and what it is for: scans."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from tenantcache.values.core.s3fifo import MOST_HITS, S3Fifo


@dataclass(slots=True, eq=False)
class Item:
    size: int = 1
    hits: int = 0
    gone: bool = False


class Cache:
    """What stands around the queues, as `ValueMemory` does."""

    def __init__(self, max_entries: int, max_bytes: int = 1 << 30) -> None:
        self.queues: S3Fifo[Item] = S3Fifo(max_entries, max_bytes)
        self.held: dict[object, Item] = {}

    def ask(self, key: object, size: int = 1) -> bool:
        item = self.held.get(key)
        if item is not None:
            item.hits = min(item.hits + 1, MOST_HITS)
            return True
        self.put(key, size)
        return False

    def put(self, key: object, size: int = 1) -> None:
        before, item = self.held.get(key), Item(size)
        leaving = self.queues.add(key, item) if before is None else self.queues.replace(key, before, item)
        self.held[key] = item
        for left in leaving:
            del self.held[left]

    def drop(self, key: object) -> None:
        item = self.held.pop(key, None)
        if item is not None:
            self.queues.remove(key, item)


def test_what_is_asked_for_once_leaves_first() -> None:
    cache = Cache(10)
    for _ in range(3):
        cache.ask("hot")
    for number in range(100):
        cache.ask(number)
    assert "hot" in cache.held
    assert len(cache.held) == 10


def test_what_comes_again_soon_begins_in_the_main_queue() -> None:
    cache = Cache(10)
    for number in range(20):
        cache.ask(number)
    assert 9 not in cache.held
    cache.ask(9)
    for number in range(100, 150):
        cache.ask(number)
    assert 9 in cache.held


def test_in_the_main_queue_hits_give_another_turn() -> None:
    cache = Cache(4)
    for key in "abcd":
        for _ in range(4):
            cache.ask(key)
    for number in range(3):
        cache.ask(number)  # the four move into the main queue, and one of them has to go
    kept = [key for key in "abcd" if key in cache.held]
    for key in kept:
        cache.ask(key)
    cache.ask("x")
    assert [key for key in "abcd" if key in cache.held] == kept


_STEPS = st.lists(
    st.tuples(st.sampled_from(["ask", "put", "drop"]), st.integers(0, 12), st.integers(1, 6)), max_size=120
)


@given(_STEPS, st.integers(1, 8), st.integers(6, 30))
def test_both_bounds_hold_and_the_queues_hold_what_is_held(
    steps: list[tuple[str, int, int]], entries: int, size: int
) -> None:
    cache = Cache(entries, size)
    for step, key, weight in steps:
        if step == "drop":
            cache.drop(key)
        elif step == "ask":
            cache.ask(key, weight)
        else:
            cache.put(key, weight)
        queues = cache.queues
        assert (queues.entries, queues.bytes) == (len(cache.held), sum(item.size for item in cache.held.values()))
        assert queues.entries <= entries
        assert queues.bytes <= size
        assert not any(item.gone for item in cache.held.values())


def test_entries_that_are_replaced_all_the_time_take_no_room() -> None:
    cache = Cache(10)
    for number in range(10_000):
        cache.put(number % 3)
    assert sum(len(queue._nodes) for queue in (cache.queues._small, cache.queues._main)) < 200


def zipf_with_scans(draws: int) -> Iterable[int]:
    """Keys that some ask for often, with scans of keys that are asked for once between them."""
    rng, fresh = random.Random(17), 1_000_000
    keys = range(10_000)
    weights = [1 / (rank + 1) for rank in keys]
    for number, key in enumerate(rng.choices(keys, weights, k=draws)):
        yield key
        if number % 1000 == 0:
            yield from range(fresh, fresh + 300)
            fresh += 300


def test_a_scan_does_not_push_out_what_is_hot() -> None:
    asked = list(zipf_with_scans(60_000))
    ours, lru, lru_hits = Cache(100), OrderedDict[int, None](), 0
    hits = sum(ours.ask(key) for key in asked)
    for key in asked:
        if key in lru:
            lru_hits += 1
            lru.move_to_end(key)
        else:
            lru[key] = None
            if len(lru) > 100:
                lru.popitem(last=False)
    assert hits > 1.15 * lru_hits
