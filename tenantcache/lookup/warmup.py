"""Fills memory when an engine is opened, from one stream, while requests are served: `TENANTCACHE_WARM_UP`.

Rules:

* The stream is one snapshot, of tenants that were seen last first, and ends when memory is full. By default there is
  none if memory has no room for all tenants: most of what it would bring might never be asked for.
* A row is installed under the names that lead to it and to no other. In adopted tables two tenants may have one name:
  which of them it leads to, a lookup says.
* Its rows are judged like copies from Redis (freshness, rule 4), each at the instant at which it is installed. A change
  that the follower has applied meanwhile refuses it, and so does another timeline. For that, the follower has to have
  come as far as the snapshot; the first batch waits for it. A snapshot in which changes are pending is not such a copy
  (rule 7): another is taken, a few times.
* What is in memory already is newer, and stays.
* While it runs, copies in Redis are neither read nor written: each process of a fleet that starts reads all tenants
  by itself, and Redis bills a command for each.
* It is an optimisation. If it fails, tenants are read when they are asked for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from tenantcache.errors import POSTGRES_FAILURES, StoreUnavailableError
from tenantcache.lookup.core.copies import Copy
from tenantcache.lookup.memory import Memory
from tenantcache.lookup.resolver import Resolver
from tenantcache.lookup.sources import RowSource, RowStream, StreamedRow
from tenantcache.runtime.tasks import stop
from tenantcache.stats import WarmUpState

logger = logging.getLogger(__name__)

BATCH = 100
"""Rows an answer: some 2 ms of the event loop to decode."""

STEP = 25
"""Rows that are installed between two breaths of the event loop: a millisecond."""

MAX_SNAPSHOTS = 20
"""Each waits until what was pending in the one before it is published, some milliseconds. With writers at work all the
time, one of 20 finds a gap."""


class WarmUp:
    """`source` None: there is nothing to read from. `most` is how many entries memory holds, and `partly` whether it is
    filled if there are more tenants. `take_tokens` is awaited when it is filled."""

    def __init__(
        self,
        source: RowSource | None,
        resolver: Resolver,
        memory: Memory,
        is_valid: Callable[[], bool],
        sync: Callable[[], Awaitable[None]],
        *,
        most: int,
        partly: bool,
        take_tokens: Callable[[], Awaitable[None]],
    ) -> None:
        self.tenants: int = 0
        self.state: WarmUpState = "off"
        self._source = source
        self._resolver = resolver
        self._memory = memory
        self._is_valid = is_valid
        self._sync = sync
        self._most = most
        self._partly = partly
        self._take_tokens = take_tokens
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        if self._source is not None:
            self.state = "filling"
            self._task = asyncio.create_task(self._run(self._source), name="tenantcache warm-up")

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not, or was not wanted."""
        return self.state not in ("filling", "taking tokens")

    async def wait(self) -> None:
        """Return once it has ended, well or not."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def close(self) -> None:
        await stop(self._task)

    async def _adopt(self, stream: RowStream, streamed: StreamedRow) -> bool:
        copy = Copy(stream.epoch, stream.mark, streamed.row)
        adopted = self._resolver.adopt(copy, streamed.shared)
        if adopted or self._is_valid():
            return adopted
        # Memory has lapsed: a collection of garbage among a million tenants can take that long.
        await self._sync()
        return self._resolver.adopt(copy, streamed.shared)

    async def _fill(self, stream: RowStream) -> WarmUpState:
        if stream.more and not self._partly:
            return "too many"
        async for rows in stream.batches:
            for number, row in enumerate(rows, start=1):
                if len(self._memory) >= self._most:
                    return "full"
                self.tenants += await self._adopt(stream, row)
                if number % STEP == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(0)
        return "full" if stream.more else "complete"

    async def _run(self, source: RowSource) -> None:
        ended: WarmUpState = "failed"
        self._resolver.sharing.is_on = False
        try:
            for _ in range(MAX_SNAPSHOTS):
                async with source.stream_rows(BATCH, self._most) as stream:
                    await self._sync()
                    if not stream.pending:
                        ended = await self._fill(stream)
                        break
            if self.tenants:
                self.state = "taking tokens"
                await self._take_tokens()
        except (*POSTGRES_FAILURES, StoreUnavailableError) as error:
            logger.info("memory could not be warmed up: %s; tenants are read when they are asked for", error)
        finally:
            self._resolver.sharing.is_on = True
            self.state = ended
