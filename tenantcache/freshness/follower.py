"""The follower: one task a process that keeps up with the log.

It pulls about once a second, and at once when Postgres notifies it. The pull alone keeps the promise of freshness;
the notification only makes it quick. One query is heartbeat, gap repair, detector of half-open connections, the
server's clock and the size of the fleet.

Rules:

* Changes that are committed and not in the log yet are published by the process that sees them first, in a few
  milliseconds (`publisher`). A pull extends the validity of memory from its own sending if nothing was pending. If
  what was pending in an earlier pull is in the log now, it extends it from the sending of that one (freshness, rule 1).
* A transaction that leaves the notifying to another may commit after it. So after a notification the follower pulls
  again, at growing intervals, for as long as transactions that it saw under way still are (`pace`).
* A commit's notification may name what it has changed. That is doubted at once (freshness, rule 8), and read from
  Postgres if a request wants it, until the log has named it.
* Any client of the database may notify. A notification that brings nothing makes the next one wait, twice as long each
  time (`pace`). Then what notifications name is not doubted.
* About once a second a pull also asks whether what the log rests on is still there: triggers, tables, columns. The
  sending of the last one that has found it so is the latest from which validity is extended (`faultcheck`).
* What is too much for one answer is asked for in smaller portions, down to a single entry; then it is skipped
  (`puller`).
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import Callable

from tenantcache.errors import POSTGRES_FAILURES, SchemaMissingError, StoreError, StoreUnavailableError
from tenantcache.freshness.core.freshness import Freshness
from tenantcache.freshness.core.servertime import ServerTime
from tenantcache.freshness.faultcheck import FaultCheck
from tenantcache.freshness.housekeeping import Housekeeping
from tenantcache.freshness.log import ChangeLog, Doubt, Pull
from tenantcache.freshness.notices import Notices
from tenantcache.freshness.pace import Pace
from tenantcache.freshness.publisher import Publisher
from tenantcache.freshness.puller import ChangeSink, Puller, Standing
from tenantcache.runtime.clock import Clock
from tenantcache.runtime.statechange import state_change
from tenantcache.runtime.tasks import stop
from tenantcache.runtime.tracing import Tracing
from tenantcache.stats import FollowerStats

logger = logging.getLogger(__name__)

MIN_BACKOFF, MAX_BACKOFF = 0.05, 2.0


class Follower:
    """Times are in seconds. `tail_age` and `on_pull` are those of `Puller`; `on_beat` gets the answer to each beat."""

    def __init__(
        self,
        log: ChangeLog,
        freshness: Freshness,
        server_time: ServerTime,
        sink: ChangeSink,
        *,
        clock: Clock,
        tail_age: float,
        pull_interval: float = 1.0,
        on_pull: Callable[[Pull], None] = lambda _: None,
        tracing: Tracing | None = None,
        on_beat: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self.process_id: uuid.UUID = uuid.uuid4()
        self.connected: bool = False
        self.last_error: str | None = None
        self._is_lost = False
        self._log, self._freshness, self._sink = log, freshness, sink
        self._notices = Notices(freshness)
        self._publisher = Publisher(log, self._notices)
        self._checks = FaultCheck(log, pull_interval, self.wake)
        self._housekeeping = Housekeeping(log, self.process_id, clock, on_beat)
        self._pace = Pace(pull_interval)
        self._puller = Puller(
            log,
            freshness,
            server_time,
            sink,
            self._notices,
            self._checks,
            clock=clock,
            tail_age=tail_age,
            on_pull=on_pull,
            tracing=Tracing() if tracing is None else tracing,
        )
        self._started = 0
        self._finished = asyncio.Condition()
        self._last_finished = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self, timeout: float) -> None:
        """Follow from now on. Raises `SchemaMissingError`, or `StoreUnavailableError` after `timeout`."""
        self._housekeeping.begin()
        self._task = asyncio.create_task(self._run(), name="tenantcache follower")
        await self.sync(timeout)

    async def stop(self) -> None:
        if self._task is None:
            return
        await stop(self._task)
        await self._checks.stop()
        try:
            if self.connected:
                await self._log.leave(self.process_id)
        except POSTGRES_FAILURES:
            pass  # the others see within 30 s that this process has stopped
        await self._log.close()
        self.connected = False

    @property
    def pulls(self) -> int:
        """Answers to pulls since the start."""
        return self._puller.pulls

    @property
    def processes(self) -> int:
        """The size of the fleet."""
        return self._puller.processes

    @property
    def fault(self) -> str | None:
        """Why changes cannot be followed, if the log cannot be relied on."""
        return None if self._checks.fault is None else str(self._checks.fault)

    def stats(self) -> FollowerStats:
        return {
            "following": self.connected,
            "pulls": self.pulls,
            "processes": self.processes,
            "fault": self.fault,
            "last_error": self.last_error,
        }

    def wake(self) -> None:
        """Pull soon."""
        self._notices.ask()

    def _notified(self, published: int | None = None, *, checks: bool = False, doubt: Doubt | None = None) -> None:
        if checks:
            self._checks.want()
        if doubt is not None:
            self._doubt(doubt)
        self._notices.notify(published)

    def _doubt(self, doubt: Doubt) -> None:
        if not self._pace.patience and self._freshness.doubts.note(doubt.tenant_id, doubt.aliases):
            self._sink.doubted(doubt)

    async def sync(self, timeout: float) -> None:
        """Return once a pull that was sent after this call has been applied.

        Raises `StoreUnavailableError` after `timeout` seconds.
        """
        wanted = self._started + 1
        self.wake()
        try:
            async with asyncio.timeout(timeout), self._finished:
                await self._finished.wait_for(lambda: self._last_finished >= wanted or self._is_over())
        except TimeoutError:
            raise StoreUnavailableError(f"the change log could not be read: {self.last_error or 'no answer'}") from None
        if self._last_finished < wanted and self._task is not None:
            self._task.result()

    def _is_over(self) -> bool:
        return self._task is not None and self._task.done()

    async def _run(self) -> None:
        backoff = MIN_BACKOFF
        try:
            while True:
                try:
                    await self._log.open(self._notified)
                    self._checks.want()
                    await self._housekeeping.beat()
                    await self._catch_up()
                    backoff = MIN_BACKOFF
                    self._note_connected()
                    await self._follow()
                except SchemaMissingError as error:
                    if not self._puller.has_begun:
                        raise  # at the start this is a mistake, not a fault
                    self._note_lost(error)
                except StoreError as error:
                    self._note_lost(error)
                except Exception as error:
                    # Whatever it is, a process that follows no longer would have to read everything from Postgres.
                    logger.exception("the follower failed")
                    self._note_lost(error)
                await self._log.close()
                # Jitter keeps a fleet from coming back in step after an outage.
                await asyncio.sleep(backoff * random.uniform(0.5, 1.5))
                backoff = min(backoff * 2, MAX_BACKOFF)
        finally:
            async with self._finished:
                self._finished.notify_all()

    async def _follow(self) -> None:
        while True:
            is_told = await self._notices.wait(min(self._pace.pause, self._checks.pause))
            if is_told and self._notices.drop_applied():
                continue
            if is_told and self._pace.patience:
                await self._notices.wait_for_caller(self._pace.patience)
            await self._catch_up()
            await self._housekeeping.beat()
            await self._housekeeping.prune()

    async def _catch_up(self) -> None:
        """Pull until there is no more. Everything that was waiting for a pull sent from now on is then done."""
        is_asked, is_notified = self._notices.take()
        if is_asked:
            self._checks.want()  # a caller wants to know all
        self._publisher.begin()
        self._started += 1
        number = self._started
        self._puller.begin()
        before = self._freshness.applied
        if is_asked:
            await self._publisher.publish()
        elif is_notified:
            await self._publisher.let_publish()
        while (standing := await self._puller.pull()) is not Standing.CURRENT:
            if standing is Standing.UNPUBLISHED:
                await self._publisher.let_publish()
            await self._housekeeping.beat()
        found = self._freshness.applied != before
        self._pace.pulled(self._puller.running, is_notified=is_notified, found=found)
        async with self._finished:
            self._last_finished = number
            self._finished.notify_all()

    def _note_connected(self) -> None:
        if self._is_lost:
            extra = state_change("log", "lost", "followed")
            logger.info("the change log is followed again, before: lost (%s)", self.last_error, extra=extra)
            self._is_lost = False
        self.connected = True
        self.last_error = None

    def _note_lost(self, error: Exception) -> None:
        if self.last_error is None and self._puller.has_begun:  # before, `start` raises it
            extra = state_change("log", "followed", "lost", why=str(error))
            logger.warning("the change log is lost, before: followed (%s); trying again", error, extra=extra)
            self._is_lost = True
        self.connected = False
        self.last_error = str(error)
