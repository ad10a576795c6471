"""A Redis that may be anyone's: Redis, Valkey, a provider's subset of them, a cluster, with few rights.

What is sent is counted before it is sent, and nothing passes the limit. A cluster is several servers: a command about
a key goes to the server that named the key, so that commands need not be routed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from tenantcache.budget.core.prices import count_billed
from tenantcache.errors import OverQuotaError, SpendingLimitError, UnreachableError
from tenantcache.stores.reasons import is_over_quota, redis_reason

TIMEOUT = 10.0
"""Seconds for one round trip. It is a person who waits."""

SILENCE = 86_400.0
"""Seconds without a reply to a command that is listened to: none may come, and the caller says when it is enough."""

_NOT_KNOWN = ("unknown command", "unknown subcommand", "not supported", "unsupported", "not available", "not allowed")
"""How servers answer what they do not have, or have turned off."""


@dataclass(slots=True)
class Spending:
    """Billed commands: what was sent, and the most that may be."""

    limit: int
    spent: int = 0

    @property
    def remaining(self) -> int:
        return self.limit - self.spent

    def spend(self, commands: Sequence[Sequence[Any]]) -> None:
        """Raises `SpendingLimitError`, and counts nothing, if that would pass the limit."""
        billed = count_billed(commands)
        if billed > self.remaining:
            raise SpendingLimitError(
                f"this would send {self.spent + billed} billed commands, and {self.limit} is the limit; "
                "raise it with --max-commands"
            )
        self.spent += billed


class RedisNode:
    """One server. `address` is host:port, without user and password."""

    def __init__(self, client: Redis, address: str, spending: Spending) -> None:
        self._client = client
        self.address = address
        self.spending = spending

    async def send(self, *command: Any) -> Any:
        """Send one command and return its reply. Raises `UnreachableError`, `OverQuotaError`, `SpendingLimitError`, and
        redis-py's `ResponseError` if the server refuses the command."""
        [reply] = await self.send_many([command])
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    async def send_many(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send all in one round trip, and return the replies, a `ResponseError` in place of each that was refused.

        Raises `UnreachableError`, `OverQuotaError` and `SpendingLimitError`.
        """
        self.spending.spend(commands)
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        try:
            async with asyncio.timeout(TIMEOUT):
                replies: list[Any] = await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            raise self._failure(error) from None
        for reply in replies:
            if isinstance(reply, Exception) and (not isinstance(reply, ResponseError) or is_over_quota(reply)):
                raise self._failure(reply) from None
        return replies

    async def info(self, *sections: str) -> Mapping[str, Any]:
        """What INFO says, for instance of "commandstats"; nothing if it is forbidden. Free."""
        [reply] = await self.send_many([("INFO", *sections)])
        return reply if isinstance(reply, Mapping) else {}

    async def listen(self, *command: Any) -> AsyncIterator[Any]:
        """Send a command whose replies do not end, like MONITOR, and give each of them, over a connection of its own.

        Raises `UnreachableError`, `OverQuotaError`, `SpendingLimitError`, and redis-py's `ResponseError` if the server
        refuses it.
        """
        self.spending.spend([command])
        pool: Any = self._client.connection_pool
        connection = None
        try:
            connection = await pool.get_connection()
            await connection.send_command(*command)
            while True:
                yield await connection.read_response(timeout=SILENCE)
        except (RedisError, OSError) as error:
            if isinstance(error, ResponseError) and connection is not None and not is_over_quota(error):
                raise
            raise self._failure(error) from None
        finally:
            if connection is not None:
                await connection.disconnect()
                await pool.release(connection)

    @property
    def database(self) -> int:
        """The number of the database that commands are about."""
        return int(self._client.connection_pool.connection_kwargs.get("db") or 0)

    async def close(self) -> None:
        await self._client.aclose()

    def _failure(self, error: Exception) -> UnreachableError:
        if is_over_quota(error):
            return OverQuotaError(f"Redis at {self.address} refuses this account: {error}")
        return UnreachableError(f"Redis at {self.address} {redis_reason(error)}")


@dataclass(slots=True)
class AnyRedis:
    """All primaries of a Redis: one, or those of a cluster. An async context manager that closes them.

    `info` is what the first one says of itself; empty if INFO is forbidden.
    """

    spending: Spending
    info: Mapping[str, Any]
    nodes: list[RedisNode] = field(default_factory=list)

    @classmethod
    async def connect(cls, url: str, address: str, *, max_commands: int) -> Self:
        """Connect to `url`; `address` is how to call it. One command is billed if it is a cluster.

        Raises `UnreachableError` and `OverQuotaError`.
        """
        spending = Spending(max_commands)
        first = RedisNode(_make_client(url), address, spending)
        try:
            info = await first.info()
            if info.get("cluster_enabled") != 1:
                await first.send("PING")
                return cls(spending, info, [first])
            nodes = [
                RedisNode(_make_client(url, host=host, port=port), f"{host}:{port}", spending)
                for host, port in _primaries(await first.send("CLUSTER SLOTS"), address)
            ]
        except BaseException:
            await first.close()
            raise
        await first.close()
        return cls(spending, info, nodes)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for node in self.nodes:
            await node.close()


def is_not_known(reply: object) -> bool:
    """Whether a reply says that this server does not have the command, or that this user may not run it."""
    if isinstance(reply, NoPermissionError):
        return True
    return isinstance(reply, ResponseError) and any(text in str(reply).lower() for text in _NOT_KNOWN)


def _make_client(url: str, **place: Any) -> Redis:
    """A client of the server at `url`, or at `place` (host, port) with the same user, password and TLS."""
    pool = ConnectionPool.from_url(
        url,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
        protocol=2,
        driver_info=None,
        retry=Retry(NoBackoff(), 0),
    )
    pool.connection_kwargs.update(place)  # what the URL says wins over arguments of from_url
    return Redis.from_pool(pool)


def _primaries(reply: Any, address: str) -> list[tuple[str, int]]:
    """Host and port of the primaries in a reply to CLUSTER SLOTS, which may leave the host of the node itself out."""
    own_host = address.rpartition(":")[0]
    found = {(_text(node[0]) or own_host, int(node[1])) for _, _, node, *_ in reply}
    return sorted(found)


def _text(value: bytes | str | None) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else value or ""
