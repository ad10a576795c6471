"""What to tell a person when a server cannot be used: what it says or does, and what would mend it.

The drivers' own texts are repeated only where they cannot hold a part of the URL.
"""

from __future__ import annotations

from socket import gaierror

import asyncpg
from redis import exceptions as redis_errors

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
        "did not answer in time; is it another server's port, or behind a firewall?",
    ),
    (gaierror, "cannot be found (no such host name); correct the host"),
)
_HUNG_UP = "hung up; is it another server's port, or one that wants TLS?"


def postgres_reason(error: BaseException) -> str:
    """Complete "Postgres ..." from what asyncpg or the network raised."""
    return _find_reason(error, _POSTGRES_REASONS) or _network_reason(error)


def redis_reason(error: BaseException) -> str:
    """Complete "Redis ..." from what redis-py or the network raised."""
    if reason := _find_reason(error, _REDIS_REASONS):
        return reason
    if isinstance(error, redis_errors.ResponseError):
        return f"answers: {error}"
    if isinstance(error, (redis_errors.TimeoutError, TimeoutError)):
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
