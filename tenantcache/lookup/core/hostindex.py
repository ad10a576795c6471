"""A set of all known aliases, small enough to hold every host of a large service in every process.

It keeps a 64-bit hash of each alias in one open-addressed table (linear probing, Knuth 6.4). At first two thirds full,
it takes 12 bytes an alias, against some 120 for a Python set of strings. It never grows, because that would stop the
event loop for half a second at a million hosts. When it is nine tenths full it says so, and another is made. Python's
own string hash is used, keyed afresh in each process (SipHash, PEP 456): hosts that collide cannot be made up.

It answers "certainly not" or "perhaps". Two aliases with one hash (a chance of 1 in 10**13 at a million hosts) cost a
lookup, and so does a host that was deleted since. Neither gives a wrong answer.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

_MASK = (1 << 64) - 1
MIN_CAPACITY = 1 << 10
"""Entries. 8 kB: not worth being exact about."""


class HostIndex:
    """Made for `expected` aliases, with room for a third more."""

    __slots__ = ("_capacity", "_room", "_table")

    def __init__(self, expected: int) -> None:
        self._capacity = max(MIN_CAPACITY, expected * 3 // 2)
        self._room = self._capacity * 9 // 10
        self._table = array("Q", [0]) * self._capacity  # 1 ms at a million; from a bytes object 12 ms

    def add(self, aliases: Iterable[str]) -> None:
        table, capacity = self._table, self._capacity
        for alias in aliases:
            key = hash(alias) & _MASK or 1
            slot = key % capacity
            while (found := table[slot]) and found != key:
                slot = slot + 1 if slot + 1 < capacity else 0
            if not found and self._room > 0:
                table[slot] = key
                self._room -= 1

    @property
    def is_full(self) -> bool:
        """Something may have been left out: nothing can be ruled out any more."""
        return self._room <= 0

    def __contains__(self, alias: str) -> bool:
        """False: certainly unknown. True: perhaps known."""
        if self.is_full:
            return True
        key = hash(alias) & _MASK or 1
        table, capacity = self._table, self._capacity
        slot = key % capacity
        while (found := table[slot]) and found != key:
            slot = slot + 1 if slot + 1 < capacity else 0
        return bool(found)

    @property
    def nbytes(self) -> int:
        return len(self._table) * self._table.itemsize
