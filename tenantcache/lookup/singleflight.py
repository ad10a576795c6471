"""One load per key at a time, however many wait for it (single flight, as in Go's `golang.org/x/sync`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from tenantcache.errors import StoreError
from tenantcache.runtime.tasks import stop

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """`load` is run in a task of its own, so that it goes on if one of those who wait is cancelled."""

    def __init__(self, load: Callable[[str], Coroutine[Any, Any, T]], *, deadline: float) -> None:
        self._load = load
        self._deadline = deadline
        self._loading: dict[str, asyncio.Task[T]] = {}

    def __len__(self) -> int:
        return len(self._loading)

    def __contains__(self, key: str) -> bool:
        return key in self._loading

    async def join(self, key: str) -> T:
        """Wait for the load of `key`, and start one if there is none. Raises what it raises, and `StoreError` after
        `deadline` seconds."""
        task = self._loading.get(key)
        if task is None:
            task = asyncio.create_task(self._load(key), name="tenantcache load")
            self._loading[key] = task
            task.add_done_callback(lambda done: self._ended(key, done))
        try:
            async with asyncio.timeout(self._deadline):
                return await asyncio.shield(task)
        except TimeoutError as error:
            raise StoreError("no store answered in time") from error

    def detach(self, key: str) -> None:
        """Leave the load of `key` to those who wait for it now: later callers start a new one."""
        self._loading.pop(key, None)

    def detach_all(self) -> None:
        self._loading.clear()

    async def close(self) -> None:
        await stop(*self._loading.values())

    def _ended(self, key: str, task: asyncio.Task[T]) -> None:
        if self._loading.get(key) is task:
            del self._loading[key]
        if not task.cancelled():
            task.exception()  # was raised for those who still waited; unseen it would be logged
