"""Answers a TLS front that asks before it gets a certificate for a name (Caddy's `on_demand_tls { ask }`).

    GET /ask?domain=shop.acme.io      200: get one; anything else: do not

Without it, anyone who points a name at the front makes it ask its certificate authority. In the end the authority
refuses all of our names. Rules:

* 200 only for domains that are proven and have an active tenant. A name is never repeated in an answer.
* Names that cannot be a tenant's are answered without I/O. Most unknown ones are ruled out in memory.
* 503 if the answer is not known: the front asks again, and a "no" would be a lie.
* Only the front may ask, by the address of its connection. What came through a proxy is another client's question: the
  front sends it on as any request, and from the same address.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from urllib.parse import parse_qsl

from starlette.types import Message, Receive, Scope, Send

from tenantcache.engine import TenantCache
from tenantcache.errors import ConfigurationError, StoreUnavailableError
from tenantcache.lookup.core.alias import is_domain
from tenantcache.lookup.core.hosts import HostMatch
from tenantcache.web.lifespan import answer, live
from tenantcache.web.peers import Peers
from tenantcache.web.problems import Problem

__all__ = ["AskApp"]

LOOPBACK = ("127.0.0.0/8", "::1/128")

MAX_QUERY_LENGTH = 1_024
"""Octets of a query that is looked at: a name of 253, percent-encoded whole, is 759."""

# Set by proxies on what they pass on, and by Caddy, not on what it asks by itself.
PROXY_HEADERS = frozenset({b"x-forwarded-for", b"forwarded", b"via"})

NOT_SERVED = Problem(404, "Not Found", "This name is not served here.")
NOT_ALLOWED = Problem(403, "Forbidden", "Only the TLS front may ask.")
WRONG_QUERY = Problem(400, "Bad Request", "Give exactly one name, as ?domain=")
WRONG_METHOD = Problem(405, "Method Not Allowed", "Ask with GET or HEAD.", headers=((b"allow", b"GET, HEAD"),))


class AskApp:
    """An ASGI application, to be mounted on a path that bypasses tenancy, or to be served by itself.

    `callers` are the networks (CIDR) that may ask. `subdomains` is for fronts without a wildcard certificate: the
    subdomains of active tenants count as well. Raises ConfigurationError if `callers` are not networks.
    """

    def __init__(
        self, cache: TenantCache, *, callers: Iterable[str] | str = LOOPBACK, subdomains: bool = False
    ) -> None:
        self._cache = cache
        self._callers = Peers(_networks(callers))
        self._subdomains = subdomains

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await live(self._cache, answer, scope, receive, send)
        elif scope["type"] == "http":
            problem = await self._refusal(scope)
            await (_say_yes(send) if problem is None else problem(scope, receive, send))
        else:
            await NOT_SERVED(scope, receive, send)

    async def _refusal(self, scope: Scope) -> Problem | None:
        if not self._may_ask(scope):
            return NOT_ALLOWED
        if scope["method"] not in ("GET", "HEAD"):
            return WRONG_METHOD
        name = _asked_name(scope["query_string"])
        if name is None:
            return WRONG_QUERY
        match = self._cache.hosts.classify(name)
        if not self._may_be_served(name, match):
            return NOT_SERVED
        return await self._look_up(match)

    def _may_be_served(self, name: bytes, match: HostMatch) -> bool:
        # The parser takes a port, and a name has none. A domain that can be registered has two labels or more.
        if match.alias is None or b":" in name or b"." not in name.removesuffix(b"."):
            return False
        return self._subdomains or is_domain(match.alias)

    async def _look_up(self, match: HostMatch) -> Problem | None:
        try:
            if not self._cache.is_open:
                await self._cache.open()
            tenant = (await self._cache.find(match)).tenant
        except StoreUnavailableError as error:
            detail = "The name cannot be looked up at the moment."
            return Problem(503, "Service Unavailable", detail, retry_after=error.retry_after)
        return None if tenant is not None and tenant.status == "active" else NOT_SERVED

    def _may_ask(self, scope: Scope) -> bool:
        if any(name in PROXY_HEADERS for name, _ in scope["headers"]):
            return False
        return self._callers.sent(scope)


def _asked_name(query: bytes) -> bytes | None:
    """The one value of `domain`; None if there is not exactly one."""
    if len(query) > MAX_QUERY_LENGTH:
        return None
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="surrogateescape")
    except ValueError:
        return None
    names = [value for key, value in pairs if key == "domain"]
    return names[0].encode("utf-8", "surrogateescape") if len(names) == 1 else None


async def _say_yes(send: Send) -> None:
    headers = [(b"content-length", b"0"), (b"cache-control", b"no-store")]
    start: Message = {"type": "http.response.start", "status": 200, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": b""})


def _networks(callers: Iterable[str] | str) -> tuple[IPv4Network | IPv6Network, ...]:
    if isinstance(callers, str):
        raise ConfigurationError(f"callers is the text {callers!r}; give a list of networks, like ['10.0.0.0/8']")
    networks = []
    for caller in callers:
        try:
            networks.append(ip_network(caller))
        except ValueError as error:
            raise ConfigurationError(f"callers: {error}; give networks (CIDR) like 10.0.0.0/8, ::1/128") from None
    return tuple(networks)
