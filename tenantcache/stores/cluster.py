"""Redis Cluster, as `RedisLink` sends through it.

redis-py follows MOVED and ASK by itself: a command that was redirected has not been applied. Nothing else is sent again
(`retry` is 0): a connection that broke may have applied what it was given. A take that was sent twice would only waste
tokens, but it could not be said any more what a counter holds.

One CLUSTER SLOTS is billed beside the commands each time the cluster is explored: at the start, and after a node was
lost. The COMMAND that redis-py asks as well is free. A command on several keys becomes one for each slot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MovedError, ReadOnlyError, RedisClusterException, RedisError, ResponseError

from tenantcache.budget.core.meter import Command, Meter, Purpose
from tenantcache.runtime.tasks import stop

MULTI_KEY = frozenset({"MGET", "UNLINK"})

_EXPLORE = Command(Purpose.PROBE, ("CLUSTER", "SLOTS"))


class ClusterClient:
    """`timeout` is in seconds for one round trip; `meter` is told of every command that the caller cannot see."""

    def __init__(self, url: str, *, timeout: float, max_connections: int, meter: Meter) -> None:
        self._client = RedisCluster.from_url(
            url,
            max_connections=max_connections,
            socket_timeout=timeout,
            socket_connect_timeout=max(timeout, 1.0),
            protocol=2,
            driver_info=None,
            retry=Retry(NoBackoff(), 0),
            reinitialize_steps=0,  # it would explore by itself after some slots that were moved, and tell nothing of it
        )
        self._meter = meter
        self._gate = asyncio.Semaphore(max_connections)  # the pools of the nodes raise instead of waiting
        self._exploring: asyncio.Task[None] | None = None
        self._known = False

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """Send all at once, and return their replies, an exception in place of each that failed. Raises what redis-py
        does, always as `RedisError`, if nothing could be sent."""
        await self._explore()
        replies = await asyncio.gather(*map(self._execute, commands), return_exceptions=True)
        for reply in replies:
            if isinstance(reply, BaseException) and not isinstance(reply, (RedisError, OSError)):
                raise reply
        return list(replies)

    async def close(self) -> None:
        await stop(self._exploring)
        await self._client.aclose()

    async def _explore(self) -> None:
        """Learn which node has which slots. It takes several round trips: a caller without the time for that leaves it
        to the next one."""
        if self._known:
            return
        if self._exploring is None or self._exploring.done():
            self._meter.send([_EXPLORE])
            self._exploring = asyncio.create_task(self._initialize(), name="tenantcache cluster")
        await asyncio.shield(self._exploring)

    async def _initialize(self) -> None:
        try:
            await self._client.initialize()
        except RedisClusterException as error:
            raise RedisConnectionError(str(error)) from error
        self._known = True

    async def _execute(self, command: Command) -> Any:
        words = command.words
        if words[0] in MULTI_KEY and len(words) > 2:
            return await self._execute_by_slot(command)
        options = {"target_nodes": RedisCluster.PRIMARIES} if words[0] == "PING" else {}
        return await self._execute_one(*words, **options)

    async def _execute_one(self, *command: Any, **options: Any) -> Any:
        execute: Any = self._client.execute_command
        try:
            async with self._gate:
                return await execute(*command, **options)
        except RedisClusterException as error:  # which is not a RedisError
            self._known = False
            raise RedisConnectionError(str(error)) from error
        except RedisError as error:
            if not isinstance(error, ResponseError) or isinstance(error, (MovedError, ReadOnlyError)):
                self._known = False
            raise

    async def _execute_by_slot(self, command: Command) -> Any:
        name, *keys = command.words
        slots: dict[int, list[int]] = {}
        for position, key in enumerate(keys):
            slots.setdefault(self._client.keyslot(key), []).append(position)
        groups = list(slots.values())
        self._meter.send(Command(command.purpose, (name, keys[positions[0]])) for positions in groups[1:])
        replies = await asyncio.gather(
            *(self._execute_one(name, *(keys[position] for position in positions)) for positions in groups)
        )
        if name != "MGET":
            return sum(replies)
        values: list[Any] = [None] * len(keys)
        for positions, reply in zip(groups, replies, strict=True):
            for position, value in zip(positions, reply, strict=True):
                values[position] = value
        return values
