"""Ends background tasks, and waits for what they are told."""

from __future__ import annotations

import asyncio
from typing import Any

PATIENCE = 1.0
"""Seconds after which a task that goes on is cancelled again."""


async def stop(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel `tasks`, and return when all have ended. None, and what has ended already, is passed over.

    One cancellation is not enough. A driver, and other code that catches what it waits for, may swallow one that comes
    together with an answer or a timeout. Waiting for such a task would never end.
    """
    pending = {task for task in tasks if task is not None and not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=PATIENCE)
    for ended in tasks:
        if ended is not None and not ended.cancelled():
            ended.exception()  # not of interest here; without this look it would be logged


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for `event`; False if it was not set within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
