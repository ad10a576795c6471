"""Reports of processes, in the table `tenantcache.process_reports`, and what is shown of the log of changes."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from tenantcache.fleet.reportstore import MAX_ALIASES, BusyTenant, Identity, LoggedChange, StoredReport, StoredReports
from tenantcache.stores.counters import Fetcher

LOG_DEPTH = 10_000
"""Entries of the log in which those of one tenant are looked for: it has no index on tenants."""

# All processes that want reports say so in one row. It is written about every ten seconds, however many they are.
_WRITE = """
    with watched as (
        update tenantcache.counter_store set watched_at = clock_timestamp()
        where $6 and watched_at < clock_timestamp() - interval '8 seconds'
    )
    insert into tenantcache.process_reports as r (process, host, pid, version, at, report)
        values ($1, $2, $3, $4, clock_timestamp(), $5::jsonb)
    on conflict (process) do update set at = excluded.at, report = excluded.report
"""

_LEAVE = "delete from tenantcache.process_reports where process = $1"

_PRUNE = "delete from tenantcache.process_reports where at < now() - interval '1 hour'"

_READ = """
    select extract(epoch from clock_timestamp())::float8 as now, r.* from (select) as one left join (
        select process, host, pid, version, extract(epoch from at)::float8 as at,
            case when at > to_timestamp($1) then report::text end as report
        from tenantcache.process_reports order by at desc limit $2
    ) as r on true
"""

# A tenant has one row a day, so nothing is grouped, which would sort all of them by their ids.
_BUSIEST = """
    select tenant_id, requests from tenantcache.usage where day = (now() at time zone 'utc')::date
    order by requests desc limit $1
"""

_CHANGES = f"""
    select seq, extract(epoch from at)::float8 as at, tenant_id, hosts[:{MAX_ALIASES}] as aliases
    from tenantcache.change_log order by seq desc limit $1
"""

_CHANGES_OF = f"""
    select seq, extract(epoch from at)::float8 as at, tenant_id, hosts[:{MAX_ALIASES}] as aliases
    from (select * from tenantcache.change_log order by seq desc limit {LOG_DEPTH}) as last
    where tenant_id = $1 order by seq desc limit $2
"""


class PostgresReports:
    """`ReportStore`."""

    def __init__(self, postgres: Fetcher) -> None:
        self._postgres = postgres

    async def write(self, identity: Identity, text: str, *, is_watching: bool) -> None:
        who = (identity.process, identity.host, identity.pid, identity.version)
        await self._postgres.fetch("reporting to the fleet", _WRITE, *who, text, is_watching)

    async def leave(self, process: UUID) -> None:
        await self._postgres.fetch("taking a report back", _LEAVE, process)

    async def prune(self) -> None:
        await self._postgres.fetch("dropping old reports", _PRUNE)

    async def read(self, since: float, most: int) -> StoredReports:
        rows = await self._postgres.fetch("reading the fleet's reports", _READ, since, most)
        found = [_stored(row) for row in rows if row["process"] is not None]
        return StoredReports(rows[0]["now"], found)

    async def busiest(self, most: int) -> Sequence[BusyTenant]:
        return [BusyTenant(*row) for row in await self._postgres.fetch("reading today's usage", _BUSIEST, most)]

    async def last_changes(self, most: int) -> Sequence[LoggedChange]:
        return [_change(row) for row in await self._postgres.fetch("reading the last changes", _CHANGES, most)]

    async def changes_of(self, tenant_id: str, most: int) -> Sequence[LoggedChange]:
        rows = await self._postgres.fetch("reading a tenant's changes", _CHANGES_OF, tenant_id, most)
        return [_change(row) for row in rows]


def _stored(row: asyncpg.Record) -> StoredReport:
    return StoredReport(Identity(row["process"], row["host"], row["pid"], row["version"]), row["at"], row["report"])


def _change(row: asyncpg.Record) -> LoggedChange:
    return LoggedChange(row["seq"], row["at"], row["tenant_id"], row["aliases"] or ())
