"""The follower: one task a process that keeps up with the log.

It pulls about once a second, and at once when Postgres notifies it. The pull alone keeps the promise of freshness;
the notification only makes it quick. One query is heartbeat, gap repair, detector of half-open connections, the
server's clock and the size of the fleet.

Rules:

* Changes that are committed and not in the log yet are published by whichever process sees them first, in a few
  milliseconds. A pull extends the validity of memory from its own sending if nothing was pending, and from that of an
  earlier one if what was pending then is in the log now (freshness, rule 1).
* A transaction that leaves the notifying to another may commit after it. So after a notification the follower pulls
  again, at growing intervals, for as long as transactions that it saw under way still are.
* Anybody may notify. A notification that brings nothing makes the next one wait, twice as long each time.
* About once a second a pull also asks whether what the log rests on is still there: triggers, tables, columns. The
  sending of the last one that has found it so is the latest from which validity is extended.
* What is too much for one answer is asked for in smaller portions, down to a single entry; then it is skipped. What is
  too much for one publication is published in smaller ones.
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import Callable
from math import inf
from typing import Protocol

from tenantcache.errors import POSTGRES_FAILURES, SchemaMissingError, StoreError, StoreUnavailableError
from tenantcache.freshness.core.freshness import NEVER, Freshness, Question, asof_of
from tenantcache.freshness.core.logmark import LogMark
from tenantcache.freshness.core.servertime import ServerTime
from tenantcache.freshness.log import ChangeLog, LogEntry, Pull
from tenantcache.runtime.clock import Clock
from tenantcache.runtime.tasks import stop
from tenantcache.stats import FollowerStats

logger = logging.getLogger(__name__)

PAGE = 1_000
"""Log entries a pull: some 8 ms of the event loop to decode and apply. `benchmarks/bulk_update.py` watches it."""

MAX_TAIL = 5_000
"""Log entries that are read at the start, before anybody is served; copies in Redis from before them are refused."""

MAX_BEHIND = 50_000
"""Further behind than this, dropping everything is cheaper than catching up."""

PUBLISHED_AT_ONCE = 500
"""Changes: some 50 ms of the database for tenants that a query describes, and far less for our own tables."""

LEADER_WAIT = 0.01
"""Seconds that the process which has published last is left to do it again. If each of four asks at once, they keep two
cores from the one that does it: the 99th of 100 changes then took 12 ms to be followed."""

BUSY_PAUSE = 0.02
"""Seconds after which a follower looks again that has found another one publishing, unless it is notified before."""

MIN_PULL_PAUSE, MAX_PULL_PAUSE = 0.002, 0.25
"""Seconds between pulls that wait for a transaction to end, and that a notification is left lying where many before it
have brought nothing."""

EMPTY_NOTIFICATIONS = 8
"""Without a change, one after the other: a publisher's own and those that come too late are two or three."""

REBUILD_PAUSE = 5.0
"""Seconds between two attempts to read the aliases of all tenants."""

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


CHANGED = "changed"
"""How a fault begins that needs no person: see `fault()` in log.sql."""


class _Pace:
    """When to pull next, in seconds. `patience` is how long a notification is left lying."""

    def __init__(self, interval: float) -> None:
        self.patience = 0.0
        self._empty = 0
        self._interval = interval
        self._running: frozenset[int] = frozenset()
        self._awaited: frozenset[int] = frozenset()
        self._pause = MIN_PULL_PAUSE

    @property
    def pause(self) -> float:
        """How long to wait for a notification."""
        return min(self._pause, self._interval) if self._awaited else self._interval

    def saw(self, running: frozenset[int]) -> None:
        """Transactions that were under way in the last pull."""
        self._running = running

    def pulled(self, *, is_notified: bool, found: bool) -> None:
        """A catch-up has ended; there had been a notification, it has brought a change."""
        if found:
            self.patience, self._empty = 0.0, 0
        elif is_notified:
            self._empty += 1
            if self._empty > EMPTY_NOTIFICATIONS:
                self.patience = min(max(self.patience * 2, MIN_PULL_PAUSE), MAX_PULL_PAUSE)
        if found or is_notified:
            self._awaited, self._pause = self._running, MIN_PULL_PAUSE
        else:
            self._awaited &= self._running
            self._pause *= 2


class _Portion:
    """How much of something is asked for at once: half as much after each failure, twice as much after each success."""

    def __init__(self) -> None:
        self._halvings = 0

    def shrink(self) -> None:
        self._halvings += 1

    def grow(self) -> None:
        self._halvings = max(0, self._halvings - 1)

    def of(self, most: int) -> int:
        return max(1, most >> self._halvings)


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
        self.connected = False
        self.fault: str | None = None
        self.last_error: str | None = None
        self._is_lost = False
        self._log = log
        self._freshness = freshness
        self._server_time = server_time
        self._sink = sink
        self._clock = clock
        self._tail_age = tail_age
        self._pull_interval = pull_interval
        self._check_may_wait = pull_interval / 5
        self._on_pull = on_pull
        self._mark: LogMark | None = None
        self._generation = 0  # of `freshness`, in which the mark was set
        self._wake = asyncio.Event()
        self._asked = asyncio.Event()  # a pull is wanted now, notified or not
        self._is_notified = False
        self._pace = _Pace(pull_interval)
        self._pulled = _Portion()
        self._published = _Portion()
        self._leads = True  # nobody else has published since this process did
        self._busy = 0  # how often in this catch-up another process was publishing
        self._told = 0  # the newest entry that a publisher has told of
        self._news = asyncio.Event()  # a notification, while another process publishes
        self._pending_since: tuple[float, str] | None = None
        self._faultless_at = NEVER  # when the last pull was sent that has looked for faults, and found none
        self._next_check = NEVER
        self._owed_since: float | None = None  # when a check first made way for a change
        self._rebuilder: asyncio.Task[None] | None = None
        self._started = 0
        self._finished = asyncio.Condition()
        self._last_finished = 0
        self._next_beat = 0.0
        self._next_prune = 0.0
        self._task: asyncio.Task[None] | None = None

    async def start(self, timeout: float) -> None:
        """Follow from now on. Raises `SchemaMissingError`, or `StoreUnavailableError` after `timeout`."""
        self._next_prune = self._clock() + PRUNE_INTERVAL * random.uniform(0.5, 1.0)
        self._task = asyncio.create_task(self._run(), name="tenantcache follower")
        await self.sync(timeout)

    async def stop(self) -> None:
        if self._task is None:
            return
        await stop(self._task, self._rebuilder)
        try:
            if self.connected:
                await self._log.leave(self.process_id)
        except POSTGRES_FAILURES:
            pass  # the others see within 30 s that this process is gone
        await self._log.close()
        self.connected = False

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
        self._wake.set()
        self._asked.set()

    def _notified(self, published: int | None = None, *, checks: bool = False) -> None:
        if checks:
            self._next_check = NEVER
        if published is None:
            self._is_notified = True
        elif published > self._freshness.applied:
            self._told = published
        else:
            return  # a publisher tells of what has been applied here
        self._wake.set()
        self._news.set()

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
                    self._next_check = NEVER
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
            is_told = await _set_within(self._wake, min(self._pace.pause, self._until_check()))
            if is_told and not self._is_notified and not self._asked.is_set() and not self._is_behind():
                self._wake.clear()  # it has been applied since, as a rule because this process has published it
                continue
            if is_told and self._pace.patience:
                await _set_within(self._asked, self._pace.patience)
            await self._catch_up()
            await self._beat()
            await self._prune()

    async def _catch_up(self) -> None:
        """Pull until there is no more. Everything that was waiting for a pull sent from now on is then done."""
        is_asked, is_notified = self._asked.is_set(), self._is_notified
        if is_asked:
            self._next_check = NEVER  # whoever asks wants to know all
        self._is_notified = False
        self._wake.clear()
        self._asked.clear()
        if self._is_behind():
            self._leads = False
        self._started += 1
        generation = self._started
        self._pending_since = None
        self._busy = 0
        before = self._freshness.applied
        if is_asked:
            await self._publish()
        elif is_notified:
            await self._let_publish()
        while not await self._pull_once():
            await self._beat()
        self._pace.pulled(is_notified=is_notified, found=self._freshness.applied != before)
        async with self._finished:
            self._last_finished = generation
            self._finished.notify_all()

    def _is_behind(self) -> bool:
        """Whether a publisher has told of an entry that is not applied here."""
        return self._told > self._freshness.applied

    def _checks(self, now: float) -> bool:
        """Whether this pull asks for everything. A check that is due makes way for a change, though not for ever."""
        if now < self._next_check:
            return False
        if self._is_behind():
            self._owed_since = self._owed_since or now
            if now < self._owed_since + self._check_may_wait:
                return False
        self._owed_since = None
        return True

    def _until_check(self) -> float:
        """Seconds until a check that has made way for a change; others of the fleet have one due as well."""
        return inf if self._owed_since is None else self._check_may_wait / 4 * random.uniform(0.5, 1.5)

    async def _let_publish(self) -> None:
        """Let the process do it that has published last; do it here if that is this one, or if nothing is heard."""
        if not self._leads and not self._is_behind():
            self._news.clear()
            await _set_within(self._news, LEADER_WAIT)
        if not self._is_behind():
            await self._publish()

    async def _publish(self) -> None:
        self._news.clear()
        try:
            state = await self._log.publish(self._published.of(PUBLISHED_AT_ONCE))
        except StoreError:
            self._published.shrink()
            raise
        self._published.grow()
        if state != "nothing":
            self._leads = state != "busy"
        if state != "busy":
            return
        self._busy += 1
        if self._busy <= EMPTY_NOTIFICATIONS:
            await _set_within(self._news, BUSY_PAUSE)
        else:  # it hangs, or notifications come that it has not sent
            await asyncio.sleep(MAX_PULL_PAUSE)

    async def _pull_once(self) -> bool:
        """One round trip, or two; true once this process is up to date."""
        asked = self._freshness.question(self._clock())
        if asked.generation != self._generation:
            self._mark = None  # a direct read has found another history, and does not know what led there
        mark, told = self._mark, self._told
        pull = await self._ask(mark)
        if self._told == told:
            self._told = 0  # the answer has it, unless another history had it, or anybody has made it up
        self.pulls += 1
        if abs(self._server_time.observe(asked.sent_at, self._clock(), pull.server_time)) > MOVED:
            self._sink.clock_moved()
        if pull.checked:
            self.processes = max(1, pull.processes)
            self._on_pull(pull)
        if asked.generation != self._freshness.generation:
            return False  # a direct read has found another history meanwhile
        if mark is None:
            head = asof_of(pull.head, pending=pull.pending)
            overtaken = asked.newest_known <= head < self._freshness.newest_known
            if overtaken and pull.epoch == self._freshness.epoch:
                return False  # a direct read has seen more of this history meanwhile
            self._begin(pull)
        elif not self._continues(pull, asked):
            self._leave_history()
            return False
        self._note_fault(pull, asked)
        if mark is not None and not self._absorb(pull):
            return False
        self._mark = pull.head
        self._pace.saw(pull.running)
        proves_from = self._proves_from(pull, asked)
        if proves_from is None:
            await self._let_publish()
            return False
        self._freshness.extend(min(proves_from, self._faultless_at))
        return True

    async def _ask(self, mark: LogMark | None) -> Pull:
        try:
            if mark is None:
                pull = await self._log.tail(self._tail_age, self._pulled.of(MAX_TAIL))
            else:
                now = self._clock()
                check = self._checks(now)
                _, since = self._pending_since or (0.0, "")
                page = self._pulled.of(PAGE)
                pull = await self._log.pull(mark, MAX_BEHIND, page, since=since, check=check)
                if check:
                    self._next_check = now + self._pull_interval / 2
        except StoreError as error:
            if not error.refused:  # then a smaller portion would be, too
                if self._pulled.of(PAGE) == 1:
                    self._mark = None  # what cannot be read entry by entry is skipped: begin at the end
                self._pulled.shrink()
            raise
        self._pulled.grow()
        return pull

    def _proves_from(self, pull: Pull, asked: Question) -> float | None:
        """Since when everything that was committed is applied here (rule 1); None: something is not published yet."""
        if not pull.pending:
            self._freshness.settle()
            return asked.sent_at
        if pull.covers and self._pending_since is not None:
            return self._pending_since[0]
        if self._pending_since is None:
            self._pending_since = (asked.sent_at, pull.snapshot)
        return None

    def _note_fault(self, pull: Pull, asked: Question) -> None:
        if not pull.checked:
            return
        self._faultless_at = asked.sent_at if pull.fault is None else NEVER
        if pull.fault is not None and pull.fault != self.fault:
            logger.warning(
                "changes cannot be followed, so tenants are read from Postgres: %s%s", pull.fault, _advice(pull)
            )
        elif pull.fault is None and self.fault is not None:
            logger.info("changes are followed again")
        self.fault = pull.fault
        is_mendable = pull.fault is not None and pull.fault.startswith(CHANGED)
        if is_mendable and (self._rebuilder is None or self._rebuilder.done()):
            self._rebuilder = asyncio.create_task(self._rebuild(), name="tenantcache rebuild")

    async def _rebuild(self) -> None:
        try:
            await self._log.rebuild()
        except POSTGRES_FAILURES as error:
            logger.warning("the names of tenants could not be read: %s; trying again", error)
        self.wake()
        await asyncio.sleep(REBUILD_PAUSE)

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
        return same and self._freshness.agrees(asked, pull.head, pull.entries, pending=pull.pending)

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
        if not pull.entries or pull.entries[-1].seq >= pull.head.seq:
            return True
        self._mark = pull.entries[-1]
        return False

    def _leave_history(self) -> None:
        """The database is not the one that this process knew: it was restored, or replaced."""
        logger.warning("the change log has another history (a restored database?): dropping every cached tenant")
        self._freshness.lose()
        self._faultless_at = NEVER
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
        self.last_error = str(error)


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for `event`; False if it was not set within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _advice(pull: Pull) -> str:
    return "" if (pull.fault or "").startswith(CHANGED) else "; run `tenantcache init` again"
