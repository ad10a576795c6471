"""Connections of the commands, and what to tell a person when one fails: which variable, which server, what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import redis.asyncio
from redis import exceptions as redis_errors

from tenantcache.errors import TenantCacheError
from tenantcache.stores.reasons import postgres_reason, redis_reason
from tenantcache.urls import address

CONNECT_TIMEOUT = 5.0
"""Seconds. Far beyond a slow handshake; somebody waits in front of a terminal."""
POSTGRES_PORT = 5432
REDIS_PORT = 6379


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


async def redis_version(url: str, variable: str) -> str:
    """Connect to the Redis at `url`, which `variable` holds; return its version. Raises ServerError."""
    client = redis.asyncio.Redis.from_url(
        url, driver_info=None, socket_timeout=CONNECT_TIMEOUT, socket_connect_timeout=CONNECT_TIMEOUT
    )
    try:
        await client.ping()
        return str((await client.info("server")).get("redis_version", "of a version that it does not tell"))
    except (OSError, TypeError, redis_errors.RedisError) as error:
        reason = redis_reason(error)
        raise ServerError(f"{variable}: Redis at {address(url, REDIS_PORT)} {reason}") from None
    finally:
        await client.aclose()
