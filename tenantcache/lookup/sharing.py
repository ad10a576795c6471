"""Copies in Redis, for other processes: an optimisation that no request waits for longer than for a miss."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tenantcache.errors import StoreError
from tenantcache.lookup.core.copies import Copy, decode, encode
from tenantcache.lookup.sources import CopyStore
from tenantcache.runtime.tasks import stop


class Sharing:
    """`store` None: there is no Redis. Nothing is read or written unless it `is_on`. Faults are the store's to tell of;
    here they mean that there is no copy."""

    def __init__(self, store: CopyStore | None) -> None:
        self.is_on: bool = True
        self._store = store
        self._writing: set[asyncio.Task[None]] = set()

    @property
    def is_writing(self) -> bool:
        """Whether copies are on their way into Redis. No request waits for them."""
        return bool(self._writing)

    async def read(self, aliases: Sequence[str]) -> dict[str, Copy]:
        """The copies that are there, by alias. Whether they may be believed is for the caller to say."""
        if self._store is None or not self.is_on or not aliases:
            return {}
        try:
            values = await self._store.get_many(aliases)
        except StoreError:
            return {}
        decoded = {alias: decode(value) for alias, value in zip(aliases, values, strict=True) if value is not None}
        return {alias: copy for alias, copy in decoded.items() if copy is not None}

    def write_later(self, alias: str, copy: Copy) -> None:
        if self._store is not None and self.is_on:
            task = asyncio.create_task(self._write(self._store, alias, copy))
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)

    async def _write(self, store: CopyStore, alias: str, copy: Copy) -> None:
        try:
            await store.put(alias, encode(copy))
        except StoreError:
            return

    async def close(self) -> None:
        await stop(*self._writing)
