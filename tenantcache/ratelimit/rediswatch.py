"""Whether Redis answers and counts: asked in the background, so that an outage is found without a request."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from tenantcache.errors import StoreError
from tenantcache.ratelimit.core.failover import Failover
from tenantcache.ratelimit.core.redishealth import RedisEvent, RedisState

logger = logging.getLogger(__name__)

PROBE_INTERVAL = 0.4
"""Seconds after which Redis is asked whether it answers, unless it has answered something else since."""

FAILING_INTERVAL = 0.2
"""The same while it does not answer."""

REFUSED_INTERVAL = 15.0
"""The same once it was found to refuse what it is asked for: then it is asked by a command that is billed."""


class Probe(Protocol):
    """The link to Redis, as far as its health goes. Both raise `StoreError`."""

    async def ping(self) -> None: ...

    async def try_to_count(self) -> None:
        """Count, which is billed. For when PING tells nothing: a server that does not count may go on answering it."""
        ...


class RedisWatch:
    """`probe` is None if there is no Redis. What is found goes into `failover`."""

    def __init__(self, probe: Probe | None, failover: Failover) -> None:
        self.failover = failover
        self._probe = probe
        self._next = 0.0

    def clock_moved(self, seconds: float) -> None:
        """The server's clock was set by so much."""
        self._next += seconds

    async def look(self, server_now: Callable[[], float]) -> None:
        """Ask, if that is due. PING is free; what counts is billed, and only used if PING proves nothing."""
        now, redis = server_now(), self.failover.redis
        if self._probe is None or now < self._next or not redis.is_silent(now, PROBE_INTERVAL):
            return
        if not redis.ping_suffices and not self.failover.band.may_count:
            return  # what would prove that it counts is billed, and the budget has no room for it
        self._next = now + (REFUSED_INTERVAL if redis.refuses and redis.is_unavailable(now) else FAILING_INTERVAL)
        answers, event = redis.refuses, RedisEvent.PINGED
        try:
            if not redis.refuses:
                await self._probe.ping()
                answers = True
            if not redis.ping_suffices:
                await self._probe.try_to_count()
                event = RedisEvent.COUNTED
        except StoreError as error:
            # A server that had just answered PING, and did not count, refuses.
            self._note(error, RedisEvent.REFUSED if answers else RedisEvent.SILENT, server_now(), asked=now)
        else:
            self.failover.redis_answered(now, server_now(), event)

    def note_failed_take(self, error: StoreError, now: float) -> None:
        """Redis did not count what a request asked for."""
        self._note(error, RedisEvent.NOT_COUNTED, now)

    def _note(self, error: StoreError, event: RedisEvent, now: float, *, asked: float | None = None) -> None:
        if error.starved:
            return
        if error.suspended:
            event = RedisEvent.ACCOUNT_REFUSED
            if self.failover.redis.state is not RedisState.SUSPENDED:
                logger.error("Redis refuses this account, limits go on in Postgres: %s", error)
        elif error.refused:
            event = RedisEvent.REFUSED
        self.failover.redis_failed(event, str(error), now, asked=asked)
