"""Connections of the commands, and what to tell a person when one fails: which variable, which server, what to do.

The drivers' own texts are repeated only where they cannot hold a part of the URL.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from socket import gaierror

import asyncpg
import redis.asyncio
from redis import exceptions as redis_errors

from tenantcache.errors import TenantCacheError
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
        reason = _postgres_reason(error)
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
        reason = _redis_reason(error)
        raise ServerError(f"{variable}: Redis at {address(url, REDIS_PORT)} {reason}") from None
    finally:
        await client.aclose()


# The first that fits counts.
_POSTGRES_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (asyncpg.InvalidCatalogNameError, "has no such database; create it (createdb), or correct the name behind the /"),
    # A wrong password is one of these.
    (asyncpg.InvalidAuthorizationSpecificationError, "refuses this user or password; correct what is before the @"),
    (asyncpg.TooManyConnectionsError, "has no connection left; raise max_connections, or stop clients"),
    (asyncpg.CannotConnectNowError, "is starting up or shutting down; try again in a moment"),
    (asyncpg.PostgresError, "refuses the connection; its log says why"),
    (asyncpg.InterfaceError, "cannot be used with these parameters; correct what is behind the ?"),
)
_REDIS_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (redis_errors.AuthenticationError, "refuses this user or password, or wants one; correct what is before the @"),
    (redis_errors.InvalidResponse, "answers, but not as Redis does; is it another server's port?"),
    # What stands behind the ? becomes keyword arguments.
    (TypeError, "cannot be used with these parameters; correct what is behind the ?"),
    (redis_errors.BusyLoadingError, "is still loading its data; try again in a moment"),
)
_NETWORK_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (ConnectionRefusedError, "is not running (connection refused); start it, or correct host and port"),
    (
        TimeoutError,
        f"did not answer within {CONNECT_TIMEOUT:.0f} s; is it another server's port, or behind a firewall?",
    ),
    (gaierror, "cannot be found (no such host name); correct the host"),
)
_HUNG_UP = "hung up; is it another server's port, or one that wants TLS?"


def _postgres_reason(error: Exception) -> str:
    return _find_reason(error, _POSTGRES_REASONS) or _network_reason(error)


def _redis_reason(error: Exception) -> str:
    if reason := _find_reason(error, _REDIS_REASONS):
        return reason
    if isinstance(error, redis_errors.ResponseError):
        return f"answers: {error}"
    if isinstance(error, redis_errors.TimeoutError):
        return _network_reason(TimeoutError())
    # redis-py wraps what the socket said.
    return _network_reason(error.__cause__ or error)


def _network_reason(error: BaseException) -> str:
    if reason := _find_reason(error, _NETWORK_REASONS):
        return reason
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be reached ({error.strerror}); correct host and port"
    return _HUNG_UP


def _find_reason(error: BaseException, reasons: tuple[tuple[type[Exception], str], ...]) -> str | None:
    return next((reason for kind, reason in reasons if isinstance(error, kind)), None)
