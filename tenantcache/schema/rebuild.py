"""Names of tenants that were derived from tables are read anew, if those tables have changed."""

from __future__ import annotations

import asyncpg

from tenantcache.freshness.core.logfault import LogFault, Remedy, read_fault


async def rebuild_if_changed(connection: asyncpg.Connection, timeout: float | None = None) -> LogFault | None:
    """Mend what needs no operator, in `timeout` seconds at most; return why the log cannot be relied on even so."""
    fault = await _find_fault(connection)
    if fault is None or fault.remedy is not Remedy.REBUILD:
        return fault
    await connection.fetchval("select tenantcache.rebuild()", timeout=timeout)
    return await _find_fault(connection)


async def _find_fault(connection: asyncpg.Connection) -> LogFault | None:
    return read_fault(await connection.fetchval("select tenantcache.fault()"))
