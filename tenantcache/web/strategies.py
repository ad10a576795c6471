"""How a request names its tenant, if its host does not: by a path prefix, a header, or a function of one's own.

Rules:

* Strategies are asked in order, and the first that names a tenant decides, whether or not there is one of that name. A
  name that leads nowhere is a 404, and never another tenant.
* `Host` names no tenant at the base domain itself, at its reserved labels, and at an IP address. If no other strategy
  names one, the request bypasses tenancy at the base domain and its reserved labels, and is refused elsewhere.
* Each ends in an alias (`id:1`, `subdomain:acme`, `domain:shop.acme.io`, `name:team:acme`), so that caching, freshness
  and limits are the same. What comes over the wire is bounded and checked before it is looked up. It is always the last
  part of the alias, and the other parts are the strategy's. So no name leads to another sort of alias or another kind.
* A strategy is asked once a request. What it finds has a key, which the fast path looks up as it is. Only the slow path
  reads it.
* A header counts only from trusted proxies: any page can make a browser send one, and no page can make it send a Host.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from inspect import isawaitable
from typing import Any, Literal, NamedTuple, Protocol, cast, get_args

from starlette.types import Scope

from tenantcache.errors import ConfigurationError
from tenantcache.lookup.core.alias import id_alias
from tenantcache.lookup.core.hosts import NO_BASE_DOMAINS, HostMatch
from tenantcache.lookup.core.names import alias_of_label, alias_of_name, is_kind
from tenantcache.lookup.fastpath import Key
from tenantcache.settings.model import Settings, variable_of
from tenantcache.settings.strategytext import read_strategy
from tenantcache.tenant import MAX_ID_LENGTH, Tenant

__all__ = ["By", "Finder", "Header", "Host", "PathPrefix"]

By = Literal["subdomain", "slug", "id", "domain"]
"""What a name is: a tenant's subdomain (the label alone), its slug, its id, or one of its domains. Within a kind the
first two are one: a name that is unique there."""

MAX_SEGMENTS = 8

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2
_PREFIX = re.compile(r"/[^/\\\0-\x1f](?:.*[^/])?")  # two slashes would begin a host (RFC 3986 4.2)

UNKNOWN = HostMatch("unknown", under_base=True)
"""It was meant for a tenant of ours, and so is not a foreign host."""

Finder = Callable[[MutableMapping[str, Any]], str | Awaitable[str | None] | None]
"""A strategy of one's own: from a scope to an alias, or None. It may be a coroutine function."""


Found = tuple[Key | None, MutableMapping[str, Any], Callable[[], "Name"]]
"""A name that a request contains: its key, the scope to go on with, and a function that reads it.

The key stands for the name on the fast path, and equal keys read alike in all middlewares. None: slow path only. It is
not a named tuple, because making one takes as long as a tenth of a hot request.
"""


class ReadHost(NamedTuple):
    """The Host value that counts, and what it names."""

    raw: bytes
    match: HostMatch


class Name(NamedTuple):
    """What is named. `at` is the place of the name in the path, if it stands there."""

    match: HostMatch
    at: NameInPath | None = None


class NameInPath(NamedTuple):
    """`name` follows on `start` in the path, which ends in a slash; `strategy` has found it."""

    strategy: PathPrefix
    start: str
    name: str


class Strategy(Protocol):
    """Names a request's tenant, or leaves it to the next strategy (None).

    `start` is called once, with the settings. It raises ConfigurationError if they do not fit. `is_trusted` says
    whether a trusted proxy has sent a scope.
    """

    def start(self, settings: Settings) -> None: ...

    def find(
        self, scope: Scope, host: ReadHost, is_trusted: Callable[[Scope], bool]
    ) -> Found | Awaitable[Found | None] | None: ...


@dataclass(frozen=True, slots=True)
class Host:
    """By the Host line: a subdomain of a base domain, or a custom domain."""

    def start(self, settings: Settings) -> None:
        pass

    def find(self, scope: Scope, host: ReadHost, is_trusted: Callable[[Scope], bool]) -> Found | None:
        return (host.raw, scope, partial(Name, host.match)) if host.match.kind == "alias" else None


@dataclass(frozen=True, slots=True)
class PathPrefix:
    """By what follows on `prefix`: `/t/acme/orders` is `/orders` of the tenant acme.

    The application sees the path as below a mount: `root_path` ends in `/t/acme`, and routes match what follows. With
    `keep=True` they match the whole path. With `kind="team"` the name is one within that kind. `segments` is how many
    make a name: with 2, `/t/acme/sales/orders` is of the tenant `acme/sales`, and `/t/acme` names none.
    """

    prefix: str
    by: By = "subdomain"
    kind: str = ""
    keep: bool = False
    segments: int = 1
    _start: str = field(init=False, repr=False, compare=False)
    _sort: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if _PREFIX.fullmatch(self.prefix) is None:
            raise ConfigurationError(
                f"{self.prefix!r} is not a path prefix; give one like /t: one / at its beginning, none at its end"
            )
        if type(self.segments) is not int or not 1 <= self.segments <= MAX_SEGMENTS:
            raise ConfigurationError(f"segments is {self.segments!r}; give a whole number from 1 to {MAX_SEGMENTS}")
        _check_names(self.by, self.kind)
        object.__setattr__(self, "_start", f"{self.prefix}/")
        object.__setattr__(self, "_sort", f"path:{self.by}:{self.kind}")

    def start(self, settings: Settings) -> None:
        pass

    def find(self, scope: Scope, host: ReadHost, is_trusted: Callable[[Scope], bool]) -> Found | None:
        path, start = scope["path"], scope.get("root_path", "") + self._start
        if not path.startswith(start):
            return None
        name, _, rest = path[len(start) :].partition("/")
        if self.segments > 1:
            parts = [name, *rest.split("/", self.segments - 1)[: self.segments - 1]]
            name = "" if len(parts) < self.segments or "" in parts else "/".join(parts)
        if not name:
            return None
        below = scope if self.keep else {**scope, "root_path": start + name}
        return (self._sort, name), below, partial(self._read, start, name)

    def _read(self, start: str, name: str) -> Name:
        return Name(_named(self.by, self.kind, name), NameInPath(self, start, name))

    def present_name(self, tenant: Tenant) -> str | None:
        """A name that the tenant has now and by which this strategy finds it; None if it has none."""
        present = tenant.present_aliases
        for name in (*tenant.slugs, *tenant.labels, tenant.primary_domain or "", *tenant.domains):
            parts = name.split("/")
            # Browsers take "." and ".." for steps, even if they are percent-encoded (WHATWG URL 4.4).
            fits = len(parts) == self.segments and not {"", ".", ".."} & {*parts}
            if fits and _named(self.by, self.kind, name).alias in present:
                return name
        return None


@dataclass(frozen=True, slots=True)
class Header:
    """By a header that a trusted proxy sets, `TENANTCACHE_TRUSTED_PROXIES`; from any other client it does not count.

    Its value is the name itself, in UTF-8. With `kind="team"` it is a name within that kind.

    With `from_anyone=True` it counts from every client. That is only for an API of which each request proves by itself
    that it may act for the tenant. A cookie proves nothing here: any page of another tenant can have it sent with this
    header.
    """

    name: str
    by: By = "subdomain"
    kind: str = ""
    from_anyone: bool = False
    _line: bytes = field(init=False, repr=False, compare=False)
    _sort: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if _TOKEN.fullmatch(self.name) is None or self.name.lower() in ("host", "forwarded", "x-forwarded-host"):
            raise ConfigurationError(f"header {self.name!r} cannot name a tenant; give a name like x-tenant")
        _check_names(self.by, self.kind)
        object.__setattr__(self, "_line", self.name.lower().encode("ascii"))
        object.__setattr__(self, "_sort", f"header:{self.by}:{self.kind}")

    def start(self, settings: Settings) -> None:
        if not self.from_anyone and not settings.trusted_proxies:
            raise ConfigurationError(
                f"header {self.name!r} would never count: set TENANTCACHE_TRUSTED_PROXIES to the networks of the"
                " proxies that set it"
            )

    def find(self, scope: Scope, host: ReadHost, is_trusted: Callable[[Scope], bool]) -> Found | None:
        line, value, is_single = self._line, None, True
        for name, each in scope["headers"]:
            if name == line:
                is_single, value = value is None, each
        if value is None or not (self.from_anyone or is_trusted(scope)):
            return None
        if not is_single:
            return None, scope, partial(Name, UNKNOWN)  # of two names neither counts
        value = value.strip(b" \t")  # so that a key is no longer than a name
        return (self._sort, value), scope, partial(self._read, value)

    def _read(self, value: bytes) -> Name:
        try:
            return Name(_named(self.by, self.kind, value.decode("utf-8")))
        except UnicodeDecodeError:
            return Name(UNKNOWN)


@dataclass(frozen=True, slots=True)
class Custom:
    """By a function of one's own."""

    function: Finder

    def start(self, settings: Settings) -> None:
        pass

    def find(
        self, scope: Scope, host: ReadHost, is_trusted: Callable[[Scope], bool]
    ) -> Found | Awaitable[Found | None] | None:
        alias = self.function(scope)
        if alias is None or type(alias) is str or not isawaitable(alias):
            return _found(alias, scope)
        return _found_later(alias, scope)


async def _found_later(alias: Awaitable[str | None], scope: Scope) -> Found | None:
    return _found(await alias, scope)


def _found(alias: str | None, scope: Scope) -> Found | None:
    if alias is None:
        return None
    # A subclass of str may compare as it likes.
    key = ("function", alias) if type(alias) is str else None
    return key, scope, partial(_read_alias, alias)


def _read_alias(alias: str) -> Name:
    return Name(match_of(alias))


def match_of(alias: str) -> HostMatch:
    """`alias` as the parser would give it; an unknown one if no tenant can have that name.

    Raises ValueError if it is not an alias at all: only code of one's own returns that.
    """
    by, colon, name = alias.partition(":")
    if by == "name":
        kind, colon, name = name.partition(":")
        if colon:
            return _named("slug", kind, name)
    elif colon and by in _BY_HOST_OR_ID:
        return _named(cast(By, by), "", name)
    raise ValueError(
        f"a strategy returned {alias[:20]!r}...; give id:..., subdomain:..., domain:..., name:(kind):..., or None"
    )


_BY_HOST_OR_ID = ("id", "subdomain", "domain")


def _named(by: By, kind: str, name: str) -> HostMatch:
    """What `name` is the alias of; `kind` has been checked."""
    if by == "id":
        name = f"{kind}:{name}" if kind and name else name
        fits = 0 < len(name) <= MAX_ID_LENGTH and name.isprintable()
        return HostMatch("alias", id_alias(name), True) if fits else UNKNOWN
    if by == "domain":
        found = NO_BASE_DOMAINS.classify(name.encode("utf-8", "replace")) if ":" not in name else UNKNOWN
        return found._replace(under_base=True) if found.kind == "alias" else UNKNOWN
    alias = alias_of_name(name, kind) if kind or by == "slug" else alias_of_label(name)
    return UNKNOWN if alias is None else HostMatch("alias", alias, True)


def _check_names(by: str, kind: str) -> None:
    if by not in get_args(By):
        raise ConfigurationError(f"names are {by!r}; they can be {', '.join(get_args(By))}")
    if kind and not is_kind(kind):
        raise ConfigurationError(f"kind {kind!r} is not possible; a kind is made of a to z, 0 to 9, _ and -")
    if kind and by == "domain":
        raise ConfigurationError(f"kind {kind!r} is given with domains, which are unique among all kinds; leave it out")


def make_strategies(given: Sequence[object] | None, settings: Settings) -> tuple[Strategy, ...]:
    """The strategies `given` to the middleware, else those of the settings, ready to be asked; () for only the host.

    Raises ConfigurationError, with every fault in its text.
    """
    label = variable_of("strategies") if given is None else "strategies"
    faults: list[str] = []
    strategies: list[Strategy] = []
    for one in settings.strategies if given is None else given:
        try:
            strategy = _strategy(one)
            strategy.start(settings)
            strategies.append(strategy)
        except ConfigurationError as fault:
            faults.append(f"{label}: {fault}")
    if not faults and not strategies:
        faults.append(f"{label}: there are none; to go only by the host, leave them out")
    if faults:
        raise ConfigurationError("\n".join(faults))
    return () if strategies == [Host()] else tuple(strategies)


def _strategy(given: object) -> Strategy:
    if isinstance(given, str):
        return _from_text(given)
    if hasattr(given, "find") and hasattr(given, "start"):
        return cast(Strategy, given)
    if callable(given):
        return Custom(given)
    raise ConfigurationError(
        f"{given!r} is not a strategy; give Host(), PathPrefix(...), Header(...) or a function of a scope"
    )


def _from_text(text: str) -> Strategy:
    """`host`, `path:/t` or `header:x-tenant`.

    The last two may end in `:slug`, `:id` or `:domain`, which is what names are, and in options: `,kind=team`, and for
    paths `,keep` and `,segments=2`.
    """
    what, name, by, options = read_strategy(text)
    if what == "host" and not (name or by or options):
        return Host()
    if what not in ("path", "header") or not name or by not in ("", *get_args(By)):
        raise ConfigurationError(
            f"{text!r} is not a strategy; give host, path:/t, header:x-tenant, header:x-tenant-id:id"
        )
    known = {"kind", "keep", "segments"} if what == "path" else {"kind"}
    if unknown := options.keys() - known:
        raise ConfigurationError(f"{text!r} has the unknown option {min(unknown)!r}; {_OPTIONS[what]}")
    kind, segments = options.get("kind", ""), options.get("segments", "1")
    faults = ("kind" in options and not kind, options.get("keep", "") != "", not re.fullmatch("[0-9]{1,2}", segments))
    if any(faults):
        raise ConfigurationError(f"{text!r} has an option without a value, or with a wrong one; {_OPTIONS[what]}")
    found = cast(By, by or "subdomain")
    if what == "header":
        return Header(name, found, kind)
    return PathPrefix(name, found, kind, "keep" in options, int(segments))


_OPTIONS = {"path": "there are kind=team, keep and segments=2", "header": "there is kind=team"}
