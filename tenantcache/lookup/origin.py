"""Reads of Postgres behind a breaker, so that an outage costs a query now and then."""

from __future__ import annotations

from collections.abc import Sequence

from tenantcache.errors import SchemaMissingError, StoreError
from tenantcache.lookup.core.snapshot import Snapshot
from tenantcache.lookup.sources import TenantStore
from tenantcache.runtime.breaker import Breaker
from tenantcache.runtime.clock import Clock


class Origin:
    def __init__(self, store: TenantStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._breaker = Breaker(threshold=1, min_pause=0.25, max_pause=1.0)

    async def read(self, aliases: Sequence[str]) -> Snapshot:
        """Read `aliases` in one statement. Raises `StoreError`, at once while the breaker is open."""
        if not self._breaker.allows(self._clock()):
            raise StoreError(f"{self._breaker.reason} (not asked again yet)")
        try:
            snapshot = await self._store.read(aliases)
        except SchemaMissingError as error:
            raise StoreError(str(error)) from error
        except StoreError as error:
            self._breaker.failed(self._clock(), reason=str(error))
            raise
        self._breaker.succeeded()
        return snapshot
