"""Connections of the commands, and what to tell a person when one fails: which variable, which server, what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from tenantcache.errors import StoreError, TenantCacheError
from tenantcache.settings.urls import POSTGRES_PORT, REDIS_PORT, address
from tenantcache.stores.reasons import postgres_reason, redis_reason
from tenantcache.stores.redis import RedisLink
from tenantcache.stores.rediscopies import RedisCopies

CONNECT_TIMEOUT = 5.0
"""Seconds. Far beyond a slow handshake, and short enough to wait for at a terminal."""


_FAULTS = (OSError, EOFError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class ServerError(TenantCacheError):
    """A server that the settings name cannot be used. The text names the variable, host:port, and what to do."""


@asynccontextmanager
async def postgres(url: str, variable: str) -> AsyncIterator[asyncpg.Connection]:
    """Connect to `url`, which `variable` holds. Raises ServerError if that fails, and if what is done inside does."""
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT)
        try:
            yield connection
        finally:
            await _close(connection)
    except BrokenPipeError:
        raise  # of our own output
    except _FAULTS as error:
        reason = postgres_reason(error)
        raise ServerError(f"{variable}: Postgres at {address(url, POSTGRES_PORT)} {reason}") from None


async def _close(connection: asyncpg.Connection) -> None:
    try:
        await connection.close(timeout=CONNECT_TIMEOUT)
    except _FAULTS:  # what happened before it counts
        connection.terminate()


async def try_redis(url: str, variable: str, prefix: str = "tenantcache") -> Mapping[str, Any]:
    """Run the commands that an engine runs on the Redis at `url`, which `variable` holds, under `prefix`.

    Returns what INFO says, or nothing if INFO is forbidden: no engine needs it. Raises ServerError.
    """
    link = RedisLink(url, prefix=prefix, timeout=CONNECT_TIMEOUT)
    copies = RedisCopies(link, prefix=f"{prefix}:check", ttl=60, read_timeout=CONNECT_TIMEOUT)
    try:
        await link.ping()
        await link.try_to_count()
        await copies.put("one", b"")
        await copies.get_many(["one"])
        await copies.get_many(["one", "two"])
        await copies.drop(["one"])
        return await link.info()
    except (TypeError, StoreError) as error:
        reason = redis_reason(error.__cause__ or error)
        raise ServerError(f"{variable}: Redis at {address(url, REDIS_PORT)} {reason}") from None
    finally:
        await link.close()
