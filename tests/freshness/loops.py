"""An asyncio event loop without sockets, whose time is given and which runs one iteration at a time.

The code under test runs on it unchanged. Within an iteration everything happens as in asyncio's own loop. What was
ready comes first, then what came in over the network, then the timers that are due. Between two iterations the
scheduler decides what comes in, how much time passes, and whose turn it is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any


class _Nothing:
    """Stands in for the selector: there is nothing to wait for."""

    def select(self, _timeout: float | None) -> tuple[()]:
        return ()


class VirtualLoop(asyncio.BaseEventLoop):
    """`clock` gives seconds. `failures` holds what tasks raised and no caller fetched."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        # asyncio's own queues; there is no public way to look at them.
        self._ready: deque[asyncio.Handle]
        self._scheduled: list[asyncio.TimerHandle]
        self._clock = clock
        self._selector = _Nothing()
        self.failures: list[str] = []
        self.set_exception_handler(self._note_failure)

    def time(self) -> float:
        return self._clock()

    def _process_events(self, _events: object) -> None:
        """Nothing comes in but what the scheduler puts in."""

    def _write_to_self(self) -> None:
        """The loop never sleeps in a selector, so it need not be woken."""

    def _note_failure(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.failures.append(f"{context.get('message')}: {context.get('exception')!r}")

    @property
    def is_idle(self) -> bool:
        """Whether an iteration would do nothing."""
        return not self._ready and self.next_timer() > self._clock()

    def next_timer(self) -> float:
        """When the next timer is due, in seconds on the clock; infinity if there is none."""
        return min((timer.when() for timer in self._scheduled if not timer.cancelled()), default=float("inf"))

    def step(self) -> None:
        """Run one iteration."""
        self.call_soon(self.stop)
        self.run_forever()

    def discard(self) -> None:
        """End every task, as the death of the process does, and close."""
        tasks = asyncio.all_tasks(self)
        while tasks:
            for task in tasks:
                task.cancel()
            self.step()
            tasks = asyncio.all_tasks(self)
        self.failures.clear()
        self.close()
