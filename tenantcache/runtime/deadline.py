"""Timeouts in time during which this process ran.

If a machine is busy, or memory is searched for garbage, an event loop may stand still for seconds. `asyncio.timeout`
expires then, although the answer lies in the socket and the loop has only to read it. So the time is divided into
parts. Each begins when the loop has come round to the end of the one before it. A stop of the loop costs one part.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

PARTS = 4
"""A deadline is late by four stops of the loop at most."""


@asynccontextmanager
async def deadline(seconds: float) -> AsyncIterator[None]:
    """As `asyncio.timeout`, for `seconds` in which this process ran. Raises `TimeoutError`."""
    loop = asyncio.get_running_loop()
    handle: asyncio.TimerHandle

    def after(parts: int) -> None:
        nonlocal handle
        if parts == PARTS:
            scope.reschedule(loop.time())
        else:
            handle = loop.call_later(seconds / PARTS, after, parts + 1)

    async with asyncio.timeout(None) as scope:
        handle = loop.call_later(seconds / PARTS, after, 1)
        try:
            yield
        finally:
            handle.cancel()


class SharedDeadline:
    """The same for many who wait, with one timer for all of them: a process that starts may have ten thousand."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # Those who have begun to wait in each of the last parts, oldest first.
        self._parts: deque[set[asyncio.Future[Any]]] = deque(set[asyncio.Future[Any]]() for _ in range(PARTS))
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, future: asyncio.Future[T]) -> T:
        """What `future` comes to; it goes on if the caller is cancelled. Raises `TimeoutError` after `seconds`, or up
        to one part of them earlier."""
        loop = asyncio.get_running_loop()
        own: asyncio.Future[T] = loop.create_future()
        future.add_done_callback(partial(_pass_on, own))
        part = self._parts[-1]
        part.add(own)
        if self._timer is None:
            self._timer = loop.call_later(self._seconds / PARTS, self._end_part)
        try:
            return await own
        finally:
            part.discard(own)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _end_part(self) -> None:
        expired = self._parts.popleft()
        self._parts.append(set())
        for own in expired:
            if not own.done():
                own.set_exception(TimeoutError())
        is_waited = any(self._parts)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._seconds / PARTS, self._end_part) if is_waited else None


def _pass_on(own: asyncio.Future[T], future: asyncio.Future[T]) -> None:
    if own.done():
        return
    if future.cancelled():
        own.cancel()
    elif (error := future.exception()) is not None:
        own.set_exception(error)
    else:
        own.set_result(future.result())
