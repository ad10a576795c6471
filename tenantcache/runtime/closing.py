"""Closes what was opened, and goes on past what fails."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol, runtime_checkable

logger = logging.getLogger(__name__)


@runtime_checkable
class Closable(Protocol):
    """What has something to close; a store need not."""

    async def close(self) -> None: ...


async def run_cleanup(cleanup: Callable[[], Awaitable[object]]) -> None:
    """Await `cleanup()`. What it raises is logged, so that the next one runs."""
    try:
        await cleanup()
    except Exception:
        logger.exception("closing goes on past what failed")


async def close_all(*owned: object) -> None:
    """Close those of `owned` that have something to close, one after the other."""
    for each in owned:
        if isinstance(each, Closable):
            await run_cleanup(each.close)
