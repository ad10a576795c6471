"""Listens for commits over a connection of its own, and reconnects after a fault.

Nothing depends on it: a process that pulls the log sees every change without it, only later. So its faults are logged,
and never raised.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg

from tenantcache.freshness.log import Doubt, OnChange
from tenantcache.runtime.tasks import stop
from tenantcache.stores.faults import FAULTS
from tenantcache.stores.reasons import postgres_reason

logger = logging.getLogger(__name__)

CHANNEL = "tenantcache"

MIN_PAUSE, MAX_PAUSE = 0.1, 30.0
"""Seconds between two attempts."""

CHECK_INTERVAL = 10.0
"""Seconds between two looks whether the connection is half-open."""


def tell(on_change: OnChange, payload: object) -> None:
    """Hand a notification on. A publisher's holds the number of the newest entry. A writer's is empty, or an empty line
    with the changed tenant's id and its aliases after it, one a line."""
    head, *names = str(payload).split("\n")
    if head == "counters":
        on_change(checks=True)
    elif head.isdecimal() and len(head) < 20:
        on_change(int(head))
    elif names and not head:
        on_change(doubt=Doubt(names[0], tuple(names[1:])))
    else:
        on_change()


class Listener:
    """`connect` opens a connection or raises one of `FAULTS`; `on_change` is called from the event loop."""

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]], on_change: OnChange) -> None:
        self.listening: bool = False
        self._connect = connect
        self._on_change = on_change
        self._has_warned = False
        self._task = asyncio.create_task(self._run(), name="tenantcache listener")

    async def close(self) -> None:
        await stop(self._task)

    async def _run(self) -> None:
        pause = MIN_PAUSE
        while True:
            try:
                await self._listen()
            except FAULTS as error:
                if self.listening:
                    pause = MIN_PAUSE
                self._warn(error)
            self.listening = False
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 2, MAX_PAUSE)

    async def _listen(self) -> None:
        """Listen until the connection is lost; raises then."""
        connection = await self._connect()
        try:
            lost = asyncio.Event()
            connection.add_termination_listener(lambda *_: lost.set())
            await connection.add_listener(CHANNEL, lambda *told: tell(self._on_change, told[-1]))
            self.listening, self._has_warned = True, False
            self._on_change()  # what was committed before this was not heard of
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(lost.wait(), CHECK_INTERVAL)
                await connection.fetchval("select 1")
        finally:
            connection.terminate()

    def _warn(self, error: BaseException) -> None:
        if not self._has_warned:
            logger.warning("changes cannot be listened for, only pulled: Postgres %s", postgres_reason(error))
        self._has_warned = True
