"""What becomes of values that could not be written: they are logged, counted, and handed to `on_failed`.

Their keys are named in the log of changes too. A writer may have failed after its commit, and then others do not know.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable, iscoroutinefunction
from typing import Final

from tenantcache.errors import NotOpenError
from tenantcache.runtime.tasks import stop
from tenantcache.values.core.valuekey import value_name
from tenantcache.values.core.writebehind import FailedWrites, OnFailed
from tenantcache.values.core.writequeue import Write, pause

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT: Final = 5.0
"""Seconds that a close waits for `on_failed`."""

MAX_KEYS_LOGGED: Final = 20


Tell = Callable[[Sequence[str]], Awaitable[None]]
"""Names keys in the log, and returns once that is applied here."""


class WriteFailures:
    """`count`: values so far."""

    def __init__(self, tell: Tell) -> None:
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
        if on_failed is not None:
            try:
                await _call(on_failed, failed)
            except Exception:
                logger.exception("%r failed on values that were not written", on_failed)
        await tell_surely(self._tell, [value_name(failed.tenant_id, key) for key in failed.values])

    async def close(self) -> None:
        """Return when all is reported, or after `CLOSE_TIMEOUT`."""
        if self._reports:
            await asyncio.wait(self._reports, timeout=CLOSE_TIMEOUT)
        await stop(*self._reports)

    def forget(self) -> None:
        """Their event loop has ended, or is the parent's of a fork."""
        self._reports.clear()


async def tell_surely(tell: Tell, names: Sequence[str]) -> None:
    """Until it is told: what was written, or may have been, must not stay unknown to other processes."""
    failures = 0
    while True:
        try:
            await tell(names)
        except NotOpenError:
            return  # the log has them, and this process is closing: nothing is served here any more
        except Exception as error:
            failures += 1
            if failures == 1:
                logger.warning("others cannot be told yet of %d values that were written: %s", len(names), error)
            await asyncio.sleep(pause(failures, random.random()))
        else:
            return


async def _call(on_failed: OnFailed, failed: FailedWrites) -> None:
    if any(map(iscoroutinefunction, (on_failed, type(on_failed).__call__))):
        result = on_failed(failed)
    else:
        result = await asyncio.to_thread(on_failed, failed)  # it may block
    if isawaitable(result):  # of a partial or a lambda over a coroutine function
        await result
