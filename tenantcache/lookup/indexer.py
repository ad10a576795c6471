"""Keeps the index of known hosts: loads it as a stream, keeps it up by the log, and says when it may be trusted.

Rules:

* The stream is one snapshot, of the timeline that the follower knows. The snapshot's newest log entry must be in the
  log that was applied, and nothing may be pending in it (freshness, rule 7). Every change that the follower applies
  from before the snapshot on is noted and added at the end. So the finished index lacks nothing that was there at the
  snapshot or came since.
* Hosts are only ever added: one that was deleted costs a lookup until the index is loaded anew.
* While memory is not valid (the follower has lost touch), nothing is ruled out.
* More than `max_hosts` are not indexed at all; then only the budget bounds lookups.
* It is loaded anew every hour: hosts that came while the triggers were off (a restore, say) are known an hour later at
  the latest. That costs one stream of all hosts, some 5 s of the database for a million.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress

from tenantcache.errors import POSTGRES_FAILURES
from tenantcache.freshness.core.freshness import Freshness
from tenantcache.freshness.log import ChangeKind, LogEntry
from tenantcache.lookup.core.alias import is_id
from tenantcache.lookup.core.hostindex import HostIndex
from tenantcache.lookup.sources import HostSource
from tenantcache.runtime.clock import Clock
from tenantcache.runtime.tasks import stop
from tenantcache.stats import IndexStats

logger = logging.getLogger(__name__)

BATCH = 2_000
"""Hosts a step: 2 ms of the event loop for hashing, as much again for decoding."""

MIN_PAUSE, MAX_PAUSE = 1.0, 30.0
"""Seconds between two loads: changes to everything may come in bursts."""

FIRST_PAUSE = 0.05
"""Seconds between the first two loads, and twice as long each time: what was pending in the first is published in some
milliseconds, and lookups may wait for the index."""

RELOAD_INTERVAL = 3600.0
"""Seconds, give or take a fifth, so that the processes of a fleet do not load at once."""

FOLLOWING = 0.02
"""Seconds between two looks whether the follower has come as far as the snapshot; as a rule it is there already."""


class Indexer:
    def __init__(self, source: HostSource, freshness: Freshness, *, clock: Clock, max_hosts: int) -> None:
        self.hosts: int = 0
        self.loads: int = 0
        self._source = source
        self._freshness = freshness
        self._clock = clock
        self._max_hosts = max_hosts
        self._index: HostIndex | None = None
        self._meanwhile: list[str] | None = None  # aliases that changed while a load is under way
        self._needed = asyncio.Event()
        self._settling: asyncio.Future[None] | None = None  # a load is to come that may tell more hosts
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        if self._max_hosts:
            self._needed.set()
            self._settling = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._run(), name="tenantcache indexer")

    async def close(self) -> None:
        await stop(self._task)

    def rules_out(self, alias: str) -> bool:
        """Whether `alias` certainly leads to no tenant. Ids are not in the index. No I/O."""
        index = self._index
        if index is None or alias in index or is_id(alias):
            return False
        return self._freshness.is_valid(self._clock())

    def knows(self, alias: str) -> bool:
        """Whether `alias` leads to a tenant, except for one unknown host in some billions. No I/O."""
        return self._index is not None and alias in self._index

    @property
    def settling(self) -> asyncio.Future[None] | None:
        """Done once the index is there or cannot be had; None if it is so already."""
        return self._settling

    @property
    def is_ready(self) -> bool:
        return self._index is not None

    @property
    def nbytes(self) -> int:
        return 0 if self._index is None else self._index.nbytes

    def stats(self) -> IndexStats:
        return {"ready": self.is_ready, "hosts": self.hosts, "bytes": self.nbytes, "loads": self.loads}

    # What the follower calls.

    def changed(self, entry: LogEntry) -> None:
        if entry.kind is ChangeKind.EVERYTHING:
            self.flush()
            return
        if self._meanwhile is not None:
            self._meanwhile += entry.aliases
        if self._index is not None:
            self._index.add(entry.aliases)
            if self._index.is_full:
                self._needed.set()

    def flush(self) -> None:
        """Know nothing any more: a part of the log was skipped, or belongs to another timeline."""
        self._index = self._meanwhile = None
        self._needed.set()
        if self._task is not None and self._settling is None:
            self._settling = self._task.get_loop().create_future()

    def _settle(self) -> None:
        if self._settling is not None:
            self._settling.set_result(None)
            self._settling = None

    async def _run(self) -> None:
        pause = FIRST_PAUSE
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._needed.wait(), RELOAD_INTERVAL * random.uniform(0.8, 1.2))
            self._needed.clear()
            try:
                await self._load()
                pause = min(pause * 2, MIN_PAUSE)
            except POSTGRES_FAILURES as error:
                logger.info("the index of known hosts could not be loaded: %s; trying again", error)
                self._needed.set()
                self._settle()
                pause = min(pause * 2, MAX_PAUSE)
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))

    async def _load(self) -> None:
        self._meanwhile = meanwhile = list[str]()
        try:
            async with self._source.stream_aliases(BATCH) as stream:
                if stream.count > self._max_hosts:
                    logger.warning(
                        "%d hosts are more than the index may hold: unknown hosts cost lookups", stream.count
                    )
                    self._settle()
                    return
                if stream.pending:
                    self._needed.set()
                    return
                index = HostIndex(stream.count)
                async for aliases in stream.batches:
                    index.add(aliases)
            while self._meanwhile is meanwhile and self._freshness.applied < stream.mark.seq:  # noqa: ASYNC110
                await asyncio.sleep(FOLLOWING)
            # From here on without an await: no change can come in between.
            if self._meanwhile is not meanwhile or not self._freshness.knows(stream.mark):
                self._needed.set()  # everything changed meanwhile
                return
            index.add(meanwhile)
            self._index = index
            self._settle()
            self.hosts, self.loads = stream.count, self.loads + 1
        finally:
            self._meanwhile = None
