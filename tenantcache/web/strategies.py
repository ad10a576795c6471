"""How a request names its tenant, where its host does not: by a path prefix, a header, or a function of one's own.

Rules:

* Strategies are asked in order, and the first that names a tenant decides. Whether there is one of that name is not
  asked before: a name that leads nowhere is a 404, and never another tenant.
* `Host` names none at the base domain itself and at its reserved labels, nor at an IP address. Where no strategy names
  a tenant, its word holds: the request bypasses tenancy there, and is refused elsewhere.
* Each ends in an alias (`id:1`, `subdomain:acme`, `domain:shop.acme.io`), so that caching, freshness and limits are the
  same. What comes over the wire is bounded and checked before it is looked up.
* A header is believed from trusted proxies alone: any page can make a browser send one, and no page a Host.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from inspect import isawaitable
from typing import Literal, NamedTuple, Protocol, cast

from starlette.types import Scope

from tenantcache.core.hosts import HostMatch, HostRules
from tenantcache.core.tenant import DOMAIN_ALIAS, ID_ALIAS, MAX_ID_LENGTH, SUBDOMAIN_ALIAS
from tenantcache.errors import ConfigurationError
from tenantcache.settings import Settings, variable_of

Kind = Literal["id", "subdomain", "domain"]
"""What a name is: a tenant's id, its subdomain (the label alone), or one of its domains."""

PREFIX_OF: dict[Kind, str] = {"id": ID_ALIAS, "subdomain": SUBDOMAIN_ALIAS, "domain": DOMAIN_ALIAS}

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2

UNKNOWN = HostMatch("unknown", under_base=True)
"""Named for one of ours, and so no foreign host."""


Finder = Callable[[Scope], str | Awaitable[str | None] | None]
"""A strategy of one's own: from a scope to an alias, or None. It may be a coroutine function."""


class Request(NamedTuple):
    """What a strategy is asked about: the scope, what the host names, and whether the peer is a trusted proxy."""

    scope: Scope
    host: HostMatch
    is_trusted: Callable[[], bool]


class Found(NamedTuple):
    """What was named, and the scope to go on with."""

    match: HostMatch
    scope: Scope


class Strategy(Protocol):
    """Names a request's tenant, or leaves it to the next strategy (None). `start` is called once, with the settings;
    it raises ConfigurationError where they do not fit."""

    def start(self, settings: Settings) -> None: ...

    async def find(self, request: Request) -> Found | None: ...


@dataclass(frozen=True, slots=True)
class Host:
    """By the Host line: a subdomain of a base domain, or a custom domain."""

    def start(self, settings: Settings) -> None:
        pass

    async def find(self, request: Request) -> Found | None:
        return Found(request.host, request.scope) if request.host.kind == "alias" else None


@dataclass(frozen=True, slots=True)
class PathPrefix:
    """By the segment after `prefix`: `/t/acme/orders` is `/orders` of the tenant acme.

    The application sees the path as below a mount: `root_path` ends in `/t/acme`, and routes match what follows.
    """

    prefix: str
    kind: Kind = "subdomain"

    def __post_init__(self) -> None:
        if not self.prefix.startswith("/") or self.prefix.endswith("/"):
            raise ConfigurationError(f"path prefix {self.prefix!r} is none; give one like /t, without a / at its end")

    def start(self, settings: Settings) -> None:
        pass

    async def find(self, request: Request) -> Found | None:
        scope = request.scope
        root, path = scope.get("root_path", ""), scope["path"]
        start = root + self.prefix + "/"
        if not path.startswith(start):
            return None
        name = path[len(start) :].partition("/")[0]
        if not name:
            return None
        return Found(match_of(PREFIX_OF[self.kind] + name), {**scope, "root_path": start + name})


@dataclass(frozen=True, slots=True)
class Header:
    """By a header that a trusted proxy sets, `TENANTCACHE_TRUSTED_PROXIES`; from anybody else it does not count.

    `from_anyone=True` believes every client. Only for an API whose every request proves by itself that it may act for
    the tenant: a cookie proves nothing here, since any page of another tenant can have it sent with this header.
    """

    name: str
    kind: Kind = "subdomain"
    from_anyone: bool = False

    def __post_init__(self) -> None:
        if _TOKEN.fullmatch(self.name) is None or self.name.lower() in ("host", "forwarded", "x-forwarded-host"):
            raise ConfigurationError(f"header {self.name!r} cannot name a tenant; give a name like x-tenant")

    def start(self, settings: Settings) -> None:
        if not self.from_anyone and not settings.trusted_proxies:
            raise ConfigurationError(
                f"header {self.name!r} would never count: set TENANTCACHE_TRUSTED_PROXIES to the networks of the"
                " proxies that set it"
            )

    async def find(self, request: Request) -> Found | None:
        wanted = self.name.lower().encode("ascii")
        values = [value for name, value in request.scope["headers"] if name == wanted]
        if not values or not (self.from_anyone or request.is_trusted()):
            return None
        if len(values) > 1:
            return Found(UNKNOWN, request.scope)  # two names are none
        return Found(match_of(PREFIX_OF[self.kind] + values[0].decode("latin-1").strip(" \t")), request.scope)


@dataclass(frozen=True, slots=True)
class Custom:
    """By a function of one's own."""

    function: Finder

    def start(self, settings: Settings) -> None:
        pass

    async def find(self, request: Request) -> Found | None:
        alias = self.function(request.scope)
        if isawaitable(alias):
            alias = await alias
        return None if alias is None else Found(match_of(alias), request.scope)


def match_of(alias: str) -> HostMatch:
    """`alias` as the parser would give it; an unknown one where no tenant can have that name.

    Raises ValueError for what is no alias at all: only code of one's own returns that.
    """
    kind, colon, name = alias.partition(":")
    if not colon or kind not in PREFIX_OF:
        raise ValueError(f"a strategy returned {alias[:20]!r}...; give id:..., subdomain:... or domain:..., or None")
    if kind == "id":
        fits = 0 < len(name) <= MAX_ID_LENGTH and name.isprintable()
        return HostMatch("alias", alias, True) if fits else UNKNOWN
    if kind == "subdomain":
        label = name.lower()
        fits = label.isascii() and _LABEL.fullmatch(label) is not None
        return HostMatch("alias", SUBDOMAIN_ALIAS + label, True) if fits else UNKNOWN
    found = _NO_BASE.classify(name.encode("utf-8", "replace")) if ":" not in name else UNKNOWN
    return found._replace(under_base=True) if found.kind == "alias" else UNKNOWN


_NO_BASE = HostRules(())


def make_strategies(given: Sequence[object] | None, settings: Settings) -> tuple[Strategy, ...]:
    """The strategies `given` to the middleware, else those of the settings, ready to be asked; () for the host alone.

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
        faults.append(f"{label}: there are none; leave them out for the host alone")
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
    raise ConfigurationError(f"{given!r} is none; give Host(), PathPrefix(...), Header(...) or a function of a scope")


def _from_text(text: str) -> Strategy:
    """`host`, `path:/t`, `header:x-tenant`; the last two with `:id` or `:domain` for names that are those."""
    what, _, rest = text.partition(":")
    name, _, kind = rest.partition(":")
    if what == "host" and not rest:
        return Host()
    if what in ("path", "header") and name and kind in ("", *PREFIX_OF):
        known = cast(Kind, kind or "subdomain")
        return PathPrefix(name, known) if what == "path" else Header(name, known)
    raise ConfigurationError(f"{text!r} is none; give host, path:/t, header:x-tenant, header:x-tenant-id:id")
