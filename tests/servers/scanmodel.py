"""A model of one Redis server for samples of keys: a hash table, walked as `dictScan` in Redis' dict.c walks it."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from redis.exceptions import ResponseError


class ScanModel:
    """A server with `keys`, each with its bytes. Other seeds give other orders. All are strings without expiry.

    With `opaque` cursors only those that it has returned are known, and others are at the end.
    """

    address = "model:6379"

    def __init__(self, keys: Mapping[bytes, int], seed: int, *, opaque: bool = False) -> None:
        draw = random.Random(seed)
        self.keys = dict(keys)
        self._bits = max(2, (len(keys) - 1).bit_length())
        self._buckets: list[list[bytes]] = [[] for _ in range(1 << self._bits)]
        for key in keys:
            draw.choice(self._buckets).append(key)
        self._opaque = opaque
        self._known = {0}
        self.sent: list[Sequence[Any]] = []
        self.refused: frozenset[str] = frozenset()
        self.expired = 0
        self.before_asking: Callable[[], None] = lambda: None

    @property
    def nodes(self) -> Sequence[ScanModel]:
        return [self]

    async def send_many(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        self.sent += commands
        return [self._answer(*command) for command in commands]

    def _answer(self, name: str, *arguments: Any) -> Any:
        if name in self.refused:
            return ResponseError(f"unknown command '{name}'")
        if name == "DBSIZE":
            return len(self.keys) + self.expired
        if name == "SCAN":
            return self._scan(int(arguments[0]), int(arguments[2]))
        self.before_asking()
        size = self.keys.get(arguments[0])
        return {
            "TYPE": b"none" if size is None else b"string",
            "TTL": -2 if size is None else -1,
            "MEMORY USAGE": size,
        }[name]

    def _scan(self, cursor: int, count: int) -> tuple[int, list[bytes]]:
        if self._opaque and cursor not in self._known:
            return 0, []
        order = _reversed_numbers(self._bits)
        start = order[cursor & (len(order) - 1)]
        found: list[bytes] = []
        place = start
        for place in range(start, min(start + 10 * count, len(order))):
            found += [key for key in self._buckets[order[place]] if key in self.keys]
            if len(found) >= count:
                break
        following = order[place + 1] if place + 1 < len(order) else 0
        self._known.add(following)
        return following, found


@functools.cache
def _reversed_numbers(bits: int) -> Sequence[int]:
    """For each number of so many bits the one with its bits reversed."""
    return [int(f"{number:0{bits}b}"[::-1], 2) for number in range(1 << bits)]
