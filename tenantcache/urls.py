"""What may be said about a connection URL, and what is wrong with one. Never a word of what stands before the `@`.

The parts are cut out by hand: `urllib.parse` puts pieces of a password with odd characters into its exceptions.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}")
_ENDPOINT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.%-]*)(?::([0-9]{0,5}))?")
_MAX_PORT = 65_535

POSTGRES_SCHEMES = ("postgresql", "postgres")
REDIS_SCHEMES = ("redis", "rediss", "unix")


class _Parts(NamedTuple):
    scheme: str
    has_user: bool
    hosts: str
    rest: str


def postgres_url_fault(url: str) -> str | None:
    """Say what is wrong with a Postgres URL and what would be right; None where nothing is."""
    parts = _split(url)
    dialect, plus, driver = parts.scheme.partition("+")
    if plus and dialect in POSTGRES_SCHEMES:
        return f"has the scheme {parts.scheme}://, which only SQLAlchemy knows; leave out '+{driver}'"
    if parts.scheme not in POSTGRES_SCHEMES:
        return _wrong_scheme(parts.scheme, "postgresql://user:password@host:5432/database")
    return _authority_fault(parts)


def redis_url_fault(url: str) -> str | None:
    """Say what is wrong with a Redis URL and what would be right; None where nothing is."""
    parts = _split(url)
    if parts.scheme in ("http", "https"):
        return (
            f"is a REST URL ({parts.scheme}://), which cannot be used here; "
            "give the redis:// or rediss:// URL of the same provider"
        )
    if parts.scheme not in REDIS_SCHEMES:
        return _wrong_scheme(parts.scheme, "redis://host:6379/0, or rediss:// for TLS")
    return None if parts.scheme == "unix" else _authority_fault(parts)


def mask(url: str) -> str:
    """Return `url` with all before the `@` hidden, and without its query, which may hold a password as well."""
    parts = _split(url)
    if not parts.scheme or _authority_fault(parts):
        return "(hidden: not a valid URL)"
    user = "***@" if parts.has_user else ""
    return f"{parts.scheme}://{user}{parts.hosts}{parts.rest.partition('?')[0]}"


def address(url: str, default_port: int) -> str:
    """Return `host:port` (several, with commas, where the URL names several), to name a server in a message."""
    parts = _split(url)
    if not parts.scheme:
        return ""
    if parts.scheme == "unix":
        return parts.rest.partition("?")[0]
    found = [_ENDPOINT.fullmatch(endpoint) for endpoint in parts.hosts.split(",")]
    return ", ".join(f"{match[1] or 'localhost'}:{match[2] or default_port}" for match in found if match)


def _split(url: str) -> _Parts:
    before, separator, after = url.partition("://")
    if not separator or not _SCHEME.fullmatch(before):
        return _Parts("", False, "", "")
    end = re.search(r"[/?#]|$", after)
    authority = after[: end.start()] if end else after
    user, at, hosts = authority.rpartition("@")
    return _Parts(before.lower(), bool(user or at), hosts, after[len(authority) :])


def _wrong_scheme(scheme: str, example: str) -> str:
    found = f"has the scheme {scheme}://" if scheme else "is not a URL"
    return f"{found}; give one like {example}"


def _authority_fault(parts: _Parts) -> str | None:
    # An unescaped / ? # in a password ends the authority too early: then an @ stands behind it.
    astray = "@" in parts.rest
    endpoints = [_ENDPOINT.fullmatch(endpoint) for endpoint in parts.hosts.split(",")]
    if astray or "#" in parts.rest or not all(endpoints):
        return (
            "cannot be read behind the scheme; write special characters in a password percent-encoded "
            "(@ as %40, / as %2F, : as %3A, ? as %3F, # as %23)"
        )
    if any(match and match[2] and int(match[2]) > _MAX_PORT for match in endpoints):
        return f"has a port above {_MAX_PORT}"
    return None
