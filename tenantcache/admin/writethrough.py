"""Write-through: what was committed is seen here at once, and lies in Redis for other processes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from tenantcache.errors import StoreError, StoreUnavailableError
from tenantcache.lookup.core import copies as codec
from tenantcache.lookup.core.alias import id_alias
from tenantcache.lookup.sources import CopyStore, TenantStore
from tenantcache.tenant import LimitTable, Row, tenant_from_row

logger = logging.getLogger(__name__)

MAX_COPIES = 16
"""Aliases of one tenant that are written to Redis at once, each billed as a command. The others follow when read."""


class WriteThrough:
    """Called after a commit. `read` aside, nothing here raises: the write is done, and the log brings it to every
    process anyway."""

    def __init__(self, tenants: TenantStore, copies: CopyStore | None, sync: Callable[[], Awaitable[None]]) -> None:
        self._tenants = tenants
        self._copies = copies
        self._sync = sync

    async def read(self, tenant_id: str) -> Row | None:
        """The tenant as Postgres has it. Raises `StoreError`."""
        alias = id_alias(tenant_id)
        return (await self._tenants.read([alias])).rows[alias]

    async def publish(self, tenant_id: str) -> None:
        """Follow the log up to the write, then put the tenant into Redis under its aliases."""
        if not await self._follow() or self._copies is None:
            return
        try:
            alias = id_alias(tenant_id)
            snapshot = await self._tenants.read([alias])
            row = snapshot.rows[alias]
            if row is not None:
                value = codec.encode(codec.Copy(snapshot.epoch, snapshot.mark, row))
                for name in aliases_of(row)[:MAX_COPIES]:
                    await self._copies.put(name, value)
        except StoreError as error:
            logger.info("a tenant that was written is not in Redis yet: %s", error)

    async def withdraw(self, aliases: Sequence[str]) -> None:
        """Follow the log up to a deletion, then drop the copies: they are refused anyway, but hold what was deleted."""
        await self._follow()
        if self._copies is not None:
            try:
                await self._copies.drop(aliases)
            except StoreError as error:
                logger.info("copies of a deleted tenant stay in Redis until they expire: %s", error)

    async def _follow(self) -> bool:
        try:
            await self._sync()
        except StoreUnavailableError as error:
            logger.warning("the write is committed, and this process will see it later: %s", error)
            return False
        return True


def aliases_of(row: Row) -> tuple[str, ...]:
    """Every alias that leads to the tenant: by host first, since requests come by those."""
    by_id, *by_host = tenant_from_row(row, LimitTable()).aliases
    return (*by_host, by_id)
