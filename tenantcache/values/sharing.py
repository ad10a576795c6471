"""Values in Redis, for other processes: a saving that no caller waits for longer than for a miss.

Commands are spared. If they are billed, or in a band that saves them, a key is written when this process has it to
write for the second time within two lives of it. What is asked for once then costs no write. Without copies nothing is
read or written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tenantcache.budget.core.bands import BandInForce
from tenantcache.errors import StoreError
from tenantcache.runtime.tasks import stop
from tenantcache.values.core.stored import Stored, decode, encode
from tenantcache.values.valuestore import ValueCopies

MAX_REMEMBERED = 10_000
"""Keys that were to be written once: 1 MB. Beyond that the older half is forgotten, and is written one load later."""

WITHIN_LIVES = 2.0
"""The second load counts if it comes within so many lives of the first. A value that each process loads once in two
lives is read by others in that time; what is loaded once an hour and lives for minutes would only end unread."""


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
        self._writing: set[asyncio.Task[None]] = set()

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
        task = asyncio.create_task(self._write(self._store, key, octets, stored.lifetime.whole))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        return None

    async def _write(self, store: ValueCopies, key: str, octets: bytes, seconds: float) -> None:
        try:
            await store.put(key, octets, seconds)
        except StoreError:
            return

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
        return bool(self._writing)

    async def close(self) -> None:
        await stop(*self._writing)

    def forget(self) -> None:
        """The event loop of those tasks has ended, or is the parent's."""
        self._writing.clear()
