"""The row that says which store counts limits, and what Redis has counted of each day, in Postgres."""

from __future__ import annotations

from collections.abc import Mapping

from tenantcache.core.storechoice import Proposal
from tenantcache.stores.counters import Fetcher

_CHOOSE = "select tenantcache.choose_counter_store($1, $2, $3, $4)"

_COMPLAIN = "update tenantcache.counter_store set complained_at = clock_timestamp()"

# Rows are locked in one order, as by the debits of one tenant.
_MIRROR = """
    insert into tenantcache.counters as c (tenant_id, policy, number, value)
        select d.tenant_id, 'day', d.number, d.value
        from unnest($1::text[], $2::bigint[], $3::bigint[]) as d (tenant_id, number, value)
        order by d.tenant_id, d.number
    on conflict (tenant_id, policy, number) do update set
        value = greatest(c.value, excluded.value), touched_at = now()
"""


class PostgresChoices:
    """All methods raise `StoreError`."""

    def __init__(self, postgres: Fetcher) -> None:
        self._postgres = postgres

    async def choose(self, proposal: Proposal) -> bool:
        """Announce a change; False where somebody was faster, or has complained meanwhile."""
        rows = await self._postgres.fetch("changing the counter store", _CHOOSE, *proposal)
        return bool(rows[0][0])

    async def complain(self) -> None:
        """Say that there is no Redis here, so that nobody goes back to it."""
        await self._postgres.fetch("reporting that Redis is away", _COMPLAIN)

    async def mirror(self, days: Mapping[tuple[str, int], int]) -> None:
        """Raise the count of each (tenant, number of the day) to what Redis had."""
        await self._postgres.fetch(
            "writing down what Redis has counted today",
            _MIRROR,
            [tenant_id for tenant_id, _ in days],
            [number for _, number in days],
            list(days.values()),
        )
