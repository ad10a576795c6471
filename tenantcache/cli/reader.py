"""What a command reads of tenants, domains and usage: from Postgres alone, by one connection, with the right to read.

The classes are those of `TenantCache`. What they need to write is left out: nothing follows the log here.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import asyncpg

from tenantcache.admin.domains import Domains
from tenantcache.admin.tenants import Tenants
from tenantcache.admin.usage import Usage
from tenantcache.admin.writethrough import WriteThrough
from tenantcache.cli.connections import ServerError, postgres
from tenantcache.cli.fleetbudget import FleetBudget, read_fleet_budget
from tenantcache.cli.tenantread import read_row
from tenantcache.errors import (
    NotOpenError,
    SchemaMissingError,
    StoreError,
    StoreUnavailableError,
    UnreachableError,
    told_as_unavailable,
)
from tenantcache.lookup.core.alias import id_alias
from tenantcache.lookup.core.hosts import HostRules
from tenantcache.settings.model import Settings, variable_of
from tenantcache.stores.postgres import PostgresTenants
from tenantcache.stores.registry import PostgresRegistry
from tenantcache.stores.usage import PostgresUsage
from tenantcache.tenant import Row

PATIENCE = 30.0
"""Seconds for one statement. A person waits, and a sum over a year of usage takes a while."""


class TenantReader:
    """Reads what Postgres says now. All methods raise `StoreUnavailableError` and `SchemaMissingError`."""

    def __init__(self, settings: Settings, store: PostgresTenants) -> None:
        self.settings = settings
        self.hosts: HostRules = HostRules(
            settings.base_domains, settings.reserved_subdomains, settings.base_domain_tenant
        )
        self._store = store
        registry, unwritten = PostgresRegistry(store), WriteThrough(store, None, _refuse_to_follow)
        self.tenants: Tenants = Tenants(registry, unwritten, self.hosts, settings.limit_table, _nothing)
        self.domains: Domains = Domains(registry, unwritten, self.hosts, _nothing)
        self.usage: Usage = Usage(PostgresUsage(store), tuple, server_now=time.time, interval=0)

    async def read_row(self, alias: str) -> Row | None:
        """The columns of the tenant that `alias` leads to."""
        return await read_row(self._store, alias)

    async def names_of(self, tenant_ids: Iterable[str]) -> dict[str, str]:
        """How the tenants are called that are there, by id."""
        with told_as_unavailable(StoreError):
            rows = (await self._store.read([id_alias(tenant_id) for tenant_id in tenant_ids])).rows
        return {row["id"]: row["name"] for row in rows.values() if row is not None}

    async def is_adopted(self) -> bool:
        """Whether tables of the application's are served."""
        return bool(await self._fetch("reading adoptions", "select from tenantcache.adoptions limit 1"))

    async def rivals(self, alias: str) -> Sequence[str]:
        """The ids of the tenants that an alias may lead to, if tables are adopted."""
        query = "select tenant_id::text from tenantcache.aliases where alias = $1 order by 1 limit 10"
        return [row["tenant_id"] for row in await self._fetch("reading aliases", query, alias)]

    async def read_budget(self) -> FleetBudget:
        """What the fleet uses of its Redis."""
        return await read_fleet_budget(self.settings, self._store)

    async def _fetch(self, doing: str, query: str, *arguments: object) -> list[asyncpg.Record]:
        with told_as_unavailable(StoreError):
            return await self._store.fetch(doing, query, *arguments)


@asynccontextmanager
async def open_reader() -> AsyncIterator[TenantReader]:
    """A reader of the Postgres that the settings name.

    Raises ConfigurationError, SchemaMissingError, and `UnreachableError` if Postgres cannot be used or fails inside.
    """
    settings = Settings()
    store = PostgresTenants(settings.database_url, timeout=PATIENCE, max_connections=1)
    async with told_as_unreachable():
        await check_postgres(settings)
        await store.open()
        try:
            yield TenantReader(settings, store)
        finally:
            await store.close()


async def check_postgres(settings: Settings) -> None:
    """Connect once, because that says at once what is wrong. Raises ServerError."""
    async with postgres(settings.database_url, variable_of("database_url")):
        pass


@asynccontextmanager
async def told_as_unreachable() -> AsyncIterator[None]:
    """Raise `UnreachableError` for a store that fails, and SchemaMissingError if that is why."""
    try:
        yield
    except (ServerError, StoreUnavailableError) as error:
        if isinstance(error.__cause__, SchemaMissingError):
            raise error.__cause__ from None
        raise UnreachableError(str(error)) from None


def _nothing() -> None:
    pass


async def _refuse_to_follow() -> None:
    raise NotOpenError("this engine only reads")
