"""Counters in Postgres, for a fleet without Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import asyncpg

from tenantcache.ratelimit.core.windows import Debit


class Fetcher(Protocol):
    """Runs one statement and returns its rows; raises `StoreError`."""

    async def fetch(self, doing: str, query: str, *args: object) -> list[asyncpg.Record]: ...


# Rows are locked in one order, so that two takes of one tenant cannot wait for each other in a circle.
_DEBIT = """
    insert into tenantcache.counters as c (tenant_id, policy, number, value)
        select $1, d.policy, d.number, greatest(0, sum(d.amount))
        from unnest($2::text[], $3::bigint[], $4::bigint[]) as d (policy, number, amount)
        group by d.policy, d.number order by d.policy, d.number
    on conflict (tenant_id, policy, number) do update set value = greatest(0, c.value + (
        select sum(d.amount) from unnest($2::text[], $3::bigint[], $4::bigint[]) as d (policy, number, amount)
        where d.policy = excluded.policy and d.number = excluded.number))
    returning policy, number, value
"""

_RESET = """
    delete from tenantcache.counters c using unnest($2::text[], $3::bigint[]) as w (policy, number)
    where c.tenant_id = $1 and c.policy = w.policy and c.number = w.number
"""


class PostgresCounters:
    """`CounterStore` in the table `tenantcache.counters`, one row a window."""

    def __init__(self, postgres: Fetcher) -> None:
        self._postgres = postgres

    async def debit(self, tenant_id: str, debits: Sequence[Debit]) -> list[int]:
        windows = [debit.window for debit in debits]
        rows = await self._postgres.fetch(
            "debiting a limit",
            _DEBIT,
            tenant_id,
            [window.policy for window in windows],
            [window.number for window in windows],
            [debit.amount for debit in debits],
        )
        values = {(row["policy"], row["number"]): row["value"] for row in rows}
        return [values[window.policy, window.number] for window in windows]

    async def reset(self, tenant_id: str, debits: Sequence[Debit]) -> None:
        policies, numbers = [debit.window.policy for debit in debits], [debit.window.number for debit in debits]
        await self._postgres.fetch("resetting a limit", _RESET, tenant_id, policies, numbers)
