"""Values in Redis, for other processes: a saving that no caller waits for longer than for a miss.

Copies are written by one task, some at a time. A batch of thousands of values would otherwise wait for connections that
the limits' counters need, until Redis seems to be gone.

Commands are spared. If they are billed, or in a band that saves them, a key is written when this process has it to
write for the second time within two lives of it. What is asked for once then costs no write. Without copies nothing is
read or written.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from tenantcache.budget.core.bands import BandInForce
from tenantcache.errors import StoreError
from tenantcache.runtime.tasks import stop
from tenantcache.values.core.stored import Stored, decode, encode
from tenantcache.values.valuestore import CopyToWrite, ValueCopies

MAX_REMEMBERED = 10_000
"""Keys that were to be written once: 1 MB. Beyond that the older half is forgotten, and is written one load later."""

WITHIN_LIVES = 2.0
"""The second load counts if it comes within so many lives of the first. A value that each process loads once in two
lives is read by others in that time; what is loaded once an hour and lives for minutes would only end unread."""

WRITTEN_AT_ONCE, BYTES_AT_ONCE = 100, 500_000
"""Copies in one round trip, which takes some milliseconds, and about as many bytes."""

MAX_WAITING, MAX_WAITING_BYTES = 10_000, 16_000_000
"""Copies that wait to be written. What comes beyond that is not written: a copy is a saving, and no more than that."""


class ValueSharing:
    """`store` None: there is no Redis. `is_billed`: each command costs. A fault of the store means that there is no
    copy."""

    def __init__(
        self, store: ValueCopies | None, in_force: BandInForce, *, is_billed: bool, max_value_bytes: int
    ) -> None:
        self.max_value_bytes: int = max_value_bytes
        self._store, self._in_force = store, in_force
        self._is_billed = is_billed
        self._loaded: dict[int, float] = {}
        self._loaded_before: dict[int, float] = {}
        self._waiting: deque[CopyToWrite] = deque()
        self._waiting_bytes = 0
        self._writer: asyncio.Task[None] | None = None

    async def read(self, keys: Sequence[str]) -> dict[str, Stored]:
        """The copies that are there, by key, for one command. Whether to believe them is for the caller to say."""
        if self._store is None or not keys or not self._in_force.band.has_copies:
            return {}
        try:
            found = await self._store.get_many(keys)
        except StoreError:
            return {}
        copies = {key: decode(octets) for key, octets in zip(keys, found, strict=True) if octets is not None}
        return {key: copy for key, copy in copies.items() if copy is not None}

    def write_soon(self, key: str, stored: Stored) -> int | None:
        """Put a copy into Redis without being waited for, if it is worth a command. Its bytes if they are too many."""
        band = self._in_force.band
        if self._store is None or not band.has_copies or stored.lifetime.is_short:
            return None
        if (self._is_billed or band.is_thrifty) and self._is_first(key, stored):
            return None
        octets = encode(stored)
        if len(octets) > self.max_value_bytes:
            return len(octets)
        if len(self._waiting) < MAX_WAITING and self._waiting_bytes + len(octets) <= MAX_WAITING_BYTES:
            self._waiting.append(CopyToWrite(key, octets, stored.lifetime.whole))
            self._waiting_bytes += len(octets)
            if not self.is_writing:
                self._writer = asyncio.create_task(self._write(self._store), name="tenantcache copies of values")
        return None

    async def _write(self, store: ValueCopies) -> None:
        while self._waiting:
            with suppress(StoreError):
                await store.put_many(self._next_batch())

    def _next_batch(self) -> list[CopyToWrite]:
        batch: list[CopyToWrite] = []
        size = 0
        while self._waiting and len(batch) < WRITTEN_AT_ONCE and size < BYTES_AT_ONCE:
            copy = self._waiting.popleft()
            batch.append(copy)
            size += len(copy.stored)
        self._waiting_bytes -= size
        return batch

    def _is_first(self, key: str, stored: Stored) -> bool:
        name, at = hash(key), stored.loaded_at
        until = self._loaded.get(name) or self._loaded_before.get(name, at)
        if len(self._loaded) >= MAX_REMEMBERED // 2 and name not in self._loaded:
            self._loaded, self._loaded_before = {}, self._loaded
        self._loaded[name] = at + WITHIN_LIVES * stored.lifetime.whole
        return at >= until

    @property
    def is_writing(self) -> bool:
        """Whether copies are on their way into Redis."""
        return self._writer is not None and not self._writer.done()

    async def close(self) -> None:
        await stop(self._writer)
        self.forget()

    def forget(self) -> None:
        """The event loop of that task has ended, or is the parent's."""
        self._writer = None
        self._waiting.clear()
        self._waiting_bytes = 0
