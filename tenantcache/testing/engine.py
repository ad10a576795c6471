"""The engine of an application's tests: all of it, save that its stores and its clock are in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Unpack

from tenantcache.engine import TenantCache
from tenantcache.freshness.log import ChangeKind, LogEntry
from tenantcache.ratelimit.memorycounters import MemoryCounters
from tenantcache.runtime.eventloops import Home, running_loop
from tenantcache.settings.arguments import SettingsArguments
from tenantcache.settings.model import Settings
from tenantcache.testing.clock import FakeClock
from tenantcache.testing.database import MemoryDatabase
from tenantcache.testing.registry import MemoryRegistry
from tenantcache.testing.values import KeptParts, SwitchedValues
from tenantcache.wiring.stores import Stores

BASE_DOMAIN = "testserver"
"""What Starlette's test client calls itself: a client that acts as no tenant is at the base domain."""

PATIENCE = 5.0
"""Seconds that a change from another thread waits for the engine's event loop."""


class AnyLoop(Home):
    """The home of an engine whose stores wait for nothing, and so belong to no event loop."""

    @property
    def is_open(self) -> bool:
        return super().is_open and self.loop is not None and not self.loop.is_closed()

    def is_elsewhere(self) -> bool:
        return False


class MemoryCache(TenantCache):
    """An engine that needs no servers. `settings` are those of `Settings`; the environment is not read.

    Tenants are declared by `TenantTable`, or by `cache.tenants`, and a change is seen by the next request, whatever
    thread it comes from. It outlives event loops: test clients may run each request in one of its own.
    """

    _home_class = AnyLoop
    _value_parts_class = KeptParts
    values: SwitchedValues

    def __init__(self, clock: FakeClock | None = None, **settings: Unpack[SettingsArguments]) -> None:
        self.fake_clock: FakeClock = clock if clock is not None else FakeClock()
        self.database: MemoryDatabase = MemoryDatabase(self.fake_clock.server_time, on_entry=self._apply)
        self.registry: MemoryRegistry = MemoryRegistry(self.database, self.fake_clock)
        database = self.database
        stores = Stores(
            database, database, database, MemoryCounters(), registry=self.registry, usage=database.usage, rows=database
        )
        # A lookup costs nothing here, so an index of hosts would save nothing, nor would a memory that is warm.
        values: SettingsArguments = {
            "database_url": "postgresql://nobody@memory.invalid/none",
            "base_domains": [BASE_DOMAIN],
            "host_index_max_hosts": 0,
            "warm_up": False,
            **settings,
        }
        super().__init__(Settings({}, **values), stores=stores, clock=self.fake_clock)
        self.server_time.offset = self.fake_clock.server_time() - self.fake_clock()
        parts = self._parts.values.parts
        assert isinstance(parts, KeptParts)
        self.values = SwitchedValues(parts)
        self.fake_clock.follow(self._follow_log)

    async def open(self) -> None:
        if self._parts.home.loop is not asyncio.get_running_loop():
            self._parts.home.abandon()  # its tasks ended with their loop; what it holds is still true
        await super().open()

    def _follow_log(self) -> None:
        """No change waits to be applied, so memory is as good as a moment ago, however long that is by the clock."""
        if self.freshness.epoch is not None:
            self.freshness.extend(self.fake_clock())

    def _apply(self, entry: LogEntry) -> None:
        def apply() -> None:
            if self.freshness.epoch is not None:
                if entry.kind is ChangeKind.VALUES:
                    self.freshness.pass_over(entry)
                else:
                    self.freshness.apply(entry, entry.tenant_id, entry.aliases)
                self._parts.changes.changed(entry)

        self._call_in_loop(apply)

    def _call_in_loop(self, call: Callable[[], None]) -> None:
        """Run `call` in the engine's event loop, and return when it is done."""
        loop = self._parts.home.loop
        if loop is None or not loop.is_running() or loop is running_loop():
            call()
            return
        done: Future[None] = Future()

        def run() -> None:
            try:
                call()
                done.set_result(None)
            except BaseException as error:
                done.set_exception(error)

        loop.call_soon_threadsafe(run)
        done.result(PATIENCE)
