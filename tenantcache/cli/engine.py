"""The engine of a command that writes tenants: `TenantCache` itself, without what a process that serves needs.

It loads no index and no tenants ahead, takes no tokens, and is no member of the fleet, whose size limits depend on. It
sends Redis what writes put there and nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from tenantcache.budget.core.bands import BandInForce
from tenantcache.budget.core.meter import Meter
from tenantcache.cli.connections import CONNECT_TIMEOUT
from tenantcache.cli.reader import PATIENCE, check_postgres, told_as_unreachable
from tenantcache.cli.tenantread import read_row
from tenantcache.engine import TenantCache
from tenantcache.errors import StoreError
from tenantcache.lookup.frugalcopies import FrugalCopies
from tenantcache.lookup.sources import CopyStore
from tenantcache.ratelimit.memorycounters import MemoryCounters
from tenantcache.settings.model import Settings
from tenantcache.stores.changelog import PostgresLog
from tenantcache.stores.postgres import PostgresTenants
from tenantcache.stores.redis import RedisLink
from tenantcache.stores.rediscopies import RedisCopies
from tenantcache.stores.redisusage import PostgresRedisUsage
from tenantcache.stores.registry import PostgresRegistry
from tenantcache.tenant import Row
from tenantcache.wiring.stores import Stores

COPY_TIMEOUT = 1.0
"""Seconds for a copy from Redis: half of what a lookup has, so that Postgres can still answer."""


class UncountedLog(PostgresLog):
    """Follows the log without being counted as a process: limits are shared by those that serve."""

    async def beat(self, process_id: object) -> bool:
        return False


class UnwrittenCopies:
    """`CopyStore`, for one that is read alone. `failure` says why it could not be."""

    def __init__(self, copies: CopyStore) -> None:
        self.asked: bool = False
        self.failure: str | None = None
        self._copies = copies

    async def get_many(self, aliases: Sequence[str]) -> list[bytes | None]:
        self.asked = True
        try:
            return await self._copies.get_many(aliases)
        except StoreError as error:
            self.failure = str(error)
            raise

    async def put(self, alias: str, value: bytes) -> None:
        pass

    async def drop(self, aliases: Sequence[str]) -> None:
        pass


def make_stores(settings: Settings, *, reads_only: bool) -> Stores:
    """The stores of a command: no counters of the fleet, and no usage, because a command serves no requests."""
    tenants = PostgresTenants(settings.database_url, timeout=PATIENCE)
    stores = Stores(
        tenants=tenants,
        hosts=tenants,
        log=UncountedLog(settings.database_url, timeout=CONNECT_TIMEOUT),
        counters=MemoryCounters(),
        registry=PostgresRegistry(tenants),
        postgres=tenants,
        redis_usage=PostgresRedisUsage(tenants),
    )
    if settings.redis_url is not None:
        meter = Meter(settings.tariff)
        stores.link = RedisLink(settings.redis_url, prefix=settings.key_prefix, timeout=CONNECT_TIMEOUT, meter=meter)
        copies = _make_copies(settings, stores.link, stores.in_force)
        stores.copies = UnwrittenCopies(copies) if reads_only else copies
    return stores


def _make_copies(settings: Settings, link: RedisLink, in_force: BandInForce) -> CopyStore:
    """As a process has them, with more patience."""
    copies = RedisCopies(
        link,
        prefix=settings.key_prefix,
        ttl=settings.redis_ttl,
        max_value_bytes=settings.max_value_bytes,
        read_timeout=COPY_TIMEOUT,
        in_force=in_force,
    )
    return FrugalCopies(copies, in_force)


class CommandEngine(TenantCache):
    """A `TenantCache`, and what a command asks besides."""

    async def read_row(self, alias: str) -> Row | None:
        """The columns of the tenant that `alias` leads to, from Postgres. Raises `StoreUnavailableError`."""
        return await read_row(self._parts.stores.tenants, alias)

    @property
    def copies(self) -> CopyStore | None:
        return self._parts.stores.copies

    @property
    def billed(self) -> int:
        """Billed commands that were sent to Redis."""
        link = self._parts.stores.link
        return 0 if link is None else link.billed


@asynccontextmanager
async def open_engine(*, reads_only: bool = False) -> AsyncIterator[CommandEngine]:
    """An open engine on the servers that the settings name. `reads_only`: it leaves copies in Redis as they are.

    Raises ConfigurationError, SchemaMissingError, and `UnreachableError` if Postgres cannot be used or fails inside.
    """
    settings = Settings().model_copy(update={"warm_up": False, "host_index_max_hosts": 0, "usage_interval": 0.0})
    async with told_as_unreachable():
        await check_postgres(settings)
        async with CommandEngine(settings, stores=make_stores(settings, reads_only=reads_only)) as engine:
            yield engine
