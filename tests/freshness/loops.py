"""An asyncio event loop without sockets, whose time is given and which runs one iteration at a time.

The code under test runs on it unchanged. Within an iteration everything happens as in asyncio's own loop. What was
ready comes first, then what came in over the network, then the timers that are due. Between two iterations the
scheduler decides what comes in, how much time passes, and whose turn it is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from heapq import heappop
from typing import Any
from weakref import WeakSet


class VirtualLoop(asyncio.BaseEventLoop):
    """`clock` gives seconds. `failures` holds what tasks raised and no caller fetched."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        # asyncio's own queues; there is no public way to look at them.
        self._ready: deque[asyncio.Handle]
        self._scheduled: list[asyncio.TimerHandle]
        self._clock = clock
        self.failures: list[str] = []
        self.set_exception_handler(self._note_failure)
        self._tasks: WeakSet[asyncio.Task[Any]] = WeakSet()
        self.set_task_factory(self._make_task)  # type: ignore[arg-type] # typeshed names its arguments

    def time(self) -> float:
        return self._clock()

    @staticmethod
    def _make_task(
        loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        assert isinstance(loop, VirtualLoop)
        task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
        loop._tasks.add(task)
        return task

    def unfinished(self) -> set[asyncio.Task[Any]]:
        """Its tasks that are not done. `asyncio.all_tasks` looks at those of every loop that there has been."""
        return {task for task in self._tasks if not task.done()}

    def _note_failure(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.failures.append(f"{context.get('message')}: {context.get('exception')!r}")

    @property
    def is_idle(self) -> bool:
        """Whether an iteration would do nothing."""
        return not self._ready and self.next_timer() > self._clock()

    def next_timer(self) -> float:
        """When the next timer is due, in seconds on the clock; infinity if there is none."""
        while self._scheduled and self._scheduled[0].cancelled():
            heappop(self._scheduled)
        return self._scheduled[0].when() if self._scheduled else float("inf")

    def step(self) -> None:
        """Run one iteration. `run_forever` prepares for a long run each time, and a search takes 50,000."""
        while self.next_timer() <= self._clock():
            self._ready.append(heappop(self._scheduled))
        asyncio._set_running_loop(self)
        try:
            for _ in range(len(self._ready)):
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            asyncio._set_running_loop(None)

    def discard(self) -> None:
        """End every task, as the death of the process does, and close."""
        while tasks := self.unfinished():
            for task in tasks:
                task.cancel()
            self.step()
        self.failures.clear()
        self.close()
