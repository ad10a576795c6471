"""Whether a request came over a connection from certain networks: a proxy that may be believed, a front that may ask.

`scope["client"]` is the other end of the connection, unless something in front of us has replaced it by what a header
says: uvicorn does so for X-Forwarded-For by default (`--proxy-headers`, FORWARDED_ALLOW_IPS), and with
FORWARDED_ALLOW_IPS=* whoever writes that header chooses the address. Nothing in the scope says that it happened. But an
address that was taken from a header still stands in that header, so:

* An address that the request itself names counts as claimed, and a claim is never enough.
* The price: a proxy that is asked from its own address is not believed. Who spoofs a header to that end gets
  no more than the Host line that the proxy sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from itertools import islice

from starlette.types import Scope

from tenantcache.core.hosts import Headers

ADDRESS_HEADERS = frozenset(
    {
        b"x-forwarded-for",
        b"forwarded",
        b"x-real-ip",
        b"x-client-ip",
        b"true-client-ip",
        b"cf-connecting-ip",
        b"fastly-client-ip",
        b"fly-client-ip",
    }
)
"""Where servers, their middlewares and platforms take a client's address from."""

MAX_WORDS = 256
"""Words that may be an address and are looked at, some 2 microseconds each. A request with more of them counts as one
that names the address: no chain of proxies is that long."""

MAX_REMEMBERED = 1_024
"""Addresses, and header values, whose meaning is remembered: proxies are few, and their clients ask again and again."""

MAX_REMEMBERED_LENGTH = 128
"""Octets of a header value that is remembered, so that strangers cannot fill the memory with long ones."""

# An address, with a port or without, as it stands in a list, a Forwarded pair, quotes or brackets. What the letters
# of other words leave over is no address and is skipped.
_WORD = re.compile(rb"[0-9A-Fa-f]*[.:][0-9A-Fa-f:.]*")

Address = IPv4Address | IPv6Address


class Peers:
    """The other ends of connections that lie in `networks`."""

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network]) -> None:
        self._networks = tuple(networks)
        self._known = lru_cache(maxsize=MAX_REMEMBERED)(self._find)

    def sent(self, scope: Scope) -> bool:
        """Did one of them send this request, as far as that can be known? Never raises."""
        client = scope.get("client")
        # Port 0, which no connection has, is uvicorn's for an address that it took from a header.
        if not client or client[1] in (0, "0"):
            return False
        address = self._known(client[0])
        return address is not None and not _is_claimed(address, scope["headers"])

    def _find(self, text: str) -> Address | None:
        """The address, where it lies in the networks; None for others, a Unix socket's path, or a name."""
        address = _parse(text)
        return address if address is not None and any(address in network for network in self._networks) else None


def _is_claimed(address: Address, headers: Headers) -> bool:
    for name, value in headers:
        if name in ADDRESS_HEADERS:
            named = _named_in(value) if len(value) <= MAX_REMEMBERED_LENGTH else _read(value)
            if named is None or address in named:
                return True
    return False


def _read(value: bytes) -> frozenset[Address] | None:
    """The addresses in a header's value; None where there are too many words."""
    words = [match[0].decode("ascii") for match in islice(_WORD.finditer(value), MAX_WORDS + 1)]
    if len(words) > MAX_WORDS:
        return None
    # A word's last colon may part a port from it.
    found = [_parse(part) for word in words for part in (word, word.rpartition(":")[0]) if part]
    return frozenset(address for address in found if address is not None)


_named_in = lru_cache(maxsize=MAX_REMEMBERED)(_read)


def _parse(text: str) -> Address | None:
    try:
        # Without its zone (RFC 4007 11): that would make two of one address.
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # How a socket for both families shows an IPv4 address.
    return getattr(address, "ipv4_mapped", None) or address
