"""Copies of values in Redis."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence

from tenantcache.budget.core.meter import Command, Purpose
from tenantcache.errors import StoreError
from tenantcache.runtime import clock
from tenantcache.runtime.breaker import Breaker
from tenantcache.stores.copyreads import CopyReads
from tenantcache.stores.redis import RedisLink
from tenantcache.values.valuestore import CopyToWrite

logger = logging.getLogger(__name__)

SPREAD = 0.9, 1.0
"""A TTL is drawn between these shares of what is asked for, so that copies made together do not end together."""


class RedisValues:
    """`ValueCopies`. A read that takes longer than `read_timeout` seconds has lost against the loader. If a few writes
    in a row fail, nothing is written for a while, since each is billed."""

    def __init__(self, link: RedisLink, *, read_timeout: float = 0.03) -> None:
        self._link = link
        self._reads = CopyReads(link, read_timeout)
        self._writes = Breaker()

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        return await self._reads.get_many(keys)

    async def put_many(self, copies: Sequence[CopyToWrite]) -> None:
        if not self._writes.allows(clock.now()):
            raise StoreError(f"{self._writes.reason} (not written again yet)")
        replies, error = await self._link.try_many([_set(*copy) for copy in copies])
        if error is None or any(reply is not None for reply in replies):
            self._writes.succeeded()
        else:
            self._note_failure(error)
        if error is not None:
            raise error

    def _note_failure(self, error: StoreError) -> None:
        """Redis may answer reads, which cost nothing then, and refuse each write: it is full, or a replica, or this
        user may not write."""
        openings = self._writes.openings
        self._writes.failed(clock.now(), reason=str(error))
        if self._writes.openings > openings and error.refused:
            logger.warning("values are not written into Redis for now: %s", error)


def _set(key: str, stored: bytes, seconds: float) -> Command:
    return Command(Purpose.FILL, ("SET", key, stored, "EX", max(1, int(seconds * random.uniform(*SPREAD)))))
