"""Redis: the connection. What is kept there is in `rediscopies.py`, `redisvalues.py` and `rediscounters.py`.

Every command here is counted when it is sent, with what it is for: `RedisLink.meter`. What opens and keeps a connection
costs nothing. RESP2 needs no HELLO, `driver_info=None` spares the two CLIENT SETINFO that redis-py would
send, and the probe is PING, which is free. Nothing is retried: a repeated INCRBY would take tokens twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    MovedError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from tenantcache.budget.core.meter import Command, Meter, Purpose
from tenantcache.errors import RejectedError, StoreError
from tenantcache.runtime import clock
from tenantcache.runtime.breaker import Breaker
from tenantcache.runtime.tracing import Tracing
from tenantcache.stats import LinkStats
from tenantcache.stores.cluster import ClusterClient
from tenantcache.stores.packingconnection import packing_in_c
from tenantcache.stores.reasons import is_over_quota, redis_reason, redis_rejects

logger = logging.getLogger(__name__)

NO_EVICTION = "noeviction"

OPEN_TIMEOUT = 1.0
"""Seconds in which Redis is to answer a process that starts."""

STARVED_ATTEMPTS = 2
"""How often such a process asks once more because it did not run itself."""

LATE = 0.1
"""Seconds by which a timeout ends late if this process did not run meanwhile: its event loop was blocked, or it was
stopped. The answer may have been there all along."""

PROBE_LIFE = 60
"""Seconds that the key of a probe is kept."""

_OTHER_NODE = (MovedError, AskError, ClusterCrossSlotError)
"""How a node of a cluster answers what is not, or not only, its own."""

_PING, _INFO = Command(Purpose.PROBE, ("PING",)), Command(Purpose.PROBE, ("INFO",))


class RedisLink:
    """A pool of connections behind a breaker. `timeout` is in seconds and holds for one round trip.

    A server that answers as a node of a Redis Cluster does is talked to as one from then on (`cluster.py`).

    Takes must not fail because Redis is too far for lookups. A call with less time than `timeout` that runs out of it
    does not count against the connection.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "tenantcache",
        timeout: float = 0.25,
        max_connections: int = 16,
        meter: Meter | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._url = url
        self._tracing = Tracing() if tracing is None else tracing
        self._probe_key = f"{prefix}:probe"
        self._timeout = timeout
        self._max_connections = max_connections
        self._redis = self._make_client()
        self._cluster: ClusterClient | None = None
        self._parents: list[Redis | ClusterClient] = []
        self.breaker: Breaker = Breaker()
        self.meter: Meter = Meter() if meter is None else meter
        self.server_version: str | None = None
        """As INFO says; None if Redis was not there at the start, or if this user may not run INFO."""

    @property
    def billed(self) -> int:
        """Units that the provider has billed to this process."""
        return self.meter.billed

    def _make_client(self) -> Redis:
        pool = BlockingConnectionPool.from_url(
            self._url,
            max_connections=self._max_connections,
            timeout=self._timeout,
            socket_timeout=self._timeout,
            socket_connect_timeout=max(self._timeout, 1.0),
            protocol=2,
            driver_info=None,
            retry=Retry(NoBackoff(), 0),
        )
        pool.connection_class = packing_in_c(pool.connection_class)
        return Redis.from_pool(pool)

    def leave_to_parent(self) -> None:
        """In a forked child: connect anew.

        The old connections are kept, never closed. Both processes share one epoll instance, so to close them would end
        the parent's interest in them. And anything sent on them would answer the parent.
        """
        self._parents += [client for client in (self._redis, self._cluster) if client is not None]
        self._redis, self._cluster = self._make_client(), None

    async def open(self) -> None:
        """Connect once, so that the first request need not. Raises `StoreError`."""
        try:
            await self._connect()
        except StoreError as error:
            if isinstance(error.__cause__, TimeoutError) and self._url.startswith("rediss:"):
                # One without TLS takes the handshake for the beginning of a command, and waits for the rest.
                raise StoreError(f"{error}; does it speak TLS there?") from error.__cause__
            raise
        info = await self.info()
        self.server_version = info.get("redis_version")
        if warning := eviction_warning(info):
            logger.warning("%s", warning)

    async def _connect(self) -> None:
        """A process that starts may stand still, and a deadline that passes meanwhile tells nothing about Redis."""
        for _ in range(STARVED_ATTEMPTS):
            try:
                return await self._call([_PING], timeout=OPEN_TIMEOUT)
            except StoreError as error:
                if not error.starved:
                    raise
        await self._call([_PING], timeout=OPEN_TIMEOUT)

    async def info(self) -> Mapping[str, Any]:
        """What Redis says of itself; nothing if this user may not run INFO. Free. Never raises."""
        try:
            self.meter.send([_INFO])
            [found] = await self._send([_INFO])
        except (RedisError, OSError, TimeoutError):
            return {}
        return found if isinstance(found, Mapping) else {}

    async def ping(self) -> None:
        """Ask whether Redis is there, whatever the breaker says. Free. Raises `StoreError`."""
        await self._call([_PING], timeout=self._timeout)

    async def try_to_count(self) -> None:
        """Count something, by the commands of a take: two, billed. Raises `StoreError`.

        An account that is refused is asked only when the breaker lets it through, since that may be billed too.
        """
        if self.breaker.suspended and not self.breaker.allows(clock.now()):
            raise self._not_asked()
        count = ("BITFIELD", self._probe_key, "SET", "u32", "#0", 1)
        expire = ("EXPIRE", self._probe_key, PROBE_LIFE)
        commands = [Command(Purpose.PROBE, words) for words in (count, expire)]
        await self._call(commands, timeout=self._timeout)

    def stats(self) -> LinkStats:
        return {
            "billed_commands": self.meter.billed,
            "breaker": self.breaker.state,
            "breaker_openings": self.breaker.openings,
            "billed_by_purpose": self.meter.stats(),
            "billed_by_command": self.meter.by_purpose_and_command(),
        }

    async def close(self) -> None:
        await self._redis.aclose()
        if self._cluster is not None:
            await self._cluster.close()

    async def run(self, purpose: Purpose, *words: Any, timeout: float | None = None) -> Any:
        """Send one command and return its reply. Raises `StoreError`."""
        return (await self.run_many([Command(purpose, words)], timeout=timeout))[0]

    async def run_many(self, commands: Sequence[Command], *, timeout: float | None = None) -> list[Any]:
        """Send `commands` in one round trip; each is billed. Raises `StoreError`."""
        replies, error = await self.try_many(commands, timeout=timeout)
        if error is not None:
            raise error
        return replies

    async def try_many(
        self, commands: Sequence[Command], *, timeout: float | None = None
    ) -> tuple[list[Any], StoreError | None]:
        """The same, but return the error, and beside it the replies to the other commands: None for those that failed.

        Raises `StoreError` if nothing was sent.
        """
        if not self.breaker.allows(clock.now()):
            raise self._not_asked()
        if self.breaker.state == "probing":
            await self._call([_PING], timeout=self._timeout)
        return await self._try(commands, timeout=timeout or self._timeout)

    def _not_asked(self) -> StoreError:
        reason = self.breaker.reason or "Redis did not answer"
        return StoreError(f"{reason} (not asked again yet)", suspended=self.breaker.suspended)

    async def _call(self, commands: Sequence[Command], *, timeout: float) -> None:
        _, error = await self._try(commands, timeout=timeout)
        if error is not None:
            raise error

    async def _try(self, commands: Sequence[Command], *, timeout: float) -> tuple[list[Any], StoreError | None]:
        self.meter.send(commands)
        started = clock.now()
        try:
            with self._tracing.span("redis", _operation_of(commands), len(commands)) as span:
                async with asyncio.timeout(timeout):
                    replies = await self._send(commands)
                for reply in replies:
                    if isinstance(reply, Exception):
                        span.fail(reply)
        except (RedisError, OSError) as error:
            return [None] * len(commands), self._failed(error, timeout, clock.now() - started)
        self.meter.receive(commands, replies)
        errors = [reply for reply in replies if isinstance(reply, Exception)]
        if not errors:
            self.breaker.succeeded()
            return replies, None
        worst = next((error for error in errors if not redis_rejects(error)), errors[0])
        failure = self._failed(worst, timeout, clock.now() - started)
        return [None if isinstance(reply, Exception) else reply for reply in replies], failure

    def _failed(self, error: Exception, timeout: float, took: float) -> StoreError:
        """What to raise, after the breaker was told."""
        if redis_rejects(error):
            self.breaker.succeeded()
            return _caused(RejectedError(f"Redis rejects this: {error}"), error)
        refused, late = isinstance(error, ResponseError), isinstance(error, (TimeoutError, RedisTimeoutError))
        suspended = refused and is_over_quota(error)
        starved = late and took > timeout + LATE
        if refused:
            reason = f"Redis refused: {error}"
        else:
            reason = "Redis did not answer in time" if late else f"Redis {redis_reason(error)}"
        # A shorter wait proves nothing that holds for the others.
        if not late or (timeout >= self._timeout and not starved):
            self.breaker.failed(clock.now(), suspended=suspended, reason=reason)
        return _caused(StoreError(reason, suspended=suspended, refused=refused, starved=starved), error)

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        """The replies, an exception in place of each that failed. Raises what redis-py does if all did."""
        if self._cluster is not None:
            return await self._cluster.send(commands)
        pipeline = self._redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command.words)
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        sent_elsewhere = [place for place, reply in enumerate(replies) if isinstance(reply, _OTHER_NODE)]
        if sent_elsewhere:
            # None of these has been applied, nor is it billed.
            again = await self._become_cluster().send([commands[place] for place in sent_elsewhere])
            for place, reply in zip(sent_elsewhere, again, strict=True):
                replies[place] = reply
        return await self._resend_refused_writes(commands, replies)

    async def _resend_refused_writes(self, commands: Sequence[Command], replies: list[Any]) -> list[Any]:
        """Send what met a replica once more, over new connections. After a failover the same address may lead to
        another server, and the old connections do not. None of these has been applied."""
        places = [place for place, reply in enumerate(replies) if isinstance(reply, ReadOnlyError)]
        if not places:
            return replies
        await self._redis.connection_pool.disconnect(inuse_connections=False)
        self.meter.send(commands[place] for place in places)
        pipeline = self._redis.pipeline(transaction=False)
        for place in places:
            pipeline.execute_command(*commands[place].words)
        again: list[Any] = await pipeline.execute(raise_on_error=False)
        for place, reply in zip(places, again, strict=True):
            replies[place] = reply
        if any(isinstance(reply, ReadOnlyError) for reply in again):
            await self._redis.connection_pool.disconnect(inuse_connections=False)  # the next one may find the master
        return replies

    def _become_cluster(self) -> ClusterClient:
        if self._cluster is None:
            logger.info("this Redis is a cluster: its nodes are talked to one by one from now on")
            self._cluster = ClusterClient(
                self._url, timeout=self._timeout, max_connections=self._max_connections, meter=self.meter
            )
        return self._cluster


def _operation_of(commands: Sequence[Command]) -> str:
    """The name of the command, or that of several together (OpenTelemetry, "Redis client operations")."""
    names = {str(command.words[0]) for command in commands}
    return names.pop() if len(names) == 1 else "PIPELINE"


def eviction_warning(info: Mapping[str, Any]) -> str | None:
    """What to say of a Redis that may drop counters when its memory is full: they expire, so any policy but one may."""
    policy = info.get("maxmemory_policy", NO_EVICTION)
    if policy == NO_EVICTION or not info.get("maxmemory"):
        return None
    return (
        f"Redis may evict counters (maxmemory-policy {policy}), and limits are then exceeded; set it to {NO_EVICTION}"
    )


def _caused(error: StoreError, cause: Exception) -> StoreError:
    """As `raise error from cause` would have it."""
    error.__cause__ = cause
    return error
