"""Copies of values in Redis."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tenantcache.budget.core.meter import Purpose
from tenantcache.stores.copyreads import CopyReads
from tenantcache.stores.redis import RedisLink

SPREAD = 0.9, 1.0
"""A TTL is drawn between these shares of what is asked for, so that copies made together do not end together."""


class RedisValues:
    """`ValueCopies`. A read that takes longer than `read_timeout` seconds has lost against the loader."""

    def __init__(self, link: RedisLink, *, read_timeout: float = 0.03) -> None:
        self._link = link
        self._reads = CopyReads(link, read_timeout)

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        return await self._reads.get_many(keys)

    async def put(self, key: str, stored: bytes, seconds: float) -> None:
        await self._link.run(Purpose.FILL, "SET", key, stored, "EX", max(1, int(seconds * random.uniform(*SPREAD))))
