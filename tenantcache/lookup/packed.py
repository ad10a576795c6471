"""Tenants in memory that no request has asked for yet, packed: two objects a host that the garbage collector need not see.

A million tenants as objects are five million things to walk through, and each collection of them all stops the event
loop for a second. A text, and bytes in a dict, are not walked through.

Rules:

* What is packed is a copy like one from Redis (freshness, rule 4). It is judged twice: when it is packed, and when it
  is unpacked, by the floors of its names. So a change need not find it.
* A filling takes the place of the one before it, host by host. What the older one alone held leaves at the end.
* All of one filling are due at the same time: when it began, and `ttl` later.
"""

from __future__ import annotations

from collections.abc import Iterable

from tenantcache.freshness.core.freshness import NEVER
from tenantcache.lookup.core.copies import Copy, decode


class PackedTenants:
    """Encoded copies by alias. Times are in seconds on memory's clock."""

    def __init__(self) -> None:
        self.due: float = NEVER
        self._copies: dict[str, bytes] = {}
        self._older: dict[str, bytes] = {}

    def __len__(self) -> int:
        return len(self._copies) + len(self._older)

    def begin(self) -> None:
        """Begin a filling."""
        self._older = self._older | self._copies if self._older else self._copies
        self._copies = {}

    def put(self, alias: str, copy: bytes) -> None:
        self._older.pop(alias, None)
        self._copies[alias] = copy

    def end(self, due: float) -> None:
        """End a filling; what it holds is to be read again at `due`."""
        self.due = due
        self._older = {}

    def take(self, alias: str) -> Copy | None:
        """Unpack the copy of `alias`, which is not held here any more."""
        packed = self._copies.pop(alias, None) or self._older.pop(alias, None)
        return None if packed is None else decode(packed)

    def drop(self, aliases: Iterable[str]) -> None:
        for alias in aliases:
            self._copies.pop(alias, None)
            self._older.pop(alias, None)

    def drop_last(self) -> bool:
        """Make room: drop the tenant that was seen longest ago; False if there is none."""
        held = self._older or self._copies
        if not held:
            return False
        held.popitem()
        return True

    def clear(self) -> None:
        self._copies, self._older = {}, {}
