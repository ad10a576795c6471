"""A Redis URL in the environment of a program that is recorded: the server behind it, and the URL of a proxy instead.

The program may use any client, so that options of others than redis-py stand in it as they are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from redis.asyncio import ConnectionPool

from tenantcache.budget.recorder import LOOPBACK, Upstream
from tenantcache.errors import ConfigurationError
from tenantcache.settings.redisurl import EXAMPLE, HONOURED, SCHEMES, redis_url
from tenantcache.settings.urls import REDIS_PORT, UrlParts, address, encoded_user, split, with_options, wrong_scheme

DEFAULT_NAMES = ("TENANTCACHE_REDIS_URL", "REDIS_URL")
_DIALECTS = ("async+", "")
"""What libraries put before a scheme: `limits` has async+redis://."""
_OTHER_SCHEMES = {"redis+socket": "unix", "redis+unix": "unix", "valkey+unix": "unix"}
_DATABASE_OPTIONS = ("db", "virtual_host")


@dataclass(frozen=True, slots=True)
class RecordedUrl:
    """`name` is the variable, `url` how redis-py reaches the server, `address` how to call it."""

    name: str
    url: str
    address: str
    _parts: UrlParts
    _dialect: str

    @classmethod
    def read(cls, name: str, value: str) -> RecordedUrl:
        """Raises ConfigurationError, which never holds a password."""
        parts = split(value)
        dialect = next(prefix for prefix in _DIALECTS if parts.scheme.startswith(prefix))
        scheme = parts.scheme.removeprefix(dialect)
        scheme = _OTHER_SCHEMES.get(scheme, scheme)
        try:
            if scheme not in SCHEMES:
                raise ValueError(wrong_scheme(parts.scheme, EXAMPLE))
            known = [(option, text) for option, text in _options(parts) if option in HONOURED]
            url = redis_url(with_options(scheme, parts, parts.hosts, known))
        except ValueError as error:
            raise ConfigurationError("\n".join(f"{name} {line}" for line in str(error).splitlines())) from None
        return cls(name, url, address(url, REDIS_PORT), parts, dialect)

    @property
    def has_user(self) -> bool:
        """Whether it holds a user or password."""
        return self._parts.has_user

    def upstream(self) -> Upstream:
        """The server, with the TLS that redis-py would use."""
        pool: Any = ConnectionPool.from_url(self.url)  # its methods have no types
        connection = pool.make_connection()
        if path := getattr(connection, "path", ""):
            return Upstream(path=path)
        tls = getattr(connection, "ssl_context", None)
        return Upstream(connection.host, connection.port, tls=tls and tls.get())

    def at(self, port: int) -> str:
        """The URL that the program gets: the same user, password, database and options, at a port without TLS."""
        path, _, query = self._parts.rest.partition("?")
        options = [piece for piece in query.split("&") if piece and not _is_of_tls(piece)]
        if self.url.startswith("unix:"):
            given = dict(_options(self._parts))
            path = "/" + next((given[name] for name in _DATABASE_OPTIONS if name in given), "0")
            options = [piece for piece in options if piece.partition("=")[0] not in _DATABASE_OPTIONS]
        rest = path + ("?" + "&".join(options) if options else "")
        scheme = "valkey" if "valkey" in self._parts.scheme else "redis"
        return f"{self._dialect}{scheme}://{encoded_user(self._parts)}{LOOPBACK}:{port}{rest}"


def _options(parts: UrlParts) -> list[tuple[str, str]]:
    pieces = (piece.partition("=") for piece in parts.rest.partition("?")[2].split("&"))
    return [(name, unquote_plus(value)) for name, _, value in pieces if name and value]


def _is_of_tls(piece: str) -> bool:
    name = piece.partition("=")[0]
    return name == "ssl" or name.startswith("ssl_") or name in ("tls", "rejectUnauthorized")


def find_urls(names: Sequence[str], url: str | None, environ: Mapping[str, str] | None = None) -> list[RecordedUrl]:
    """The variables to replace, each with its server: `url`, or what they say. Raises ConfigurationError."""
    environ = os.environ if environ is None else environ
    given = {name: url or environ.get(name, "").strip() for name in names or DEFAULT_NAMES}
    if missing := [name for name in names if not given[name]]:
        raise ConfigurationError(f"{', '.join(missing)} is not set; set it to the URL of a Redis, or give --redis-url")
    if not any(given.values()):
        raise ConfigurationError(
            f"there is no Redis to record; set {' or '.join(DEFAULT_NAMES)}, name your variable with --env, "
            "or give --redis-url"
        )
    return [RecordedUrl.read(name, value) for name, value in given.items() if value]
