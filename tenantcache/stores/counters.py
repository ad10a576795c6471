"""Counters in Postgres, for a fleet without Redis."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol

import asyncpg

from tenantcache.errors import StoreError
from tenantcache.ratelimit.core.windows import Unit, Window
from tenantcache.ratelimit.counterstore import Account, AccountDebits

MAX_ROWS = 1_000
"""Rows of one statement. So many take 50 ms; other processes wait for theirs as long."""


class Fetcher(Protocol):
    """Runs one statement and returns its rows; raises `StoreError`."""

    async def fetch(self, doing: str, query: str, *args: object) -> list[asyncpg.Record]: ...


# Rows are locked in one order, so that two statements cannot wait for each other in a circle, and until the statement
# ends, so that the debits of one account are applied together. A row that is only read is locked as well. A row that is
# not there yet starts at 0 if its debit is negative. Only such debits are in $5: what `excluded` has is not below 0.
# Numbers are sent as texts: the driver would ask, on each new connection, what an array of numbers is.
_DEBIT = """
    insert into tenantcache.counters as c (tenant_id, policy, number, value)
        select d.tenant_id, d.policy, d.number, d.amount
        from unnest($1::text[], $2::text[], $3::text[]::bigint[], $4::text[]::bigint[])
            as d (tenant_id, policy, number, amount)
        order by d.tenant_id, d.policy, d.number
    on conflict (tenant_id, policy, number) do update set value = greatest(0, c.value + coalesce(
        ($5::jsonb ->> concat_ws(' ', excluded.policy, excluded.number, excluded.tenant_id))::bigint, excluded.value))
    returning tenant_id, policy, number, value
"""

_RESET = """
    with locked as materialized (
        select c.policy, c.number
        from tenantcache.counters c
        join unnest($2::text[], $3::text[]::bigint[]) as w (policy, number) using (policy, number)
        where c.tenant_id = $1 order by c.policy, c.number for update of c
    )
    delete from tenantcache.counters c using locked
    where c.tenant_id = $1 and c.policy = locked.policy and c.number = locked.number
"""


class PostgresCounters:
    """`CounterStore` in the table `tenantcache.counters`, one row a window.

    A batch is one statement for each `MAX_ROWS` debits, one after the other.
    """

    def __init__(self, postgres: Fetcher) -> None:
        self._postgres = postgres

    async def debit(self, batch: Sequence[AccountDebits]) -> list[list[int]]:
        values: list[list[int]] = []
        for part in _in_parts(batch):
            try:
                values += await self._debit(part)
            except StoreError as error:
                if values:
                    error.values = [*values, *([None] * len(debits) for _, debits in batch[len(values) :])]
                raise
        return values

    async def _debit(self, batch: Sequence[AccountDebits]) -> list[list[int]]:
        sums: Counter[tuple[Unit, int, str]] = Counter()
        for account, debits in batch:
            for window, amount in debits:
                sums[*window, account.owner] += amount
        rows = await self._postgres.fetch(
            "debiting limits",
            _DEBIT,
            [owner for _, _, owner in sums],
            [unit for unit, _, _ in sums],
            [str(number) for _, number, _ in sums],
            [str(max(0, amount)) for amount in sums.values()],
            json.dumps({" ".join(map(str, key)): amount for key, amount in sums.items() if amount < 0}),
        )
        values = {(row["policy"], row["number"], row["tenant_id"]): row["value"] for row in rows}
        return [[values[*debit.window, account.owner] for debit in debits] for account, debits in batch]

    async def reset(self, account: Account, windows: Sequence[Window]) -> None:
        units, numbers = [window.unit for window in windows], [str(window.number) for window in windows]
        await self._postgres.fetch("resetting a limit", _RESET, account.owner, units, numbers)


def _in_parts(batch: Sequence[AccountDebits]) -> Iterator[list[AccountDebits]]:
    """The debits of one account are never split."""
    part: list[AccountDebits] = []
    rows = 0
    for one in batch:
        if part and rows + len(one.debits) > MAX_ROWS:
            yield part
            part, rows = [], 0
        part.append(one)
        rows += len(one.debits)
    if part:
        yield part
