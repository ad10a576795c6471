"""The row that says which store counts limits, and what Redis has counted of each day, in Postgres."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from uuid import UUID

import asyncpg

from tenantcache.errors import StoreError
from tenantcache.ratelimit.core.agreement import Proposal
from tenantcache.ratelimit.counterstore import Account, Held
from tenantcache.stores.counters import Fetcher

_CHOOSE = "select tenantcache.choose_counter_store($1, $2, $3, $4)"

_REPORT_UNAVAILABLE = "update tenantcache.counter_store set complained_at = clock_timestamp()"

# Rows are locked in one order, as by the debits of one tenant.
_MIRROR = """
    insert into tenantcache.counters as c (tenant_id, policy, number, value)
        select d.tenant_id, 'day', d.number, d.value
        from unnest($1::text[], $2::bigint[], $3::bigint[]) as d (tenant_id, number, value)
        order by d.tenant_id, d.number
    on conflict (tenant_id, policy, number) do update set
        value = greatest(c.value, excluded.value), touched_at = now()
"""


_HOLD = "select through, place, fleet from tenantcache.hold_counters($1, $2, $3)"

_REPORT = "select tenantcache.report_counters($1, $2, $3, $4)"

_HAND_OVER = "select tenantcache.hand_over_counters($1, $2, $3, $4)"

# Each holder registers every 10 s.
_IS_MISSING = """
    select exists (
        select from tenantcache.counter_holders
        where through_minute >= extract(epoch from clock_timestamp()) / 60 - 1
            and seen_at < clock_timestamp() - interval '15 seconds'
    )
"""

REPORT_PAGE = 5_000
"""Tenants in one statement, which takes 30 ms."""


FOREVER = 1 << 62
"""A minute that never comes."""

_NOT_WRITABLE = (asyncpg.ReadOnlySQLTransactionError, asyncpg.InsufficientPrivilegeError)


class PostgresChoices:
    """All methods raise `StoreError`."""

    def __init__(self, postgres: Fetcher) -> None:
        self._postgres = postgres

    async def choose(self, proposal: Proposal) -> bool:
        """Announce a change; False if another process was faster, or has reported Redis unavailable meanwhile."""
        rows = await self._postgres.fetch("changing the counter store", _CHOOSE, *proposal)
        return bool(rows[0][0])

    async def report_unavailable(self) -> None:
        """Say that Redis is unavailable here, so that no process goes back to it."""
        await self._postgres.fetch("reporting Redis unavailable", _REPORT_UNAVAILABLE)

    async def mirror(self, days: Mapping[tuple[str, int], int]) -> None:
        """Raise the count of each (tenant, number of the day) to what Redis had."""
        await self._postgres.fetch(
            "writing down what Redis has counted today",
            _MIRROR,
            [tenant_id for tenant_id, _ in days],
            [number for _, number in days],
            list(days.values()),
        )

    async def hold(self, process: UUID, version: int, *, holds: bool) -> Held:
        """Register this process, and say whether it may be granted tokens by Redis (`holds`).

        If Postgres takes no writes, no minute can be handed over, and the process need not be known.
        """
        try:
            [row] = await self._postgres.fetch("registering as a holder", _HOLD, process, version, holds)
        except StoreError as error:
            if isinstance(error.__cause__, _NOT_WRITABLE):
                return Held(FOREVER if holds else None, 0, 0)
            raise
        return Held(*row)

    async def misses_a_holder(self) -> bool:
        """Whether a holder that is waited for has not registered lately, so that no minute will be handed over."""
        rows = await self._postgres.fetch("looking for holders", _IS_MISSING)
        return bool(rows[0][0])

    async def accounts(self) -> list[Account]:
        """All that have a place in the groups of counters."""
        rows = await self._postgres.fetch("reading the slots", "select owner, slot from tenantcache.counter_slots")
        return [Account(*row) for row in rows]

    async def report(self, process: UUID, minute: int, tokens: Mapping[str, int]) -> None:
        """Say what Redis granted of `minute` here, by owner of the counter."""
        owners = iter(tokens)
        while page := list(islice(owners, REPORT_PAGE)):
            counts = [tokens[owner] for owner in page]
            await self._postgres.fetch("reporting what was granted", _REPORT, process, minute, page, counts)

    async def hand_over(self, process: UUID, version: int, minute: int, *, leaves: bool = False) -> bool:
        """All is reported; return whether Postgres counts from `minute` on because of that."""
        rows = await self._postgres.fetch("handing a minute over", _HAND_OVER, process, version, minute, leaves)
        return bool(rows[0][0])
