"""The engine of a command that reads or writes tenants: `TenantCache` itself, without what a process that serves needs.

It loads no index and no tenants ahead, takes no tokens, and is no member of the fleet, whose size limits depend on. It
sends Redis what writes put there and nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg

from tenantcache.budget.core.meter import Meter
from tenantcache.budget.core.prices import tariff_of
from tenantcache.cli.connections import CONNECT_TIMEOUT, ServerError, postgres
from tenantcache.engine import TenantCache
from tenantcache.errors import StoreError, StoreUnavailableError, UnreachableError, told_as_unavailable
from tenantcache.lookup.sources import CopyStore
from tenantcache.ratelimit.memorycounters import MemoryCounters
from tenantcache.settings.model import Settings, variable_of
from tenantcache.stores.changelog import PostgresLog
from tenantcache.stores.postgres import PostgresTenants
from tenantcache.stores.redis import RedisCopies, RedisLink
from tenantcache.stores.redisusage import PostgresRedisUsage
from tenantcache.stores.registry import PostgresRegistry
from tenantcache.stores.usage import PostgresUsage
from tenantcache.tenant import Row
from tenantcache.wiring.stores import Stores

COPY_TIMEOUT = 1.0
"""Seconds for a copy from Redis: half of what a lookup has, so that Postgres can still answer."""

PATIENCE = 30.0
"""Seconds for one statement. A person waits, and a sum over a year of usage takes a while."""


class UncountedLog(PostgresLog):
    """Follows the log without being counted as a process: limits are shared by those that serve."""

    async def beat(self, process_id: object) -> None:
        pass


class UnwrittenCopies(RedisCopies):
    """Copies that are read alone. `failure` says why they could not be."""

    asked: bool = False
    failure: str | None = None

    async def get_many(self, aliases: Sequence[str]) -> list[bytes | None]:
        self.asked = True
        try:
            return await super().get_many(aliases)
        except StoreError as error:
            self.failure = str(error)
            raise

    async def put(self, alias: str, value: bytes) -> None:
        pass

    async def drop(self, aliases: Sequence[str]) -> None:
        pass


def make_stores(settings: Settings, copies_class: type[RedisCopies] | None = RedisCopies) -> Stores:
    """The stores of a command. Without a class for copies, Redis is never asked."""
    tenants = PostgresTenants(settings.database_url, timeout=PATIENCE)
    link = copies = None
    if settings.redis_url is not None and copies_class is not None:
        meter = Meter(
            tariff_of(settings.redis_pricing, read_regions=settings.redis_read_regions, price=settings.redis_price)
        )
        link = RedisLink(settings.redis_url, prefix=settings.key_prefix, timeout=CONNECT_TIMEOUT, meter=meter)
        copies = copies_class(
            link,
            prefix=settings.key_prefix,
            ttl=settings.redis_ttl,
            max_value_bytes=settings.max_value_bytes,
            read_timeout=COPY_TIMEOUT,
        )
    return Stores(
        tenants=tenants,
        hosts=tenants,
        log=UncountedLog(settings.database_url, timeout=CONNECT_TIMEOUT),
        counters=MemoryCounters(),
        copies=copies,
        registry=PostgresRegistry(tenants),
        usage=PostgresUsage(tenants),
        postgres=tenants,
        link=link,
        redis_usage=PostgresRedisUsage(tenants),
    )


class CommandEngine(TenantCache):
    """A `TenantCache`, and what a command asks besides."""

    async def read_row(self, alias: str) -> Row | None:
        """The columns of the tenant that `alias` leads to, from Postgres. Raises `StoreUnavailableError`."""
        with told_as_unavailable(StoreError):
            return (await self._parts.stores.tenants.read([alias])).rows[alias]

    async def is_adopted(self) -> bool:
        """Whether tables of the application's are served. Raises `StoreUnavailableError`."""
        return bool(await self._fetch("reading adoptions", "select from tenantcache.adoptions limit 1"))

    async def rivals(self, alias: str) -> list[str]:
        """The ids of the tenants that an alias may lead to, if tables are adopted. Raises `StoreUnavailableError`."""
        query = "select tenant_id::text from tenantcache.aliases where alias = $1 order by 1 limit 10"
        return [row["tenant_id"] for row in await self._fetch("reading aliases", query, alias)]

    async def _fetch(self, doing: str, query: str, *arguments: object) -> list[asyncpg.Record]:
        postgres = self._parts.stores.postgres
        assert postgres is not None  # see `make_stores`
        with told_as_unavailable(StoreError):
            return await postgres.fetch(doing, query, *arguments)

    @property
    def copies(self) -> CopyStore | None:
        return self._parts.stores.copies

    @property
    def billed(self) -> int:
        """Billed commands that were sent to Redis."""
        link = self._parts.stores.link
        return 0 if link is None else link.billed


@asynccontextmanager
async def open_engine(copies_class: type[RedisCopies] | None = RedisCopies) -> AsyncIterator[CommandEngine]:
    """An open engine on the servers that the settings name.

    Raises ConfigurationError, SchemaMissingError, and `UnreachableError` if Postgres cannot be used or fails inside.
    """
    settings = Settings().model_copy(update={"warm_up": False, "host_index_max_hosts": 0, "usage_interval": 0.0})
    try:
        # First, because a connection that fails says at once what is wrong; the log would be tried again.
        async with postgres(settings.database_url, variable_of("database_url")):
            pass
        async with CommandEngine(settings, stores=make_stores(settings, copies_class)) as engine:
            yield engine
    except (ServerError, StoreUnavailableError) as error:
        raise UnreachableError(str(error)) from None
