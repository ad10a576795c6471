"""What to tell a person when a server cannot be used: what it says or does, and what would mend it.

The drivers' own texts are repeated only if they cannot hold a part of the URL. An error that says nothing by itself may
wrap one that does. redis-py sets `__context__`, and other libraries `__cause__`. The outermost that says something
counts, because the innermost may be what a caller was busy with.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator
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
    (asyncpg.ReadOnlySQLTransactionError, "takes no writes (a standby, or read-only); give the URL of the primary"),
    (asyncpg.QueryCanceledError, "cancelled the statement; is there a statement_timeout on this role or database?"),
    (asyncpg.ClientConfigurationError, "cannot be used with these parameters; correct what is behind the ?"),
    (asyncpg.TargetServerAttributeNotMatched, "is not of the kind that target_session_attrs asks for, nor is another"),
)
_REDIS_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (redis_errors.AuthenticationError, "refuses this user or password, or wants one; correct what is before the @"),
    (redis_errors.InvalidResponse, "answers, but not as Redis does; is it another server's port?"),
    # What stands behind the ? becomes keyword arguments.
    (TypeError, "cannot be used with these parameters; correct what is behind the ?"),
    (redis_errors.BusyLoadingError, "is still loading its data; try again in a moment"),
    (redis_errors.MaxConnectionsError, "has no connection left in the pool of this process; try again in a moment"),
)
_NETWORK_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (ConnectionRefusedError, "is not running (connection refused); start it, or correct host and port"),
    (
        TimeoutError,
        "did not answer in time; is it another server's port, or behind a firewall?",
    ),
    (gaierror, "cannot be found (no such host name); correct the host"),
    (FileNotFoundError, "is not running (its socket is not there); start it, or correct the path"),
    (PermissionError, "cannot be reached (permission denied); let this account use the socket"),
)
_HUNG_UP = "hung up; is it another server's port, or one that wants TLS?"

_WANTS_TLS = re.compile(r"no encryption|SSL off|SSL(/TLS)? (connection )?(is )?required|connection is insecure", re.I)
_NO_ENTRY = re.compile(r"pg_hba\.conf")
_STATEMENT_CLASSES = ("0A", "22", "23", "25", "40", "42", "53", "54", "55", "57", "58", "P0", "XX")
"""SQLSTATE classes of errors that a statement causes: their texts are about tables and values, not about the URL."""

_ERRNO = re.compile(r"\[Errno (-?\d+)\]")


_REJECTING_REDIS = (
    "value is not an integer",
    "is not an integer or out of range",
    "invalid bitfield type",
    "increment or decrement would overflow",
    "syntax error",
    "wrong number of arguments",
    "wrongtype",
)
"""How Redis answers what it cannot parse, or what does not fit to what a key holds. Others get another answer."""


_OVER_QUOTA = (
    "max requests limit exceeded",
    "suspended for exceeding",
    "quota exceeded",
    "max daily request limit",
)
"""How metered providers refuse an account past its quota. redis-py drops the leading "ERR "."""


def is_over_quota(error: BaseException) -> bool:
    """Whether the provider refuses to serve this account."""
    return any(text in str(error).lower() for text in _OVER_QUOTA)


def redis_rejects(error: BaseException | None) -> bool:
    """Whether the fault is in the command and not in the server."""
    if isinstance(error, redis_errors.DataError):
        return True  # redis-py could not even write it
    return isinstance(error, redis_errors.ResponseError) and any(
        text in str(error).lower() for text in _REJECTING_REDIS
    )


def postgres_rejects(error: BaseException | None) -> bool:
    """Whether the fault is in the values that were sent (class 22, "data exception", and 23, "integrity constraint
    violation"), so that other ones are taken."""
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate)[:2] in ("22", "23")
    return isinstance(error, asyncpg.DataError | ValueError | OverflowError)


def postgres_reason(error: BaseException) -> str:
    """Complete "Postgres ..." from what asyncpg or the network raised."""
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError) and (reason := _hba_reason(str(error))):
        return reason
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return f"does not let this user do that ({error.args[0]}); grant it, or run `tenantcache check` with this user"
    if reason := _find_reason(error, _POSTGRES_REASONS):
        return reason
    if isinstance(error, asyncpg.PostgresError):
        if (error.sqlstate or "")[:2] in _STATEMENT_CLASSES:
            return f"answers: {error.args[0]} ({error.sqlstate})"
        return "refuses the connection; its log says why"
    return _network_reason(error, "leave sslmode out, or correct host and port", "sslrootcert")


def redis_reason(error: BaseException) -> str:
    """Complete "Redis ..." from what redis-py or the network raised."""
    if "max number of clients" in str(error):
        return "has no connection left (max number of clients reached); raise maxclients, or stop clients"
    if str(error) == "No connection available.":  # so says the pool, because of a timeout
        return "has no connection left in the pool of this process; try again in a moment"
    if reason := _find_reason(error, _REDIS_REASONS):
        return reason
    if isinstance(error, redis_errors.ResponseError):
        hint = "; correct the ACL of this user" if isinstance(error, redis_errors.NoPermissionError) else ""
        return f"answers: {error}{hint}"
    if isinstance(error, redis_errors.TimeoutError | TimeoutError):
        return "did not answer in time; is it another server's port, without TLS at rediss://, or behind a firewall?"
    return _network_reason(error, "give redis:// in place of rediss://, or its TLS port", "ssl_ca_certs")


def _hba_reason(text: str) -> str | None:
    if _NO_ENTRY.search(text) and _WANTS_TLS.search(text):
        return "does not let this user in without TLS (pg_hba.conf); add sslmode=require behind the ?"
    if _WANTS_TLS.search(text):
        return "lets no user in without TLS; add sslmode=require behind the ?"
    if _NO_ENTRY.search(text):
        return "does not let this user in from here; add this host, user and database to its pg_hba.conf"
    return None


def _network_reason(error: BaseException, without_tls: str, authorities: str) -> str:
    reasons = (_cause_reason(cause, without_tls, authorities) for cause in _causes(error))
    return next(filter(None, reasons), _HUNG_UP)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from or because of, and so on inwards."""
    found: BaseException | None = error
    seen: set[int] = set()
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__


def _cause_reason(error: BaseException, without_tls: str, authorities: str) -> str | None:
    if isinstance(error, ssl.SSLError):
        return _tls_reason(error, without_tls, authorities)
    if "rejected SSL upgrade" in str(error):  # so says asyncpg, whatever the answer was
        return f"does not speak TLS, or is another server's port; {without_tls}"
    if isinstance(error, redis_errors.TimeoutError):
        error = TimeoutError()
    elif isinstance(error, OSError):
        error = _first_of_several(error)
    reason = _find_reason(error, _NETWORK_REASONS)
    if reason is None and isinstance(error, OSError) and error.strerror and not isinstance(error, ConnectionError):
        return f"cannot be reached ({error.strerror}); correct host and port"
    return reason


def _tls_reason(error: ssl.SSLError, without_tls: str, authorities: str) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate_reason(error, authorities)
    if error.reason == "WRONG_VERSION_NUMBER":
        return f"does not speak TLS there; {without_tls}"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return None  # it hung up
    return f"cannot agree on TLS ({error.reason or 'handshake failed'}); correct the certificates and versions"


def _certificate_reason(error: ssl.SSLCertVerificationError, authorities: str) -> str:
    said = error.verify_message.rstrip(".")
    if error.verify_code in _WRONG_NAME:
        return f"has a certificate for another name ({said}); correct the host"
    if error.verify_code == _EXPIRED:
        return f"has a certificate that is not valid any more ({said}); renew it"
    return f"has a certificate that is not trusted ({said}); give the file of its authority: {authorities}=/path/ca.pem"


_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED
_WRONG_NAME = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH


def _first_of_several(error: OSError) -> OSError:
    """asyncio puts the errors of several addresses (localhost is two) into one that has only a text: take the first."""
    match = None if error.errno is not None else _ERRNO.search(str(error))
    return error if match is None else OSError(int(match[1]), os.strerror(int(match[1])))


def _find_reason(error: BaseException, reasons: tuple[tuple[type[Exception], str], ...]) -> str | None:
    return next((reason for kind, reason in reasons if isinstance(error, kind)), None)
