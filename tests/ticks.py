"""Time as this process had it: what a machine with other things to do takes away from it does not count."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

TICK = 0.01


class Ticks:
    """Counts the ticks of the event loop, of 10 ms each."""

    def __init__(self) -> None:
        self.count = 0

    @property
    def seconds(self) -> float:
        """At most what a clock shows."""
        return self.count * TICK

    async def run(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self.count += 1


@asynccontextmanager
async def ticking() -> AsyncIterator[Ticks]:
    """For bounds on how long something waits: what it waited itself, and not for the machine."""
    ticks = Ticks()
    task = asyncio.create_task(ticks.run())
    try:
        yield ticks
    finally:
        task.cancel()
