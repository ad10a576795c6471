"""A dict in many small parts: none grows, or is freed, in a step that the event loop would feel.

A dict that grows is copied as a whole: with a million texts that takes 0.1 s. Parts grow one after the other, because
keys are spread by their hashes, which differ from process to process.

The garbage collector does not look through a dict that holds nothing but texts, bytes and numbers. It does look through
each list, deque and set. So what is kept for all tenants is kept in such dicts, in the order in which it came.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

Value = TypeVar("Value")

PART = 8_192
"""Keys a part, about. It grows, is looked through or is freed in a millisecond."""


class Shards(Generic[Value]):
    """By text. `room`: how many keys it is made for, at least 1; it may hold more."""

    __slots__ = ("_hand", "_mask", "_parts", "_size")

    def __init__(self, room: int) -> None:
        parts = 1 << ((room - 1) // PART).bit_length()
        self._mask = parts - 1
        self._parts: list[dict[str, Value]] = [{} for _ in range(parts)]
        self._size = 0
        self._hand = 0  # the part that `oldest` looks at next

    def __len__(self) -> int:
        return self._size

    def __contains__(self, key: str) -> bool:
        return key in self._parts[hash(key) & self._mask]

    def get(self, key: str) -> Value | None:
        return self._parts[hash(key) & self._mask].get(key)

    def put(self, key: str, value: Value) -> None:
        """The newest from now on, also if it was there before."""
        part = self._parts[hash(key) & self._mask]
        if part.pop(key, None) is None:
            self._size += 1
        part[key] = value

    def pop(self, key: str) -> Value | None:
        value = self._parts[hash(key) & self._mask].pop(key, None)
        if value is not None:
            self._size -= 1
        return value

    @property
    def parts(self) -> list[dict[str, Value]]:
        """To be read only."""
        return self._parts

    def oldest(self) -> str:
        """The oldest key of a part; another part each time. KeyError if there is none."""
        for _ in self._parts:
            self._hand = (self._hand + 1) & self._mask
            for key in self._parts[self._hand]:
                return key
        raise KeyError

    def items(self) -> Iterator[tuple[str, Value]]:
        """All of them, of each part those that are in it when its turn comes."""
        for part in self._parts:
            yield from list(part.items())

    def clear(self) -> list[dict[str, Value]]:
        """Hold nothing. What was held is returned, to be freed part by part."""
        parts, self._parts = self._parts, [{} for _ in self._parts]
        self._size = 0
        return parts
