"""The follower: one task a process that keeps up with the log.

It pulls about once a second, and at once when Postgres notifies it. The pull alone keeps the promise of freshness;
the notification only makes it quick. One query is heartbeat, gap repair, detector of half-open connections, the
server's clock and the size of the fleet.
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import Callable
from typing import Protocol

from tenantcache.clock import Clock
from tenantcache.core.freshness import Freshness, Question
from tenantcache.core.logmark import LogMark
from tenantcache.core.servertime import ServerTime
from tenantcache.errors import SchemaMissingError, StoreUnavailableError
from tenantcache.stores.base import ChangeLog, LogEntry, Pull, StoreError
from tenantcache.tasks import stop

logger = logging.getLogger(__name__)

PAGE = 1_000
"""Log entries a pull: some 8 ms of the event loop to decode and apply. `benchmarks/bulk_update.py` watches it."""

MAX_TAIL = 5_000
"""Log entries that are read at the start, before anybody is served; copies in Redis from before them are refused."""

MAX_BEHIND = 50_000
"""Further behind than this, dropping everything is cheaper than catching up."""

BEAT_INTERVAL = 10.0
PRUNE_INTERVAL, PRUNE_BATCH = 60.0, 10_000
"""Seconds between two looks for old entries, and how many of them go at once: what takes longer than a statement may
would be rolled back, and tried again for ever. One process alone removes 14 million a day."""

LOG_RETENTION = 86_400.0
"""Seconds that log entries are kept: longer than any copy in Redis lives, and long enough for a person to look."""

MIN_BACKOFF, MAX_BACKOFF = 0.05, 2.0


MOVED = 0.010
"""Seconds by which windows may end at another time than was thought when tokens of theirs were lent. Clocks that are
slewed move by half a millisecond a second (adjtimex), and are not worth a look at every tenant."""


class ChangeSink(Protocol):
    """Who acts on changes. All calls are synchronous: between two awaits nobody sees half a change."""

    def changed(self, entry: LogEntry) -> None: ...

    def flush(self) -> None: ...

    def clock_moved(self) -> None: ...


class Follower:
    """Times are in seconds. `tail_age` is the longest that a copy in Redis can live; `on_pull` gets each answer."""

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
    ) -> None:
        self.process_id = uuid.uuid4()
        self.processes = 1
        self.pulls = 0
        self.reconnects = 0
        self.connected = False
        self.last_error: str | None = None
        self._is_lost = False
        self._log = log
        self._freshness = freshness
        self._server_time = server_time
        self._sink = sink
        self._clock = clock
        self._tail_age = tail_age
        self._pull_interval = pull_interval
        self._on_pull = on_pull
        self._mark: LogMark | None = None
        self._generation = 0  # of `freshness`, in which the mark was set
        self._wake = asyncio.Event()
        self._started = 0
        self._finished = asyncio.Condition()
        self._last_finished = 0
        self._next_beat = 0.0
        self._next_prune = 0.0
        self._task: asyncio.Task[None] | None = None

    async def start(self, timeout: float) -> None:
        """Follow from now on. Raises `SchemaMissingError`, or `StoreUnavailableError` after `timeout`."""
        self._next_prune = self._clock() + PRUNE_INTERVAL * random.random()
        self._task = asyncio.create_task(self._run(), name="tenantcache follower")
        await self.sync(timeout)

    async def stop(self) -> None:
        if self._task is None:
            return
        await stop(self._task)
        try:
            if self.connected:
                await self._log.leave(self.process_id)
        except (StoreError, SchemaMissingError):
            pass  # the others see within 30 s that this process is gone
        await self._log.close()
        self.connected = False

    def stats(self) -> dict[str, bool | int | str | None]:
        return {
            "following": self.connected,
            "pulls": self.pulls,
            "processes": self.processes,
            "last_error": self.last_error,
        }

    def wake(self) -> None:
        """Pull soon."""
        self._wake.set()

    async def sync(self, timeout: float) -> None:
        """Return once a pull that was sent after this call has been applied.

        Raises `StoreUnavailableError` after `timeout` seconds.
        """
        wanted = self._started + 1
        self._wake.set()
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
                    await self._log.open(self.wake)
                    await self._beat()
                    await self._catch_up()
                    backoff = MIN_BACKOFF
                    self._note_connected()
                    await self._follow()
                except SchemaMissingError as error:
                    if not self._generation:
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
            try:
                async with asyncio.timeout(self._pull_interval):
                    await self._wake.wait()
            except TimeoutError:
                pass
            await self._catch_up()
            await self._beat()
            await self._prune()

    async def _catch_up(self) -> None:
        """Pull until there is no more. Everything that was waiting for a pull sent from now on is then done."""
        self._wake.clear()
        self._started += 1
        generation = self._started
        while not await self._pull_once():
            pass
        async with self._finished:
            self._last_finished = generation
            self._finished.notify_all()

    async def _pull_once(self) -> bool:
        """One round trip; true once this process is up to date."""
        asked = self._freshness.question(self._clock())
        if asked.generation != self._generation:
            self._mark = None  # a direct read has found another history, and does not know what led there
        mark = self._mark
        if mark is None:
            pull = await self._log.tail(self._tail_age, MAX_TAIL)
        else:
            pull = await self._log.pull(mark, MAX_BEHIND, PAGE)
        self.pulls += 1
        if abs(self._server_time.observe(asked.sent_at, self._clock(), pull.server_time)) > MOVED:
            self._sink.clock_moved()
        self.processes = max(1, pull.processes)
        self._on_pull(pull)
        if asked.generation != self._freshness.generation:
            return False  # a direct read has found another history meanwhile
        if mark is None:
            overtaken = asked.newest_known <= pull.head.seq < self._freshness.newest_known
            if overtaken and pull.epoch == self._freshness.epoch:
                return False  # a direct read has seen more of this history meanwhile
            self._begin(pull)
        elif not self._continues(pull, asked):
            self._leave_history()
            return False
        elif not self._absorb(pull):
            return False
        self._mark = pull.head
        self._freshness.extend(asked.sent_at)
        return True

    def _begin(self, pull: Pull) -> None:
        """Start at the newest entry; the tail's floors and marks make the copies in Redis usable at once."""
        first, *later = pull.entries
        self._freshness.restart(pull.epoch, first)
        self._generation = self._freshness.generation
        for entry in later:
            self._freshness.apply(entry, entry.tenant_id, entry.aliases)
        # What was read while one history was left for another may have missed entries that are only floors here.
        self._sink.flush()

    def _continues(self, pull: Pull, asked: Question) -> bool:
        """Whether this is the history that the process knows, as far as anybody can see."""
        same = pull.continuous and pull.epoch == self._freshness.epoch
        return same and self._freshness.agrees(asked, pull.head, pull.entries)

    def _absorb(self, pull: Pull) -> bool:
        """Apply what is new; true where that was all of it."""
        if pull.truncated:
            logger.warning("more than %d changes behind: dropping every cached tenant", MAX_BEHIND)
            self._freshness.collapse(pull.head)
            self._sink.flush()
            return True
        for entry in pull.entries:
            self._freshness.apply(entry, entry.tenant_id, entry.aliases)
            self._sink.changed(entry)
        if len(pull.entries) < PAGE:
            return True
        self._mark = pull.entries[-1]
        return False

    def _leave_history(self) -> None:
        """The database is not the one that this process knew: it was restored, or replaced."""
        logger.warning("the change log has another history (a restored database?): dropping every cached tenant")
        self._freshness.lose()
        self._sink.flush()
        self._mark = None

    # Housekeeping must not keep anybody from following: it may fail (the server takes no writes, say) and is tried
    # again when it is due. Where that cost the connection, the next pull finds out.

    async def _beat(self) -> None:
        now = self._clock()
        if now >= self._next_beat:
            self._next_beat = now + BEAT_INTERVAL
            try:
                await self._log.beat(self.process_id)
            except StoreError as error:
                logger.info("this process is not counted: %s", error)

    async def _prune(self) -> None:
        now = self._clock()
        if now >= self._next_prune:
            self._next_prune = now + PRUNE_INTERVAL * random.uniform(0.8, 1.2)
            try:
                await self._log.prune(LOG_RETENTION, PRUNE_BATCH)
            except StoreError as error:
                logger.info("the change log is not pruned: %s", error)

    def _note_connected(self) -> None:
        if self._is_lost:
            logger.warning("the change log is being followed again")
            self._is_lost = False
        self.connected = True
        self.last_error = None

    def _note_lost(self, error: Exception) -> None:
        if self.last_error is None and self._generation:  # before, `start` raises it
            logger.warning("the change log is lost: %s; trying again", error)
            self._is_lost = True
        self.connected = False
        self.reconnects += 1
        self.last_error = str(error)
