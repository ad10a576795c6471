"""Copies of values in Redis."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from tenantcache.budget.core.meter import Purpose
from tenantcache.errors import StoreError
from tenantcache.runtime import clock
from tenantcache.runtime.breaker import Breaker
from tenantcache.stores.redis import RedisLink

SPREAD = 0.9, 1.0
"""A TTL is drawn between these shares of what is asked for, so that copies made together do not end together."""


class RedisValues:
    """`ValueCopies`. A read that takes longer than `read_timeout` seconds has lost against the loader. After a few of
    them nothing is read for a while, since each is billed and delays a request."""

    def __init__(self, link: RedisLink, *, read_timeout: float = 0.03) -> None:
        self._link = link
        self._read_timeout = read_timeout
        self._slow = Breaker()

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        if len(keys) == 1:
            return [await self._read("GET", *keys)]
        found: list[bytes | None] = await self._read("MGET", *keys)
        return found

    async def _read(self, *words: str) -> Any:
        if not self._slow.allows(clock.now()):
            raise StoreError(f"{self._slow.reason} (not read again yet)")
        try:
            reply = await self._link.run(Purpose.LOOKUP, *words, timeout=self._read_timeout)
        except StoreError as error:
            self._slow.failed(clock.now(), reason=str(error).removesuffix(" (not asked again yet)"))
            raise
        self._slow.succeeded()
        return reply

    async def put(self, key: str, stored: bytes, seconds: float) -> None:
        await self._link.run(Purpose.FILL, "SET", key, stored, "EX", max(1, int(seconds * random.uniform(*SPREAD))))
