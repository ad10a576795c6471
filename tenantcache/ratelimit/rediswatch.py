"""Whether Redis is there, and counts: asked in the background, so that an outage is found without a request."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from tenantcache.errors import StoreError
from tenantcache.ratelimit.core.failover import FleetStore

logger = logging.getLogger(__name__)

PROBE_INTERVAL = 0.4
"""Seconds after which Redis is asked whether it is there, unless it has answered something else since."""

FAILING_INTERVAL = 0.2
"""The same while it does not answer."""

REFUSED_INTERVAL = 15.0
"""The same once it was found to refuse what it is asked for: then it is asked by a command that is billed."""


class Probe(Protocol):
    """The link to Redis, as far as its health goes. Both raise `StoreError`."""

    async def ping(self) -> None: ...

    async def try_to_count(self) -> None:
        """Count, which is billed, where PING tells nothing: a server that does not count may go on answering it."""
        ...


class RedisWatch:
    """`probe` is None where there is no Redis. What is found goes into `fleet`."""

    def __init__(self, probe: Probe | None, fleet: FleetStore) -> None:
        self.fleet = fleet
        self._probe = probe
        self._next = 0.0

    def clock_moved(self, seconds: float) -> None:
        """The server's clock was set by so much."""
        self._next += seconds

    async def look(self, server_now: Callable[[], float]) -> None:
        """Ask, if that is due. PING is free; what counts is billed, and only used where PING proves nothing."""
        now, fleet = server_now(), self.fleet
        if self._probe is None or now < self._next or not fleet.is_silent(now, PROBE_INTERVAL):
            return
        self._next = now + (REFUSED_INTERVAL if fleet.refuses and fleet.redis_gone(now) else FAILING_INTERVAL)
        answers = fleet.refuses
        try:
            if not fleet.refuses:
                await self._probe.ping()
                answers = True
            if fleet.doubted:
                await self._probe.try_to_count()
        except StoreError as error:
            self.note_failure(error, server_now(), asked=now, counting=answers)
        else:
            fleet.redis_answered(now, server_now())

    def note_failure(
        self, error: StoreError, now: float, *, asked: float | None = None, counting: bool = False
    ) -> None:
        """`counting`, with `asked`: a server that had just answered PING did not count."""
        if error.starved:
            return
        if error.suspended and not self.fleet.suspended:
            logger.error("Redis refuses this account, limits go on in Postgres: %s", error)
        self.fleet.redis_failed(
            now,
            str(error),
            asked=asked,
            suspended=error.suspended,
            refused=error.refused or (counting and asked is not None),
            counting=counting,
        )
