"""Tells the fleet how this process is doing, while that is asked for.

Rules:

* A process reports only while it, or another process of the fleet, shows the fleet's dashboard. The answer to the beat
  that each process sends every 10 seconds says whether one does. Without one, there is no task, and no statement.
* A report replaces the one before. It is written every `SLOT` seconds, and within a second after a change of state.
* It is made of statistics that are kept anyway, so a request never pays for it.
* Nothing waits for it. A report that cannot be written is dropped; the next one tells the same and more.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping

from tenantcache.errors import POSTGRES_FAILURES
from tenantcache.fleet.core.events import Event, events_between
from tenantcache.fleet.core.history import SLOT, SLOTS, History, counts_of
from tenantcache.fleet.reportstore import Identity, ReportDocument, ReportStore
from tenantcache.runtime.eventloops import running_loop
from tenantcache.runtime.tasks import stop
from tenantcache.runtime.version import VERSION
from tenantcache.stats import Stats

logger = logging.getLogger(__name__)

TICK = 1.0
"""Seconds between looks at the state of this process."""

MAX_EVENTS = 50
"""Changes of state that are kept."""

MAX_REFUSED = 20
"""Tenants that a report names."""

PRUNE_EVERY = 6
"""Slots between two looks for processes that have ended without a word."""


class Reports:
    """`collect` brings the counts of requests up to date. `refused` gives the requests that were refused since the last
    call, by tenant. `read` gives the statistics; it is put there when the engine is complete."""

    read: Callable[[], Stats]

    def __init__(
        self,
        store: ReportStore | None,
        collect: Callable[[], Awaitable[None]],
        refused: Callable[[], Mapping[str, int]],
        *,
        server_now: Callable[[], float],
    ) -> None:
        self.store = store
        self.fault: str | None = None
        """Why the last report could not be written."""
        self._collect, self._refused, self._server_now = collect, refused, server_now
        self._is_wanted = self._is_watched = self._is_open = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._begin()

    def _begin(self) -> None:
        self._process = uuid.uuid4()
        self._started = self._server_now()
        self._history = History()
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._refusals: deque[Mapping[str, int]] = deque(maxlen=SLOTS)
        self._before: Stats | None = None
        self._slot: int | None = None
        self._task: asyncio.Task[None] | None = None

    # When to report.

    def want(self) -> None:
        """Report, and let the whole fleet report, as long as this engine is open."""
        self._is_wanted = True
        if self._is_open and running_loop() is self._loop:  # else the next beat comes by
            self._start()

    def watch(self, is_watched: bool) -> None:
        """Hear whether a process of the fleet wants reports."""
        if not self._is_open:
            return
        self._is_watched = is_watched
        if is_watched or self._is_wanted:
            self._start()

    def open(self) -> None:
        self._is_open, self._loop = True, asyncio.get_running_loop()
        self._task = None  # it was one of an event loop that has ended
        if self._is_wanted:
            self._start()

    async def close(self) -> None:
        """Take the report back. Raises nothing."""
        self._is_open = False
        task, self._task = self._task, None
        if task is not None and not task.done():
            await stop(task)
            await self._leave()

    def forget(self) -> None:
        """After a fork, in the child: another process, with nothing to tell yet."""
        self._is_open = False
        self._begin()

    def _start(self) -> None:
        if self._task is None or self._task.done():
            self._slot = None
            self._task = asyncio.create_task(self._run(), name="tenantcache reports")

    # What to report.

    @property
    def identity(self) -> Identity:
        return Identity(self._process, socket.gethostname(), os.getpid(), VERSION)

    def document(self) -> ReportDocument:
        """What is told now. No I/O."""
        refused: Counter[str] = Counter()
        for counts in self._refusals:
            refused.update(counts)
        return {
            "started": self._started,
            "stats": self.read(),
            "history": self._history.document(),
            "events": list(self._events),
            "refused": refused.most_common(MAX_REFUSED),
        }

    async def _run(self) -> None:
        self._before = None  # what happened while there were no reports has no time
        self._refused()
        while self._is_watched or self._is_wanted:
            try:
                await self._look()
            except Exception:
                logger.exception("reporting goes on past what failed")
            await asyncio.sleep(TICK)
        await self._leave()

    async def _leave(self) -> None:
        if self.store is not None:
            try:
                await self.store.leave(self._process)
            except POSTGRES_FAILURES as error:
                logger.info("the report of this process stays for an hour: %s", error)

    async def _look(self) -> None:
        """Note what has changed, and report it if it is time."""
        now, stats = self._server_now(), self.read()
        events = [] if self._before is None else events_between(self._before, stats, now)
        self._before = stats
        self._events += events
        slot, is_first = int(now // SLOT), self._slot is None
        if slot != self._slot:
            self._slot = slot
            await self._collect()
            self._history.note(slot - 1, counts_of(self.read()))
            self._refusals.append(self._refused())
        elif not events:
            return
        if self.store is not None:
            await self._write(self.store, prunes=self._is_wanted and (is_first or slot % PRUNE_EVERY == 0))

    async def _write(self, store: ReportStore, *, prunes: bool) -> None:
        text = json.dumps(self.document(), separators=(",", ":"))
        try:
            await store.write(self.identity, text, is_watching=self._is_wanted)
            if prunes:
                await store.prune()
        except POSTGRES_FAILURES as error:
            if self.fault is None:
                logger.info("the fleet does not hear of this process: %s", error)
            self.fault = str(error)
        else:
            self.fault = None
