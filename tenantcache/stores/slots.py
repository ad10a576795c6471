"""The places of accounts in the groups of counters, in Postgres: all processes are told the same."""

from __future__ import annotations

from collections.abc import Sequence

from tenantcache.stores.counters import Fetcher

# As texts: the driver would ask, on each new connection, what an array of numbers is.
_ASSIGN = "select tenantcache.assign_slots($1)::text[]"

PAGE = 5_000
"""Owners in one statement. It takes 0.1 s if all of them are new."""


class PostgresSlots:
    """`Slots` in the table `tenantcache.counter_slots`.

    An owner's slot is its own as long as a process asks for it once in 30 days; that is written down at most once a
    week. If the role may not write, owners that have a slot are told it all the same.
    """

    def __init__(self, postgres: Fetcher) -> None:
        self._postgres = postgres

    async def assign(self, owners: Sequence[str]) -> list[int]:
        slots: list[int] = []
        for start in range(0, len(owners), PAGE):
            [row] = await self._postgres.fetch("assigning slots", _ASSIGN, list(owners[start : start + PAGE]))
            slots += map(int, row[0])
        return slots
