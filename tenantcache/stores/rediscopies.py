"""Copies of tenants in Redis."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence

from tenantcache.budget.core.bands import BandInForce
from tenantcache.budget.core.meter import Purpose
from tenantcache.lookup.core.copies import thrifty_life
from tenantcache.stores.copyreads import CopyReads
from tenantcache.stores.redis import RedisLink

logger = logging.getLogger(__name__)

MAX_REPORTED = 100
"""Tenants whose copies are too large, each of which is reported once. If there are more, the setting is wrong."""


class RedisCopies:
    """`CopyStore`. A key is `{prefix}:tenant:{alias}`; `ttl` is in seconds, spread by 10 % so that copies which were
    made together do not end together. It is longer while the band is thrifty. Values over `max_value_bytes` are not
    stored; each is reported once.

    A read that takes longer than `read_timeout` seconds has lost against Postgres (`copyreads.py`).
    """

    def __init__(
        self,
        link: RedisLink,
        *,
        prefix: str,
        ttl: float,
        max_value_bytes: int = 100_000,
        read_timeout: float = 0.03,
        in_force: BandInForce | None = None,
    ) -> None:
        self._link = link
        self._in_force = BandInForce() if in_force is None else in_force
        self._prefix = f"{prefix}:tenant:"
        self._ttl = ttl
        self._max_value_bytes = max_value_bytes
        self._reads = CopyReads(link, read_timeout)
        self._large: set[str] = set()

    async def get_many(self, aliases: Sequence[str]) -> list[bytes | None]:
        return await self._reads.get_many([self._prefix + alias for alias in aliases])

    async def put(self, alias: str, value: bytes) -> None:
        if len(value) > self._max_value_bytes:
            self._report_large(alias, len(value))
        else:
            ttl = thrifty_life(self._ttl) if self._in_force.band.is_thrifty else self._ttl
            seconds = max(1, int(ttl * random.uniform(0.9, 1.0)))
            await self._link.run(Purpose.FILL, "SET", self._prefix + alias, value, "EX", seconds)

    def _report_large(self, alias: str, size: int) -> None:
        if alias in self._large or len(self._large) >= MAX_REPORTED:
            return
        self._large.add(alias)
        logger.warning(
            "the copy of %s is not stored in Redis, so each process reads it from Postgres: "
            "it has %d bytes, and TENANTCACHE_MAX_VALUE_BYTES is %d",
            *(alias, size, self._max_value_bytes),
        )

    async def drop(self, aliases: Sequence[str]) -> None:
        if aliases:
            await self._link.run(Purpose.INVALIDATION, "UNLINK", *(self._prefix + alias for alias in aliases))
