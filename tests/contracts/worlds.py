"""A database of either kind, the real one and the one in memory, as its protocols show it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg

from tenantcache.admin.registry import Registry
from tenantcache.admin.tenants import column_defaults
from tenantcache.admin.usagestore import UsageStore
from tenantcache.budget.usestore import UseStore
from tenantcache.freshness.core.logmark import LogMark
from tenantcache.freshness.log import ChangeLog, LogEntry, Publication
from tenantcache.lookup.sources import HostSource, RowSource, TenantStore
from tenantcache.stores.changelog import PostgresLog
from tenantcache.stores.postgres import PostgresTenants
from tenantcache.stores.redisusage import PostgresRedisUsage
from tenantcache.stores.registry import PostgresRegistry
from tenantcache.stores.usage import PostgresUsage
from tenantcache.tenant import Row
from tenantcache.testing import FakeClock
from tenantcache.testing.database import MemoryDatabase
from tenantcache.testing.redisusage import MemoryRedisUsage
from tenantcache.testing.registry import MemoryRegistry
from tests.servers.publishing import publish

EVERYTHING = 1_000_000

_EMPTY = """
    delete from tenantcache.tenants;
    delete from tenantcache.usage;
    delete from tenantcache.usage_writers;
    delete from tenantcache.redis_usage;
    delete from tenantcache.processes;
"""
_EMPTY_LOG = """
    delete from tenantcache.change_log where seq < (select max(seq) from tenantcache.change_log);
    update tenantcache.change_log set at = now();
"""

_OLDER = """
    update tenantcache.change_log set at = at - $1::interval;
    update tenantcache.domain_challenges set failing_since = failing_since - $1::interval;
"""


@dataclass
class World:
    """`let_pass(seconds)` makes everything that is stored older; `lose_newest(count)` does what a backup does to the
    log that is put back. `notices` gets one item for each call of the log's `on_change`."""

    tenants: TenantStore
    hosts: HostSource
    rows: RowSource
    log: ChangeLog
    registry: Registry
    usage: UsageStore
    redis_usage: UseStore
    let_pass: Callable[[float], Awaitable[None]]
    lose_newest: Callable[[int], Awaitable[None]]
    notices: list[object] = field(default_factory=list)

    async def create(
        self, tenant_id: str | None, domains: Sequence[str] = (), primary: str | None = None, **columns: Any
    ) -> Row:
        """A tenant of that subdomain, in the log."""
        given = {**column_defaults(), "id": tenant_id, "name": tenant_id or "", "subdomain": tenant_id, **columns}
        row = await self.registry.create(given, domains, primary)
        await self.publish()
        return row

    async def rename(self, tenant_id: str, name: str) -> None:
        """One entry more in the log."""
        await self.registry.update(tenant_id, {"name": name})
        await self.publish()

    async def find(self, alias: str) -> Row | None:
        return (await self.tenants.read([alias])).rows[alias]

    async def publish(self) -> None:
        while await self.log.publish(500) is not Publication.NOTHING:
            pass

    async def head(self) -> LogMark:
        return (await self.log.tail(0, 1)).head

    async def entries(self) -> Sequence[LogEntry]:
        """All of the log."""
        return (await self.log.tail(EVERYTHING, EVERYTHING)).entries

    def notify(self, *arguments: object, **_named: object) -> None:
        self.notices.append(arguments)


@asynccontextmanager
async def in_memory() -> AsyncIterator[World]:
    clock = FakeClock()
    database = MemoryDatabase(clock.server_time)

    async def let_pass(seconds: float) -> None:
        clock.advance(seconds)

    async def lose_newest(count: int) -> None:
        del database._entries[-count:]
        clock.advance(0.001)

    registry = MemoryRegistry(database, clock)
    usage, redis_usage = database.usage, MemoryRedisUsage()
    yield World(database, database, database, database, registry, usage, redis_usage, let_pass, lose_newest)


@asynccontextmanager
async def in_postgres(url: str) -> AsyncIterator[World]:
    connection = await asyncpg.connect(url)
    await connection.execute(_EMPTY)
    await publish(connection)
    await connection.execute(_EMPTY_LOG)

    async def let_pass(seconds: float) -> None:
        for statement in _OLDER.split(";")[:-1]:
            await connection.execute(statement, timedelta(seconds=seconds))

    async def lose_newest(count: int) -> None:
        kept = await connection.fetchval("select max(seq) - $1 from tenantcache.change_log", count)
        await connection.execute("delete from tenantcache.change_log where seq > $1", kept)
        await connection.execute("select setval('tenantcache.change_seq', $1)", kept)

    tenants, log = PostgresTenants(url, timeout=5.0), PostgresLog(url, timeout=5.0)
    await tenants.open()
    registry, usage, redis_usage = PostgresRegistry(tenants), PostgresUsage(tenants), PostgresRedisUsage(tenants)
    yield World(tenants, tenants, tenants, log, registry, usage, redis_usage, let_pass, lose_newest)
    await tenants.close()
    await connection.close()
