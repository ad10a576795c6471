"""Hit rates of what a process can hold values in, over the same traces. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cachetools import LFUCache, LRUCache, TTLCache

from tenantcache.values.core.s3fifo import MOST_HITS, S3Fifo

Ask = Callable[[int], bool]
"""Whether a key was held; if not, it is held from now on."""


class _Entry:
    """What the queues look at: a size in bytes, and how often it was hit."""

    __slots__ = ("gone", "hits", "size")

    def __init__(self) -> None:
        self.hits, self.size, self.gone = 0, 1, False


def s3fifo(size: int) -> Ask:
    held: dict[int, _Entry] = {}
    queues: S3Fifo[_Entry] = S3Fifo(size, size * 1_000)

    def ask(key: int) -> bool:
        entry = held.get(key)
        if entry is not None:
            entry.hits = min(MOST_HITS, entry.hits + 1)
            return True
        held[key] = entry = _Entry()
        for left in queues.add(key, entry):
            del held[left]  # type: ignore[arg-type]  # the queues hold these keys
        return False

    return ask


def of_cachetools(make: Callable[[int], Any]) -> Callable[[int], Ask]:
    def build(size: int) -> Ask:
        cache = make(size)

        def ask(key: int) -> bool:
            if cache.get(key) is not None:
                return True
            cache[key] = True
            return False

        return ask

    return build


def theine(size: int) -> Ask:
    from theine import Cache

    cache: Any = Cache(size)

    def ask(key: int) -> bool:
        _, is_held = cache.get(key)
        if not is_held:
            cache.set(key, True)
        return bool(is_held)

    return ask


MEMORIES: dict[str, Callable[[int], Ask]] = {
    "tenantcache (S3-FIFO)": s3fifo,
    "cachetools LRUCache": of_cachetools(LRUCache),
    "cachetools TTLCache": of_cachetools(lambda size: TTLCache(size, 3600)),
    "cachetools LFUCache": of_cachetools(LFUCache),
    "theine": theine,
}


def hit_rate(build: Callable[[int], Ask], trace: Sequence[int], size: int) -> float:
    """Of the second half: the first one fills it."""
    ask = build(size)
    half = len(trace) // 2
    for key in trace[:half]:
        ask(key)
    return sum(map(ask, trace[half:])) / (len(trace) - half)
