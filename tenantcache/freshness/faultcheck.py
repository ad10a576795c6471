"""Whether the log may be relied on: when a pull asks for that too, and what follows from the answer."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from math import inf

from tenantcache.errors import POSTGRES_FAILURES
from tenantcache.freshness.core.freshness import NEVER
from tenantcache.freshness.core.logfault import LogFault, Remedy
from tenantcache.freshness.log import ChangeLog, Pull
from tenantcache.runtime.statechange import state_change
from tenantcache.runtime.tasks import stop

logger = logging.getLogger(__name__)

REBUILD_PAUSE = 5.0
"""Seconds between two attempts to read the aliases of all tenants."""


class FaultCheck:
    """Times are in seconds. `on_rebuilt` is called after each attempt to mend a fault."""

    def __init__(self, log: ChangeLog, pull_interval: float, on_rebuilt: Callable[[], None]) -> None:
        self.fault: LogFault | None = None
        self.faultless_at: float = NEVER
        """When the last pull was sent that has looked for faults, and found none."""
        self._log = log
        self._on_rebuilt = on_rebuilt
        self._interval = pull_interval / 2
        self._may_wait = pull_interval / 5
        self._next_at = NEVER
        self._owed_since: float | None = None  # when a check first made way for a change
        self._rebuilder: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        await stop(self._rebuilder)

    def want(self) -> None:
        """Have the next pull check."""
        self._next_at = NEVER

    def is_due(self, now: float, *, makes_way: bool) -> bool:
        """Whether a pull that is sent `now` checks. A check that is due makes way for a change, though not forever."""
        if now < self._next_at:
            return False
        if makes_way:
            self._owed_since = self._owed_since or now
            if now < self._owed_since + self._may_wait:
                return False
        self._owed_since = None
        return True

    def made(self, sent_at: float) -> None:
        """Note that a pull that was sent then has checked, and was answered."""
        self._next_at = sent_at + self._interval

    @property
    def pause(self) -> float:
        """Seconds until a check that has made way for a change; others of the fleet have one due as well."""
        return inf if self._owed_since is None else self._may_wait * random.uniform(0.5, 1.0)

    def lose(self) -> None:
        """Rely on nothing until the next check."""
        self.faultless_at = NEVER

    def judge(self, pull: Pull, sent_at: float) -> None:
        """Note what a pull that was sent then has found, and have it mended if that needs no operator."""
        if not pull.checked:
            return
        self.faultless_at = sent_at if pull.fault is None else NEVER
        if pull.fault is not None and pull.fault != self.fault:
            advice = f"; {Remedy.INIT.value}" if pull.fault.remedy is Remedy.INIT else ""
            extra = state_change("schema", str(self.fault or "sound"), str(pull.fault))
            logger.warning(
                "changes cannot be followed, so tenants are read from Postgres: %s%s", pull.fault, advice, extra=extra
            )
        elif pull.fault is None and self.fault is not None:
            logger.info("changes are followed again", extra=state_change("schema", str(self.fault), "sound"))
        self.fault = pull.fault
        is_mended_here = pull.fault is not None and pull.fault.remedy is Remedy.REBUILD
        if is_mended_here and (self._rebuilder is None or self._rebuilder.done()):
            self._rebuilder = asyncio.create_task(self._rebuild(), name="tenantcache rebuild")

    async def _rebuild(self) -> None:
        try:
            await self._log.rebuild()
        except POSTGRES_FAILURES as error:
            logger.warning("the names of tenants could not be read: %s; trying again", error)
        self._on_rebuilt()
        await asyncio.sleep(REBUILD_PAUSE)
