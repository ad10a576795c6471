"""Which event loop an engine belongs to, and what its caller is told in another one.

Connections, locks and tasks belong to the loop that made them. In another loop they fail in ways that name neither the
engine nor the remedy, so the engine looks first.
"""

from __future__ import annotations

import asyncio
from enum import Enum

from tenantcache.errors import NotOpenError

WHERE_TO_READ = 'docs/applications.md, "Workers and scripts"'


class Phase(Enum):
    """How far an engine is open."""

    CLOSED = "closed"
    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"


# From each phase to those that may follow. The loop may end, and the process may be forked, in any of them.
TRANSITIONS = {
    Phase.CLOSED: {Phase.OPENING},
    Phase.OPENING: {Phase.OPEN, Phase.CLOSED},
    Phase.OPEN: {Phase.CLOSING, Phase.CLOSED},
    Phase.CLOSING: {Phase.CLOSED},
}


class Home:
    """The event loop that an engine is open in, or was last, and how far it is open there."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.phase: Phase = Phase.CLOSED

    def move_to(self, phase: Phase) -> None:
        assert phase in TRANSITIONS[self.phase], f"an engine that is {self.phase.value} cannot become {phase.value}"
        self.phase = phase

    def abandon(self) -> None:
        """What was open is closed without a step: its loop has ended, or belongs to the parent of a fork."""
        self.phase = Phase.CLOSED

    @property
    def is_open(self) -> bool:
        return self.phase is Phase.OPEN

    def is_elsewhere(self) -> bool:
        """Whether another event loop than the running one has the engine open, is opening or closing it."""
        return self.phase is not Phase.CLOSED and running_loop() not in (None, self.loop)

    def require_open(self) -> None:
        """Raise `NotOpenError` unless the engine is open in the running loop."""
        if not self.is_open:
            raise not_open()
        self.require_here()

    def require_here(self) -> None:
        """Raise `NotOpenError` if another loop has the engine."""
        if self.loop is not None and self.is_elsewhere():
            raise open_elsewhere(self.loop)


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
