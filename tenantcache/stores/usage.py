"""Usage by tenant and day, in Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from tenantcache.admin.usagestore import UsageDay, UsageRow, UsageTotal, latest_end
from tenantcache.errors import RejectedError, StoreError
from tenantcache.stores.counters import Fetcher
from tenantcache.stores.reasons import postgres_rejects

# A batch whose number was seen before has been added, and only its answer was lost. Rows are locked in one order, so
# that two processes cannot wait for each other in a circle.
_ADD = """
    with fresh as (
        insert into tenantcache.usage_writers as w (process, batch) values ($1, $2)
        on conflict (process) do update set batch = excluded.batch, at = now() where w.batch < excluded.batch
        returning batch
    )
    insert into tenantcache.usage as u (tenant_id, day, requests, last_seen_at)
        select n.tenant_id, n.day, n.requests, n.seen_at
        from fresh, unnest($3::text[], $4::date[], $5::bigint[], $6::timestamptz[])
            as n (tenant_id, day, requests, seen_at)
        order by n.tenant_id, n.day
    on conflict (tenant_id, day) do update set
        requests = u.requests + excluded.requests, last_seen_at = greatest(u.last_seen_at, excluded.last_seen_at)
"""

# A batch is never repeated a week later.
_LEAVE = "delete from tenantcache.usage_writers where process = $1 or at < now() - interval '7 days'"

_READ = """
    select day, requests, last_seen_at from tenantcache.usage where tenant_id = $1 and day >= $2 order by day
"""

_BUSIEST = """
    select tenant_id, sum(requests) as requests, count(*) as days, max(last_seen_at) as last_seen_at
    from tenantcache.usage where day between $1 and $2
    group by tenant_id order by sum(requests) desc, tenant_id limit $3
"""

_BY_DAY = """
    select day, sum(requests) as requests, max(last_seen_at) as last_seen_at
    from tenantcache.usage where day between $1 and $2 group by day order by day
"""

_LAST_SEEN = """
    select asked.id, seen.at from unnest($1::text[]) as asked (id), lateral (
        select last_seen_at as at from tenantcache.usage where tenant_id = asked.id order by day desc limit 1
    ) as seen
"""


class PostgresUsage:
    """`UsageStore`, in the table `tenantcache.usage`."""

    def __init__(self, postgres: Fetcher) -> None:
        self._postgres = postgres

    async def add(self, process_id: UUID, batch: int, rows: Sequence[UsageRow]) -> None:
        try:
            await self._postgres.fetch(
                "writing usage",
                _ADD,
                process_id,
                batch,
                [row.tenant_id for row in rows],
                [date(1970, 1, 1) + timedelta(days=row.day) for row in rows],
                [row.requests for row in rows],
                [datetime.fromtimestamp(min(row.seen_at, latest_end(row.day)), UTC) for row in rows],
            )
        except (OverflowError, ValueError) as error:
            raise RejectedError(f"this usage cannot be written: {error}") from error
        except StoreError as error:
            if not postgres_rejects(error.__cause__):
                raise
            raise RejectedError(f"Postgres rejects this usage: {error.__cause__}") from error

    async def leave(self, process_id: UUID) -> None:
        await self._postgres.fetch("signing off", _LEAVE, process_id)

    async def read(self, tenant_id: str, since: date) -> list[UsageDay]:
        return [UsageDay(*row) for row in await self._postgres.fetch("reading usage", _READ, tenant_id, since)]

    async def busiest(self, since: date, until: date, most: int) -> list[UsageTotal]:
        rows = await self._postgres.fetch("adding usage up", _BUSIEST, since, until, most)
        return [UsageTotal(row["tenant_id"], int(row["requests"]), row["days"], row["last_seen_at"]) for row in rows]

    async def by_day(self, since: date, until: date) -> list[UsageDay]:
        rows = await self._postgres.fetch("adding usage up", _BY_DAY, since, until)
        return [UsageDay(row["day"], int(row["requests"]), row["last_seen_at"]) for row in rows]

    async def last_seen(self, tenant_ids: Sequence[str]) -> dict[str, datetime]:
        rows = await self._postgres.fetch("reading when tenants were seen", _LAST_SEEN, list(tenant_ids))
        return {row["id"]: row["at"] for row in rows}
