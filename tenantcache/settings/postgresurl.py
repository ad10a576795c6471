"""A Postgres URL as people have it, turned into one that asyncpg takes.

asyncpg sends every option that it does not know to the server as a setting, and the server refuses the connection.
libpq, SQLAlchemy and hosting platforms write options that it does not know. They are honoured if they can be, and left
out if that is harmless. One that would protect the connection and cannot be kept is a fault, with one exception:
`channel_binding`, which Neon writes into every URL.
"""

from __future__ import annotations

import getpass
import os
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from tenantcache.settings.urls import (
    NO,
    YES,
    authority_fault,
    read_options,
    split,
    unknown_option,
    unreadable,
    with_options,
    wrong_scheme,
)

EXAMPLE = "postgresql://user:password@host:5432/database"
SCHEMES = ("postgresql", "postgres")
DRIVERS = ("asyncpg", "psycopg", "psycopg_async", "psycopg2", "psycopg2cffi", "pg8000")
"""What SQLAlchemy writes behind a +."""

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_CHOICES = {
    "sslmode": SSL_MODES,
    "sslnegotiation": ("postgres", "direct"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    "ssl_min_protocol_version": _TLS_VERSIONS,
    "ssl_max_protocol_version": _TLS_VERSIONS,
}
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")

# fmt: off
HONOURED = frozenset({
    "user", "password", "dbname", "database", "passfile", "service", "host", "port", "hostaddr",
    "sslmode", "ssl", "requiressl", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword", "sslnegotiation",
    "ssl_min_protocol_version", "ssl_max_protocol_version", "target_session_attrs", "krbsrvname", "gsslib", "options",
})
WITHOUT_EFFECT = frozenset({
    # libpq's. Timeouts are ours, and asyncpg looks after sockets and encoding by itself.
    "channel_binding", "connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count",
    "tcp_user_timeout", "gssencmode", "gssdelegation", "sslcompression", "sslsni", "sslcertmode", "sslkeylogfile",
    "load_balance_hosts", "client_encoding", "fallback_application_name", "min_protocol_version",
    "max_protocol_version",
    # What other drivers and their users write: SQLAlchemy, Prisma, Supabase, JDBC.
    "async_fallback", "prepared_statement_cache_size", "prepared_statement_name_func", "statement_cache_size",
    "max_cached_statement_lifetime", "max_cacheable_statement_size", "command_timeout", "timeout",
    "pgbouncer", "connection_limit", "pool_timeout", "pool_size", "schema", "supa", "workaround", "prepareThreshold",
})
SERVER_SETTINGS = frozenset({
    "application_name", "search_path", "role", "statement_timeout", "lock_timeout", "transaction_timeout",
    "idle_in_transaction_session_timeout", "idle_session_timeout", "timezone", "TimeZone", "datestyle",
    "intervalstyle", "extra_float_digits", "jit", "work_mem", "synchronous_commit", "client_min_messages",
    "default_transaction_isolation", "default_transaction_read_only", "tcp_keepalives_idle",
    "tcp_keepalives_interval", "tcp_keepalives_count", "client_connection_check_interval",
})
# fmt: on
REFUSED = {
    "servicefile": "set the variable PGSERVICEFILE",
    "sslcrldir": "give the file with sslcrl",
    "require_auth": "it cannot be enforced here; sslmode=verify-full makes sure of the server",
    "requirepeer": "it cannot be enforced here",
    "replication": "it is for replication alone",
    "scram_client_key": "give a password",
    "scram_server_key": "give a password",
    "oauth_issuer": "give a password",
    "oauth_client_id": "give a password",
    "oauth_client_secret": "give a password",
    "oauth_scope": "give a password",
}
_KNOWN = sorted(HONOURED | WITHOUT_EFFECT | SERVER_SETTINGS | REFUSED.keys())

_CA_FILES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def postgres_url(url: str) -> str:
    """Return `url` as asyncpg takes it. Raises ValueError with all faults, a line each, and never a password."""
    parts = split(url)
    dialect, plus, driver = parts.scheme.partition("+")
    if dialect not in SCHEMES or (plus and driver not in DRIVERS):
        raise ValueError(wrong_scheme(parts.scheme, EXAMPLE))
    if fault := authority_fault(parts):
        raise ValueError(fault)
    given = read_options(parts)
    options: dict[str, str] = {}
    for name, value in given:
        # SQLAlchemy repeats these for each of several hosts. Of all others the last counts, as in libpq.
        repeated = name in options and name in ("host", "port")
        options[name] = f"{options[name]},{value}" if repeated else value
    if faults := list(_option_faults(options)):
        raise ValueError("\n".join(faults))
    hosts = ",".join(endpoint.removesuffix(":") for endpoint in parts.hosts.split(","))
    hosts = _move_hosts(hosts, options)
    _settle_tls(options)
    kept = [(name, value) for name, value in options.items() if name not in WITHOUT_EFFECT]
    faults = list(_value_faults(dict(kept)))
    if not (parts.user or "user" in options or "service" in options or _account_has_name()):
        faults.append("names no user, and this account has no name to use instead; give one before the @")
    if faults:
        raise ValueError("\n".join(faults))
    return with_options(dialect, parts, hosts, kept)


def _account_has_name() -> bool:
    """Whether the driver finds a user's name by itself: containers may run as a number that no passwd file knows."""
    if os.environ.get("PGUSER"):
        return True
    try:
        return bool(getpass.getuser())
    except (KeyError, OSError, ImportError):
        return False


def _option_faults(options: dict[str, str]) -> Iterator[str]:
    for name in options:
        if name in REFUSED:
            yield f"has the option {name}, which cannot be used here: {REFUSED[name]}"
        elif name not in _KNOWN and "." not in name:  # with a dot it is an extension's setting
            yield unknown_option(name, _KNOWN)
    if options.get("gssencmode") == "require":
        yield "has gssencmode=require, which asyncpg cannot do; use TLS: sslmode=require"
    if (ports := options.get("port")) and not re.fullmatch(r"\d{1,5}(,\d{1,5})*", ports):
        yield "has an option port that is not a number"


def _move_hosts(hosts: str, options: dict[str, str]) -> str:
    """Take the hosts out of `options`, so that they stand in one place; those before the path count."""
    address = options.pop("hostaddr", "")  # spares a lookup of the name, and nothing else
    wanted = options.pop("host", "") or ("" if hosts else address)
    if hosts or not wanted:
        if options.get("port", "").count(",") not in (0, hosts.count(",")):
            raise ValueError("has an option port with another number of ports than there are hosts")
        return hosts
    ports = options.pop("port", "").split(",")
    endpoints = wanted.split(",")
    if len(ports) != len(endpoints):
        ports = [ports[0]] * len(endpoints)
    return ",".join(
        _host(endpoint) + (f":{port}" if port and not re.search(r"[^:/]:\d+$", endpoint) else "")
        for endpoint, port in zip(endpoints, ports, strict=True)
    )


def _host(endpoint: str) -> str:
    if endpoint.startswith("/"):
        return quote(endpoint, safe="")
    is_bare_ipv6 = endpoint.count(":") > 1 and not endpoint.startswith("[")
    return f"[{endpoint}]" if is_bare_ipv6 else endpoint


def _settle_tls(options: dict[str, str]) -> None:
    """Leave only `sslmode` and `sslrootcert`, of all ways to say the same, with values that asyncpg knows."""
    ssl_option, required = options.pop("ssl", ""), options.pop("requiressl", "")
    if ssl_option and "sslmode" not in options:
        word = ssl_option.lower()
        options["sslmode"] = "require" if word in YES else "disable" if word in NO else ssl_option
    if required == "1":
        options.setdefault("sslmode", "require")
    if options.get("sslmode") == "no-verify":  # node-postgres
        options["sslmode"] = "require"
    if options.get("sslrootcert") == "system" and options.setdefault("sslmode", "verify-full") == "verify-full":
        options["sslrootcert"] = _system_certificates() or "system"


def _value_faults(options: dict[str, str]) -> Iterator[str]:
    for name, choices in _CHOICES.items():
        if name in options and options[name] not in choices:
            yield f"has an option {name} with an unknown value; there are {', '.join(choices)}"
    if options.get("sslnegotiation") == "direct" and options.get("sslmode") not in SSL_MODES[3:]:
        yield "has sslnegotiation=direct, which needs sslmode=require, verify-ca or verify-full"
    for name in _FILES:
        if name in options and options[name] != "system" and (fault := unreadable(name, options[name])):
            yield fault
    if options.get("sslrootcert") == "system":
        if options.get("sslmode") == "verify-full":
            yield "has sslrootcert=system, but this system has no file of certificates; give one with sslrootcert"
        else:
            yield "has sslrootcert=system, which needs sslmode=verify-full"


def _system_certificates() -> str | None:
    """The file with the certificates that this system trusts; None if it cannot be found."""
    paths = (ssl.get_default_verify_paths().cafile, *_CA_FILES)
    return next((path for path in paths if path and Path(path).is_file()), None)
