"""What may be said about a connection URL, and what is wrong with one. Never a word of what stands before the `@`.

The parts are cut out by hand: `urllib.parse` puts pieces of a password with odd characters into its exceptions.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from urllib.parse import quote, unquote, unquote_plus

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}")
ENDPOINT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.%-]*)(?::([0-9]{0,5}))?")
_OPTION = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,62}")
_MAX_PORT = 65_535
POSTGRES_PORT, REDIS_PORT = 5432, 6379

YES, NO = ("true", "1", "on", "yes"), ("false", "0", "off", "no")
"""What libpq and redis-py take for a boolean option."""


class UrlParts(NamedTuple):
    """`user` is what stands before the `@`, as it is written; `rest` begins with the path."""

    scheme: str
    user: str
    has_user: bool
    hosts: str
    rest: str


def mask(url: str) -> str:
    """Return `url` with all before the `@` hidden, and without its query, which may hold a password as well."""
    parts = split(url)
    if not parts.scheme or authority_fault(parts):
        return "(hidden: not a valid URL)"
    user = "***@" if parts.has_user else ""
    return f"{parts.scheme}://{user}{parts.hosts}{parts.rest.partition('?')[0]}"


def address(url: str, default_port: int) -> str:
    """Return `host:port` (several, with commas, if the URL names several), to name a server in a message."""
    parts = split(url)
    if not parts.scheme:
        return ""
    if parts.scheme == "unix":
        return parts.rest.partition("?")[0]
    found = [ENDPOINT.fullmatch(endpoint) for endpoint in parts.hosts.split(",")]
    return ", ".join(_endpoint(match, default_port) for match in found if match)


def _endpoint(match: re.Match[str], default_port: int) -> str:
    host = unquote(match[1])  # a socket's directory is written as %2Frun
    return host if host.startswith("/") else f"{match[1] or 'localhost'}:{match[2] or default_port}"


def split(url: str) -> UrlParts:
    before, separator, after = url.partition("://")
    if not separator or not _SCHEME.fullmatch(before):
        return UrlParts("", "", False, "", "")
    end = re.search(r"[/?#]|$", after)
    authority = after[: end.start()] if end else after
    user, at, hosts = authority.rpartition("@")
    return UrlParts(before.lower(), user, bool(user or at), hosts, after[len(authority) :])


def wrong_scheme(scheme: str, example: str) -> str:
    found = f"has the scheme {scheme}://" if scheme else "is not a URL"
    return f"{found}; give one like {example}"


def authority_fault(parts: UrlParts) -> str | None:
    # An unescaped / ? # in a password ends the authority too early: then an @ stands behind it.
    astray = "@" in parts.rest
    endpoints = [ENDPOINT.fullmatch(endpoint) for endpoint in parts.hosts.split(",")]
    if astray or "#" in parts.rest or not all(endpoints):
        return (
            "cannot be read behind the scheme; write special characters in a password percent-encoded "
            "(@ as %40, / as %2F, : as %3A, ? as %3F, # as %23)"
        )
    if not all(match and _is_name(match[1]) for match in endpoints):
        return "has a host that is not a name; give one like db.example.com"
    if any(match and match[2] and int(match[2]) > _MAX_PORT for match in endpoints):
        return f"has a port above {_MAX_PORT}"
    return None


def _is_name(host: str) -> bool:
    """Whether it can be looked up at all: an empty label, or one of more than 63 letters, is an error of its own."""
    labels = host.removesuffix(".").split(".")
    return "%" in host or host[:1] in ("", "[") or all(0 < len(label) < 64 for label in labels)


def encoded_user(parts: UrlParts) -> str:
    """What stands before the `@`, with it, so encoded that every parser of URLs cuts it as `split` did."""
    if not parts.has_user:
        return ""
    user, colon, password = parts.user.partition(":")
    return _encode(user) + (colon and ":" + _encode(password)) + "@"


def _encode(text: str) -> str:
    return quote(unquote(text), safe="!$&'()*+,;=~")


def read_options(parts: UrlParts) -> list[tuple[str, str]]:
    """The options behind the `?`, in order; those without a value are left out. Raises ValueError without a value."""
    options = []
    for piece in filter(None, parts.rest.partition("?")[2].split("&")):
        name, equals, value = piece.partition("=")
        if not equals or not _OPTION.fullmatch(name):
            raise ValueError("has something behind the ? that is not an option; give name=value, with & between them")
        if value:
            options.append((name, unquote_plus(value)))
    return options


def with_options(scheme: str, parts: UrlParts, hosts: str, options: Sequence[tuple[str, str]]) -> str:
    """Put a URL together again. Its query stays as it is written if `options` are the same."""
    path, _, query = parts.rest.partition("?")
    if list(options) != read_options(parts) or not options:
        query = "&".join(f"{name}={quote(value, safe='/,:')}" for name, value in options)
    return f"{scheme}://{encoded_user(parts)}{hosts}{path}{query and '?' + query}"


def unknown_option(name: str, known: Iterable[str]) -> str:
    """Say that an option is not known, and which one may be meant."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}?" if close else "leave it out, or see docs/settings.md for those that are known"
    return f"has the unknown option {name}; {hint}"


def unreadable(name: str, path: str) -> str | None:
    """Say that the file which an option names cannot be read; None if it can."""
    return None if os.access(path, os.R_OK) else f"names {path} as {name}, which is not a file that can be read"
