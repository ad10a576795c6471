"""Counts this process in, and removes old entries of the log.

None of it must keep the follower from following. It may fail, because the server takes no writes, say, and is tried
again when it is due. If that has cost the connection, the next pull finds out.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from uuid import UUID

from tenantcache.errors import StoreError
from tenantcache.freshness.log import ChangeLog
from tenantcache.runtime.clock import Clock

logger = logging.getLogger(__name__)

BEAT_INTERVAL = 10.0
PRUNE_INTERVAL, PRUNE_BATCH = 60.0, 10_000
"""Seconds between two looks for old entries, and how many of them go at once. What takes longer than a statement may
would be rolled back, and tried again forever. One process alone removes 14 million a day."""

LOG_RETENTION = 86_400.0
"""Seconds that log entries are kept: longer than any copy in Redis lives, and long enough for a person to look."""


class Housekeeping:
    def __init__(self, log: ChangeLog, process_id: UUID, clock: Clock, on_beat: Callable[[bool], None]) -> None:
        self._log = log
        self._process_id = process_id
        self._clock = clock
        self._on_beat = on_beat
        self._next_beat = 0.0
        self._next_prune = 0.0

    def begin(self) -> None:
        """Let the first half minute pass before anything is removed."""
        self._next_prune = self._clock() + PRUNE_INTERVAL * random.uniform(0.5, 1.0)

    async def beat(self) -> None:
        now = self._clock()
        if now >= self._next_beat:
            self._next_beat = now + BEAT_INTERVAL
            try:
                self._on_beat(await self._log.beat(self._process_id))
            except StoreError as error:
                logger.info("this process is not counted: %s", error)

    async def prune(self) -> None:
        now = self._clock()
        if now >= self._next_prune:
            self._next_prune = now + PRUNE_INTERVAL * random.uniform(0.8, 1.2)
            try:
                await self._log.prune(LOG_RETENTION, PRUNE_BATCH)
            except StoreError as error:
                logger.info("the change log is not pruned: %s", error)
