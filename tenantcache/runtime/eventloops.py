"""Which event loop an engine belongs to, and what its caller is told in another one.

Connections, locks and tasks belong to the loop that made them. In another loop they fail in ways that name neither the
engine nor the remedy, so the engine looks first.
"""

from __future__ import annotations

import asyncio

from tenantcache.errors import NotOpenError

WHERE_TO_READ = 'docs/applications.md, "Workers and scripts"'


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread; None outside of one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def not_open() -> NotOpenError:
    return NotOpenError(
        "open the TenantCache first: `async with TenantCache(...) as cache`, or `await cache.open()`, and that in each"
        " event loop (each `asyncio.run`) that uses it"
    )


def open_elsewhere(home: asyncio.AbstractEventLoop) -> NotOpenError:
    """What to raise in the running loop for an engine that is open in `home`."""
    if home.is_closed():
        return NotOpenError(
            "the event loop in which this TenantCache was opened has ended without closing it: open it in each event"
            f" loop, and close it before the loop ends, as `async with cache` does ({WHERE_TO_READ})"
        )
    return NotOpenError(
        "this TenantCache is open in another event loop: send the call there (asyncio.run_coroutine_threadsafe), or"
        f" make a TenantCache for this loop ({WHERE_TO_READ})"
    )
