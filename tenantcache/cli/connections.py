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


class ServerError(TenantCacheError):
    """A server that the settings name cannot be used. The text names the variable, host:port, and what to do."""


@asynccontextmanager
async def postgres(url: str, variable: str) -> AsyncIterator[asyncpg.Connection]:
    """Connect to `url`, which `variable` holds. Raises ServerError where that fails."""
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        reason = postgres_reason(error)
        raise ServerError(f"{variable}: Postgres at {address(url, POSTGRES_PORT)} {reason}") from None
    try:
        yield connection
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT)


async def redis_version(url: str, variable: str) -> str:
    """Connect to the Redis at `url`, which `variable` holds; return its version. Raises ServerError."""
    client = redis.asyncio.Redis.from_url(
        url, driver_info=None, socket_timeout=CONNECT_TIMEOUT, socket_connect_timeout=CONNECT_TIMEOUT
    )
    try:
        await client.ping()
        return str((await client.info("server"))["redis_version"])
    except (OSError, TypeError, redis_errors.RedisError) as error:
        reason = redis_reason(error)
        raise ServerError(f"{variable}: Redis at {address(url, REDIS_PORT)} {reason}") from None
    finally:
        await client.aclose()
