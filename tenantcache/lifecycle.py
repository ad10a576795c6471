"""How an engine is opened and closed, in one event loop at a time, and what a fork leaves of it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Protocol

from tenantcache.errors import SchemaMissingError, StoreError, StoreUnavailableError
from tenantcache.runtime.closing import close_all, run_cleanup
from tenantcache.runtime.eventloops import Phase, open_elsewhere, running_loop
from tenantcache.runtime.forks import forget_after_fork
from tenantcache.runtime.tasks import stop
from tenantcache.settings.model import variable_of
from tenantcache.settings.urls import POSTGRES_PORT, address
from tenantcache.startreport import StartReport
from tenantcache.wiring.parts import Parts
from tenantcache.wiring.statelog import StateLog

logger = logging.getLogger(__name__)

OPEN_TIMEOUT = 5.0
"""Seconds that opening waits for the log."""

REFRESH_INTERVAL = 1.0
"""Seconds between two looks for entries in memory that are past their TTL."""


MAX_REFRESHES = 5
"""Queries for such entries at each look, of 100 entries: 150,000 in five minutes."""


class Companion(Protocol):
    """What is open while an engine is, and serves no request: it may watch it."""

    def open(self) -> None:
        """The engine is open, in the running event loop."""
        ...

    async def close(self) -> None:
        """The engine has just been closed."""
        ...

    def forget(self) -> None:
        """After a fork, in the child."""
        ...


class LifeCycle:
    """Opens and closes `parts`. `parts.home` says how far that is, and in which event loop."""

    def __init__(self, parts: Parts) -> None:
        self.companions: list[Companion] = []
        self._parts = parts
        self._home = parts.home
        self._opening: asyncio.Task[None] | None = None
        self._refresher: asyncio.Task[None] | None = None
        self._start_report: StartReport | None = None
        self._closed = asyncio.Event()
        forget_after_fork(self)

    async def open(self) -> None:
        """As `TenantCache.open`."""
        home = self._home
        if home.is_elsewhere():
            await self._leave_loop()
        while home.phase is Phase.CLOSING:
            await self._closed.wait()
        if home.is_open:
            return
        if home.loop not in (None, asyncio.get_running_loop()):
            self._opening = None
            self._parts.renew()
        home.loop = asyncio.get_running_loop()
        if self._opening is None or self._opening.done():
            home.move_to(Phase.OPENING)
            self._opening = asyncio.create_task(self._open(), name="tenantcache opening")
        # One attempt for all callers that wait: if each made its own, the last would wait for all of them to fail.
        await asyncio.shield(self._opening)

    async def close(self) -> None:
        """As `TenantCache.close`."""
        if self._home.is_elsewhere():
            try:
                await self.open()
            except StoreUnavailableError as error:
                logger.error("what the engine held and counted could not be given back: %s", error)
                return
        if self._home.phase is Phase.OPENING:
            await stop(self._opening)
        if self._home.phase is Phase.OPENING:  # it was cancelled before its first step
            self._home.move_to(Phase.CLOSED)
        if self._home.is_open:
            await self._close()

    def after_fork_in_child(self) -> None:
        """Sockets and tokens belong to the parent: start from nothing, under a name of one's own."""
        parts = self._parts
        parts.limiter.forget()
        parts.usage.forget()
        parts.fleet_use.forget()
        parts.governor.forget()
        parts.memory.clear()
        parts.values.parts.forget()
        for companion in self.companions:
            companion.forget()
        parts.reports.forget()
        self._home.abandon()
        self._opening = self._refresher = None
        if self._home.loop is not None and parts.stores.link is not None:
            parts.stores.link.leave_to_parent()
        if parts.fleet_counters is not None:
            parts.fleet_counters.forget()
        self._home.loop = None
        parts.renew()

    async def _leave_loop(self) -> None:
        """Part with a loop that was closed under the engine; what was counted stays, and tokens stay. Raises
        `NotOpenError` if the loop goes on."""
        loop, stores = self._home.loop, self._parts.stores
        assert loop is not None
        if not loop.is_closed():
            raise open_elsewhere(loop)
        logger.warning("%s", open_elsewhere(loop))
        self._home.abandon()
        self._opening = self._refresher = None
        self._parts.memory.clear()
        self._parts.limiter.leave_loop()
        self._parts.values.parts.leave_loop()
        for store in (stores.log, stores.postgres):
            with suppress(Exception):  # they can only be let go: their loop sends nothing any more
                if store is not None:
                    await store.close()
        if stores.link is not None:
            stores.link.leave_to_parent()

    # Opening.

    async def _open(self) -> None:
        try:
            redis_found = await self._open_stores()
        except BaseException:
            await self._close_stores()
            self._home.move_to(Phase.CLOSED)
            raise
        parts = self._parts
        self._refresher = asyncio.create_task(self._refresh(), name="tenantcache refresher")
        parts.limiter.open()
        parts.usage.open()
        parts.changes.callbacks.open()
        parts.reports.open()
        parts.values.parts.open()
        if parts.stores.link is not None:
            parts.fleet_use.open()
            parts.governor.open()
        parts.in_loop.indexer.open()
        self._home.move_to(Phase.OPEN)
        parts.in_loop.warm_up.open()
        self._start_report = StartReport(parts)
        self._start_report.open(redis_found=redis_found)
        for companion in self.companions:
            companion.open()

    async def _open_stores(self) -> bool:
        """Return whether Redis answers."""
        parts = self._parts
        where = f"{variable_of('database_url')}, Postgres at {address(parts.settings.database_url, POSTGRES_PORT)}"
        try:
            if parts.stores.postgres is not None:
                await parts.stores.postgres.open()
            await parts.in_loop.follower.start(OPEN_TIMEOUT)
        except (StoreError, StoreUnavailableError) as error:
            raise StoreUnavailableError(f"{where}: {error}") from error
        except SchemaMissingError as error:
            raise SchemaMissingError(f"{where}: {error}") from None
        redis_found = await self._open_redis()
        if parts.fleet_counters is not None:
            try:
                await parts.fleet_counters.open(
                    parts.server_now, parts.in_loop.wake_follower, parts.limiter, redis_found=redis_found
                )
            except StoreError as error:
                raise StoreUnavailableError(f"{where}: {error}") from error
        return redis_found

    async def _open_redis(self) -> bool:
        if self._parts.stores.link is None:
            return False
        try:
            await self._parts.stores.link.open()
        except StoreError as error:
            logger.warning("%s: %s; going on without", variable_of("redis_url"), error)
            return False
        return True

    # Open.

    async def _refresh(self) -> None:
        states = StateLog(self._parts)
        try:
            while True:
                states.note()
                await asyncio.sleep(REFRESH_INTERVAL)
                with suppress(StoreError):  # the entries stay, and are read when they are asked for
                    reads = 1
                    while await self._parts.in_loop.resolver.refresh_due() and reads < MAX_REFRESHES:
                        reads += 1
                await self._tidy()
        except asyncio.CancelledError:
            # Not by `close`: the loop is ending, as `asyncio.run` ends one, and waits for this task.
            if self._home.is_open and self._home.loop is running_loop():
                logger.info("the event loop ends: closing the TenantCache that is open in it")
                await self._close()
            raise

    async def _tidy(self) -> None:
        while self._parts.memory.tidy():  # noqa: ASYNC110 - it is work, in small parts
            await asyncio.sleep(0)

    # Closing.

    async def _close(self) -> None:
        parts, loop_parts = self._parts, self._parts.in_loop
        closed = self._closed = asyncio.Event()
        self._home.move_to(Phase.CLOSING)
        try:
            if self._refresher is not asyncio.current_task():
                await stop(self._refresher)
            await close_all(self._start_report, parts.reports, parts.governor, loop_parts.warm_up, loop_parts.indexer)
            await close_all(parts.values.parts, parts.limiter, parts.usage, loop_parts.resolver)
            await self._close_stores()
            await close_all(*self.companions)
        finally:
            if self._home.phase is Phase.CLOSING and closed is self._closed:  # else the loop ended first
                parts.memory.clear()  # its entries lead to reservations that have given everything back
                self._home.move_to(Phase.CLOSED)
            closed.set()
        await self._tidy()

    async def _close_stores(self) -> None:
        stores = self._parts.stores
        await run_cleanup(self._parts.in_loop.follower.stop)
        await run_cleanup(self._parts.changes.callbacks.close)
        # The last commands are sent by the counters, and what was used is reported to Postgres.
        await close_all(stores.counters, stores.link, self._parts.fleet_use, stores.postgres)
