"""The parts of one event loop, and what parts that outlive it ask of them."""

from __future__ import annotations

from tenantcache.freshness.follower import Follower
from tenantcache.lookup.indexer import Indexer
from tenantcache.lookup.resolver import Resolver
from tenantcache.lookup.warmup import WarmUp
from tenantcache.runtime.eventloops import Home

SYNC_TIMEOUT = 2.0
"""Seconds that `TenantCache.sync` waits for the log."""


class InLoop:
    """The parts of one event loop, as `Parts.renew` has made them. What outlives a loop asks its follower here."""

    indexer: Indexer
    resolver: Resolver
    warm_up: WarmUp
    follower: Follower

    def __init__(self, home: Home) -> None:
        self._home = home

    def count_processes(self) -> int:
        """The size of the fleet."""
        return self.follower.processes

    def wake_follower(self) -> None:
        self.follower.wake()

    async def sync(self) -> None:
        """Return once every change committed before this call has been applied.

        Raises `StoreUnavailableError` if the log cannot be read, and `NotOpenError`.
        """
        self._home.require_open()
        await self.follower.sync(SYNC_TIMEOUT)
