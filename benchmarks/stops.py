"""For how long an event loop does one thing, and does not come to others."""

from __future__ import annotations

import asyncio
import time

from benchmarks.host_index import TICK


class Stops:
    """Ticks each millisecond. Between two ticks, at most: `longest` are the seconds in which the thread computed, and
    `latest` those by which a tick was late, in which others on the machine may have computed."""

    def __init__(self) -> None:
        self.longest = self.latest = 0.0

    async def __aenter__(self) -> Stops:
        self._task = asyncio.create_task(self._tick())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(2 * TICK)  # a stop at the end is noted by the next tick
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _tick(self) -> None:
        while True:
            before, due = time.thread_time(), time.perf_counter() + TICK
            await asyncio.sleep(TICK)
            self.longest = max(self.longest, time.thread_time() - before)
            self.latest = max(self.latest, time.perf_counter() - due)
