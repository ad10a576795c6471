"""One load per key at a time, however many wait for it (single flight, as in Go's `golang.org/x/sync`), and few loads.

Rules:

* A load begins at once while fewer than `at_once` are under way. The keys that come later wait, and the next load takes
  all of them together. So the busier a process is, the more keys a load has: a cold start costs few queries.
* Of each key there is one flight that callers join. A key that waits is asked for later than all who wait for it, so a
  change need not detach it.
* Each key is answered as soon as its own answer is there. If a load fails, those of its keys that have none fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Generic, TypeVar

from tenantcache.errors import StoreError
from tenantcache.runtime.deadline import SharedDeadline
from tenantcache.runtime.tasks import stop

T = TypeVar("T")

Land = Callable[[Mapping[str, T]], None]
"""Gives the keys in it their answers."""


class Flights(Generic[T]):
    """`load` is given at most `most` keys, and lands what it finds of them, in parts. It runs in a task of its own, so
    that it goes on if one of those who wait is cancelled. No caller waits longer than `deadline` seconds in which this
    process ran, or twice that if the load had to wait for others. There are at most `room` flights."""

    def __init__(
        self,
        load: Callable[[Sequence[str], Land[T]], Coroutine[Any, Any, None]],
        *,
        deadline: float,
        at_once: int,
        most: int,
        room: int,
    ) -> None:
        self._load = load
        self._deadline = SharedDeadline(deadline)
        self._at_once = at_once
        self._most = most
        self._room = room
        self._flights: dict[str, asyncio.Future[T]] = {}
        self._waiting: dict[str, asyncio.Future[T]] = {}  # those whose load has not begun
        self._loads: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._flights)

    def __contains__(self, key: str) -> bool:
        return key in self._flights

    async def join(self, key: str) -> T:
        """Wait for the load of `key`, and start one if there is none. Raises what it raises, and `StoreError` after
        the deadline."""
        flight = self._flights.get(key)
        if flight is None:
            if len(self._flights) >= self._room:
                raise StoreError("too many tenants are being looked up at once")
            flight = self._flights[key] = self._waiting[key] = asyncio.get_running_loop().create_future()
            self._begin()
        for _ in range(2):
            waits_for_turn = key in self._waiting
            with suppress(TimeoutError):
                return await self._deadline.wait(flight)
            if not waits_for_turn:
                break
        raise StoreError("no store answered in time")

    def detach(self, key: str) -> None:
        """Leave a load of `key` that is under way to those who wait for it now: later callers start a new one."""
        if key not in self._waiting:
            self._flights.pop(key, None)

    def detach_all(self) -> None:
        self._flights = dict(self._waiting)

    async def close(self) -> None:
        for flight in self._waiting.values():
            flight.cancel()
        self._waiting.clear()
        self._flights.clear()
        self._deadline.close()
        await stop(*self._loads)

    def _begin(self) -> None:
        while self._waiting and len(self._loads) < self._at_once:
            batch = dict(islice(self._waiting.items(), self._most))
            for key in batch:
                del self._waiting[key]
            task = asyncio.create_task(self._run(batch), name="tenantcache load")
            self._loads.add(task)
            task.add_done_callback(self._ended)

    async def _run(self, batch: Mapping[str, asyncio.Future[T]]) -> None:
        def land(found: Mapping[str, T]) -> None:
            for key, value in found.items():
                self._forget(key, batch[key])
                if not batch[key].done():
                    batch[key].set_result(value)

        try:
            await self._load(tuple(batch), land)
        except Exception as error:
            for key, flight in batch.items():
                self._forget(key, flight)
                if not flight.done():
                    flight.set_exception(error)
                    flight.exception()  # it is raised for those who still wait; unseen it would be logged
        finally:
            for flight in batch.values():  # of a load that was cancelled
                flight.cancel()

    def _forget(self, key: str, flight: asyncio.Future[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._loads.discard(task)
        self._begin()
