"""What the fleet uses of its Redis, and what the provider says of it, in Postgres."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from tenantcache.budget.core.meter import Purpose
from tenantcache.budget.core.period import HOUR
from tenantcache.budget.core.providerbill import ProviderBill
from tenantcache.budget.usestore import UseRow
from tenantcache.stores.counters import Fetcher

# What is written belongs to this process and what is read to the others, so one snapshot does for both.
# Times and numbers are sent as texts: the driver would ask, on each new connection, what an array of them is.
_EXCHANGE = """
    with written as (
        insert into tenantcache.redis_usage as u (hour, process, purpose, billed)
            select hour, $1, purpose, billed
            from unnest($2::text[]::timestamptz[], $3::text[], $4::text[]::bigint[]) as n (hour, purpose, billed)
        on conflict (hour, process, purpose) do update set billed = greatest(u.billed, excluded.billed)
    )
    select extract(epoch from hour)::bigint / 3600 as hour, purpose, sum(billed)::bigint as billed
        from tenantcache.redis_usage where hour >= $5 and process <> $1 group by 1, 2
"""

_READ = """
    select extract(epoch from hour)::bigint / 3600 as hour, purpose, sum(billed)::bigint as billed
        from tenantcache.redis_usage where hour >= $2 and process <> $1 group by 1, 2
"""

_DROP = "delete from tenantcache.redis_usage where hour < $1"

_CLAIM = "update tenantcache.redis_bill set asked_at = now() where asked_at < now() - $1::interval returning one"

_READ_BILL = "select read_at, period_start, billed, counted from tenantcache.redis_bill where read_at is not null"

_WRITE_BILL = "update tenantcache.redis_bill set read_at = $1, period_start = $2, billed = $3, counted = $4"

_PURPOSES = {purpose.value: purpose for purpose in Purpose}
"""One that a newer version writes is not among them, and counts all the same, as a probe."""


class PostgresRedisUsage:
    """`UseStore`, in the table `tenantcache.redis_usage`, and `BillStore`, in `tenantcache.redis_bill`."""

    def __init__(self, postgres: Fetcher) -> None:
        self._postgres = postgres

    async def exchange(self, process_id: UUID, rows: Sequence[UseRow], since: int) -> list[UseRow]:
        doing = "reporting what is used of Redis"
        if rows:
            written = (
                [_at(row.hour).isoformat() for row in rows],
                [row.purpose.value for row in rows],
                [str(row.billed) for row in rows],
            )
            found = await self._postgres.fetch(doing, _EXCHANGE, process_id, *written, _at(since))
        else:  # a role that may only read, and a replica, can do that
            found = await self._postgres.fetch(doing, _READ, process_id, _at(since))
        others: Counter[tuple[int, Purpose]] = Counter()
        for row in found:
            others[row["hour"], _PURPOSES.get(row["purpose"], Purpose.PROBE)] += row["billed"]
        return [UseRow(*key, billed) for key, billed in others.items()]

    async def drop_before(self, hour: int) -> None:
        await self._postgres.fetch("dropping old use of Redis", _DROP, _at(hour))

    async def claim_question(self, interval: timedelta) -> bool:
        return bool(await self._postgres.fetch("asking what was billed", _CLAIM, interval))

    async def read_bill(self) -> ProviderBill | None:
        for row in await self._postgres.fetch("reading what was billed", _READ_BILL):
            start = int(row["period_start"].timestamp())
            return ProviderBill(row["read_at"].timestamp(), start, row["billed"], row["counted"])
        return None

    async def write_bill(self, bill: ProviderBill) -> None:
        times = (datetime.fromtimestamp(at, UTC) for at in (bill.read_at, bill.period_start))
        await self._postgres.fetch("writing what was billed", _WRITE_BILL, *times, bill.billed, bill.counted)


def _at(hour: int) -> datetime:
    return datetime.fromtimestamp(hour * HOUR, UTC)
