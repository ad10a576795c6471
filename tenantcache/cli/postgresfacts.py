"""What `doctor` looks at in Postgres: all that `check` does, the change log, and the processes that follow it."""

from __future__ import annotations

import asyncpg

from tenantcache.budget.core.facts import PostgresFacts
from tenantcache.cli.check import find_warnings
from tenantcache.cli.connections import ServerError, postgres
from tenantcache.cli.fleet import has_database
from tenantcache.errors import ConfigurationError
from tenantcache.schema.inspection import find_faults
from tenantcache.settings.model import Settings, variable_of

MANY = 1_000_000
"""Rows that are counted, at most."""

_LOG = """
    select pg_total_relation_size('tenantcache.change_log')::bigint as log_bytes,
        (select count(*) from (select from tenantcache.change_log limit $1) l) as log_entries,
        (select extract(epoch from clock_timestamp() - min(at))::float8 from tenantcache.change_log) as oldest_entry,
        (select count(*) from (
            select from tenantcache.outbox o where o.xid >= (select tenantcache.floor()) limit $1) o) as unpublished,
        count(p.*) as processes, max(extract(epoch from clock_timestamp() - p.seen_at))::float8 as slowest_process
    from tenantcache.processes p where p.seen_at > clock_timestamp() - interval '30 seconds'
"""
# A process that gave no sign of life for 30 s counts as dead everywhere.


async def read_postgres() -> PostgresFacts | None:
    """None if no database URL is set. Never raises for what is wrong there: that is what it looks for."""
    if not has_database():
        return None
    try:
        settings = Settings()
        async with postgres(settings.database_url, variable_of("database_url")) as connection:
            return await _examine(connection, settings)
    except (ConfigurationError, ServerError) as error:
        return PostgresFacts(faults=tuple(str(error).splitlines()))


async def _examine(connection: asyncpg.Connection, settings: Settings) -> PostgresFacts:
    if faults := await find_faults(connection):
        return PostgresFacts(faults=tuple(faults))
    warnings = [line for _, line in await find_warnings(connection, settings)]
    return PostgresFacts(warnings=tuple(warnings), **dict(await connection.fetchrow(_LOG, MANY)))
