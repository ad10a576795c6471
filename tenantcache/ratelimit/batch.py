"""The debits of many accounts, for one call of the counter store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

from tenantcache.ratelimit.core.packing import unpack_debits
from tenantcache.ratelimit.counterstore import Account, AccountDebits


class Batch(Sequence[AccountDebits]):
    """Those of accounts at rest are packed, and unpacked when they are looked at: of thousands nothing is left for the
    garbage collector to look at while a store is asked."""

    def __init__(self) -> None:
        self.owners: list[str] = []
        self._debits: list[AccountDebits | bytes] = []

    def add(self, owner: str, debits: AccountDebits | bytes) -> None:
        """Bytes are those of `pack_debits`."""
        self.owners.append(owner)
        self._debits.append(debits)

    def __len__(self) -> int:
        return len(self.owners)

    @overload
    def __getitem__(self, place: int) -> AccountDebits: ...
    @overload
    def __getitem__(self, place: slice) -> list[AccountDebits]: ...
    def __getitem__(self, place: int | slice) -> AccountDebits | list[AccountDebits]:
        if isinstance(place, slice):
            return [self._at(number) for number in range(*place.indices(len(self)))]
        return self._at(place)

    def __iter__(self) -> Iterator[AccountDebits]:
        return map(self._at, range(len(self)))

    def _at(self, place: int) -> AccountDebits:
        debits = self._debits[place]
        if isinstance(debits, AccountDebits):
            return debits
        slot, unpacked = unpack_debits(debits)
        return AccountDebits(Account(self.owners[place], slot), unpacked)
