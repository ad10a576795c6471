"""Reads of copies in Redis that may lose: what holds the truth is asked instead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tenantcache.budget.core.meter import Purpose
from tenantcache.errors import StoreError
from tenantcache.runtime import clock
from tenantcache.runtime.breaker import Breaker
from tenantcache.stores.redis import RedisLink


class CopyReads:
    """A read that takes longer than `timeout` seconds has lost. After a few of them nothing is read for a while, since
    each is billed and delays a request."""

    def __init__(self, link: RedisLink, timeout: float) -> None:
        self._link = link
        self._timeout = timeout
        self._slow = Breaker()

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """What is under `keys`, for one command. Raises `StoreError`."""
        if len(keys) == 1:
            return [await self._read("GET", *keys)]
        found: list[bytes | None] = await self._read("MGET", *keys)
        return found

    async def _read(self, *words: str) -> Any:
        if not self._slow.allows(clock.now()):
            raise StoreError(f"{self._slow.reason} (not read again yet)")
        try:
            reply = await self._link.run(Purpose.LOOKUP, *words, timeout=self._timeout)
        except StoreError as error:
            self._slow.failed(clock.now(), reason=str(error).removesuffix(" (not asked again yet)"))
            raise
        self._slow.succeeded()
        return reply
