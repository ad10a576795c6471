"""Copies in Redis as far as the budget allows them (`budget/core/bands.py`).

Copies are only ever a saving: whatever is not read from Redis is read from Postgres, and whether a copy may be believed
does not depend on who wrote it, or when. So each process may change from band to band at another time.
"""

from __future__ import annotations

from collections.abc import Sequence

from tenantcache.budget.core.bands import BandInForce
from tenantcache.lookup.sources import CopyStore

MAX_ASKED = 10_000
"""Aliases that are remembered: 1 MB. Beyond that it begins anew, and some are written one miss later."""


class FrugalCopies:
    """`CopyStore`. In THRIFT an alias is written when this process has it to write for the second time. Without copies
    nothing is sent: what is there is refused by its mark, or outlives its TTL."""

    def __init__(self, copies: CopyStore, in_force: BandInForce) -> None:
        self._copies, self._in_force = copies, in_force
        self._asked: set[str] = set()

    async def get_many(self, aliases: Sequence[str]) -> list[bytes | None]:
        if not self._in_force.band.has_copies:
            return [None] * len(aliases)
        return await self._copies.get_many(aliases)

    async def put(self, alias: str, value: bytes) -> None:
        if self._in_force.band.has_copies and not (self._in_force.band.is_thrifty and self._is_first(alias)):
            await self._copies.put(alias, value)

    def _is_first(self, alias: str) -> bool:
        if alias in self._asked:
            return False
        if len(self._asked) >= MAX_ASKED:
            self._asked.clear()
        self._asked.add(alias)
        return True

    async def drop(self, aliases: Sequence[str]) -> None:
        if self._in_force.band.has_copies:
            await self._copies.drop(aliases)
