"""Tells an application of changes: `cache.on_change`.

* The follower puts a change into a queue, and goes on. So a callback that is slow or fails delays and hurts nothing.
* Each callback has a queue and a task of its own, so none waits for another. It is called with one change after the
  other, in the order of the log. A function that is not a coroutine runs in a thread, because it may block.
* A queue is bounded. If it is full, what is in it is dropped, and told as "everything may have changed". So is what was
  still queued at a close: every opening begins with that change, because what happened before is not known.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from inspect import isawaitable, iscoroutinefunction
from typing import Final, Protocol, TypeVar

from tenantcache.freshness.core.change import EVERYTHING, Change, change_of
from tenantcache.freshness.log import ChangeKind, LogEntry
from tenantcache.runtime.eventloops import running_loop
from tenantcache.runtime.forks import forget_after_fork
from tenantcache.runtime.tasks import stop

logger = logging.getLogger(__name__)

MAX_QUEUED: Final = 1_000
"""Changes that wait for one callback. A page of the log (`puller.PAGE`) fits, so that one pull drops nothing."""

ChangeCallback = Callable[[Change], object]
"""A function, or a coroutine function."""

F = TypeVar("F", bound=ChangeCallback)


class OnChangeDecorator(Protocol):
    """The type of `cache.on_change`."""

    def __call__(self, callback: F, /) -> F:
        """Have `callback` called with each `Change` of the log, in this process, in order; return it.

        A function runs in a thread, because it may block; a coroutine function runs in the engine's event loop. What it
        raises is logged once. Each opening begins with `Change(everything=True)`, and so does a queue that was full.
        """
        ...


class Callbacks:
    """The callbacks of one engine, in whichever event loop it is open."""

    def __init__(self) -> None:
        self._subscribers: list[_Subscriber] = []
        self._told: int | None = None  # the entry that was told last; None while the engine is not open
        forget_after_fork(self)

    def add(self, callback: F, /) -> F:
        """As `OnChangeDecorator`."""
        self._subscribers.append(_Subscriber(callback))
        return callback

    def changed(self, entry: LogEntry) -> None:
        """Tell of an entry, unless it was told already."""
        if self._told is None or entry.seq <= self._told:
            return
        self._told = entry.seq
        change = EVERYTHING if entry.kind is ChangeKind.EVERYTHING else change_of(entry.tenant_id, entry.aliases)
        if change is not None:
            self._put(change)

    def open(self) -> None:
        """Tell from now on. What happened before is not known."""
        self._told = 0
        self._put(EVERYTHING)

    def flush(self) -> None:
        """Tell that everything may have changed. The entries that come next may be those of another timeline."""
        if self._told is not None:
            self.open()

    async def close(self) -> None:
        """Call no more; what is queued is dropped. A call that is under way is cancelled."""
        tasks = [subscriber.task for subscriber in self._subscribers]
        self.after_fork_in_child()
        # One that closes the engine goes on.
        await stop(*(task for task in tasks if task is not asyncio.current_task()))

    def after_fork_in_child(self) -> None:
        self._told = None
        for subscriber in self._subscribers:
            subscriber.queue.clear()
            subscriber.task = None

    def _put(self, change: Change) -> None:
        for subscriber in self._subscribers:
            subscriber.put(change)


class _Subscriber:
    """One callback, what it has not been told yet, and the task that tells it, if there is anything to tell."""

    def __init__(self, callback: ChangeCallback) -> None:
        self.queue: deque[Change] = deque()
        self.task: asyncio.Task[None] | None = None
        self._callback = callback
        self._is_async = any(map(iscoroutinefunction, (callback, type(callback).__call__)))
        self._has_failed = False

    def put(self, change: Change) -> None:
        if len(self.queue) >= MAX_QUEUED:
            self.queue.clear()
            change = EVERYTHING
        self.queue.append(change)
        loop = running_loop()
        if loop is None:
            return  # it is told with the next one
        if self.task is None or self.task.done() or self.task.get_loop() is not loop:
            self.task = loop.create_task(self._tell(), name="tenantcache on_change")

    async def _tell(self) -> None:
        queue = self.queue
        while queue and self.task is asyncio.current_task():
            try:
                await self._call(queue.popleft())
            except Exception:
                if not self._has_failed:
                    logger.exception("%r failed on a change; it is told of the next ones", self._callback)
                self._has_failed = True

    async def _call(self, change: Change) -> None:
        if self._is_async:
            result = self._callback(change)
        else:
            result = await asyncio.to_thread(self._callback, change)
        if isawaitable(result):  # of a partial or a lambda over a coroutine function
            await result
