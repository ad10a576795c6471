"""The places of accounts in the groups of counters.

Redis holds the counters of a whole group in one string. So one command, billed once, takes tokens for many tenants.
Each account (a tenant, or one of its named limits) has a slot, which it keeps. `GROUP_SIZE` slots are a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Protocol

GROUP_SIZE = 2_048
"""A group's counters of a quarter of an hour take 128 kB: 64 bytes an account."""


def group_of(slot: int) -> int:
    return slot // GROUP_SIZE


class Slots(Protocol):
    """Two processes are told the same slot of an account, and no two accounts have the same."""

    async def assign(self, owners: Sequence[str]) -> list[int]:
        """Return the slot of each owner, in the same order; one that has none yet is given one. Raises `StoreError`."""
        ...


class MemorySlots:
    """`Slots` of one process."""

    def __init__(self) -> None:
        self._slots: dict[str, int] = {}
        self._numbers = count()

    async def assign(self, owners: Sequence[str]) -> list[int]:
        for owner in owners:
            if owner not in self._slots:
                self._slots[owner] = next(self._numbers)
        return [self._slots[owner] for owner in owners]


class OneGroup:
    """`Slots` of a fleet without Redis, which needs none: all accounts are of one group."""

    async def assign(self, owners: Sequence[str]) -> list[int]:
        return [0] * len(owners)
