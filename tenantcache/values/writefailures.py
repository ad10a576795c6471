"""What becomes of values that could not be written: they are logged, counted, and handed to `on_failed`.

Their keys are named in the log of changes too. A writer may have failed after its commit, and then others do not know.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable, iscoroutinefunction
from typing import Final

from tenantcache.errors import NotOpenError, StoreUnavailableError
from tenantcache.runtime.tasks import stop
from tenantcache.values.core.valuekey import value_name
from tenantcache.values.core.writebehind import FailedWrites, OnFailed
from tenantcache.values.core.writequeue import Write

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT: Final = 5.0
"""Seconds that a close waits for `on_failed`."""

MAX_KEYS_LOGGED: Final = 20


class WriteFailures:
    """`tell` names keys in the log, and returns once that is applied here. `count`: values so far."""

    def __init__(self, tell: Callable[[Sequence[str]], Awaitable[None]]) -> None:
        self.count: int = 0
        self._tell = tell
        self._reports: set[asyncio.Task[None]] = set()

    def report(self, writes: Sequence[Write], error: Exception | None) -> None:
        """These are given up. They are of one writer and one tenant, which has raised `error`."""
        self.count += len(writes)
        tenant_id, on_failed = writes[0].name[0], writes[0].target.on_failed
        keys = ", ".join(repr(write.name[1]) for write in writes[:MAX_KEYS_LOGGED])
        more = "" if len(writes) <= MAX_KEYS_LOGGED else f" and {len(writes) - MAX_KEYS_LOGGED} more"
        logger.error(
            "%d values of tenant %r were not written, and are given up: %s%s: %r",
            *(len(writes), tenant_id, keys, more, error),
        )
        failed = FailedWrites(tenant_id, {write.name[1]: write.value for write in writes}, error)
        task = asyncio.create_task(self._report(failed, on_failed), name="tenantcache failed writes")
        self._reports.add(task)
        task.add_done_callback(self._reports.discard)

    async def _report(self, failed: FailedWrites, on_failed: OnFailed | None) -> None:
        try:
            await self._tell([value_name(failed.tenant_id, key) for key in failed.values])
        except NotOpenError:
            pass  # it is closing, and the log has them
        except StoreUnavailableError as error:
            logger.warning("others cannot be told of values that may have been written: %s", error)
        if on_failed is None:
            return
        try:
            await _call(on_failed, failed)
        except Exception:
            logger.exception("%r failed on values that were not written", on_failed)

    async def close(self) -> None:
        """Return when all is reported, or after `CLOSE_TIMEOUT`."""
        if self._reports:
            await asyncio.wait(self._reports, timeout=CLOSE_TIMEOUT)
        await stop(*self._reports)

    def forget(self) -> None:
        """Their event loop has ended, or is the parent's of a fork."""
        self._reports.clear()


async def _call(on_failed: OnFailed, failed: FailedWrites) -> None:
    if any(map(iscoroutinefunction, (on_failed, type(on_failed).__call__))):
        result = on_failed(failed)
    else:
        result = await asyncio.to_thread(on_failed, failed)  # it may block
    if isawaitable(result):  # of a partial or a lambda over a coroutine function
        await result
