"""Whether a request came over a connection from certain networks: a proxy that may be believed, a front that may ask.

`scope["client"]` is the other end of the connection, unless a server or middleware has replaced it by what a header
says. uvicorn does so for X-Forwarded-For by default (`--proxy-headers`, FORWARDED_ALLOW_IPS). With
FORWARDED_ALLOW_IPS=* the client that writes that header chooses the address. Nothing in the scope says that it
happened. But an address that was taken from a header still stands in that header, so:

* An address that the request itself names counts as claimed, and a claim is never enough.
* A request with more of such headers than any chain of proxies writes counts as one that names the address. What is
  looked at is bounded for all of its lines together, and each look is linear in it.
* The price: a proxy that is asked from its own address is not believed. A client that spoofs a header to that end
  gets no more than the Host line that the proxy sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address
from socket import AF_INET, AF_INET6, inet_pton
from typing import NamedTuple

from starlette.types import Scope

from tenantcache.web.forwarded import FORWARDED_HEADERS, Headers, forwarded_lines

ADDRESS_HEADERS = FORWARDED_HEADERS - {b"x-forwarded-host"}
"""From these, servers, their middlewares and platforms take a client's address."""

MAX_EFFORT = 512
"""For all lines of a request: 1 for each word, WORD_EFFORT more for each different one that may be an address. A hop
of Forwarded takes some 20, one of X-Forwarded-For 7, and a chain of proxies has ten at most."""

WORD_EFFORT = 6
"""Such a word takes some 2 microseconds, another one 0.2."""

MAX_ADDRESS_LENGTH = 64
"""Characters of a client's address: 45, and room for a zone. What a server puts there may come from a header."""

MAX_REMEMBERED = 1_024
"""Addresses, and header values, whose meaning is remembered: proxies are few, and their clients ask again and again."""

MAX_REMEMBERED_LENGTH = 128
"""Octets of a header value that is remembered, so that clients cannot fill the memory with long ones."""

# Leaves of a list, a Forwarded pair, quotes or brackets the octets that an address, with a port or without, is made of.
# What the letters of other words leave over is not an address. A regular expression for this was quadratic.
_WORDS_ALONE = bytes(octet if octet in b"0123456789ABCDEFabcdef:." else ord(" ") for octet in range(256))

_MAPPED = bytes(10) + b"\xff\xff"
"""How a socket for both families shows an IPv4 address (RFC 4291 2.5.5.2)."""

Address = bytes
"""4 octets or 16."""


class _Named(NamedTuple):
    """The addresses in a header's value, and what it took to find them, see MAX_EFFORT."""

    effort: int
    addresses: frozenset[Address]


class Peers:
    """The other ends of connections that lie in `networks`."""

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network]) -> None:
        self._networks = tuple(networks)
        self._known = lru_cache(maxsize=MAX_REMEMBERED)(self._find)

    def sent(self, scope: Scope) -> bool:
        """Whether one of them sent this request, as far as that can be known. Never raises."""
        client = scope.get("client")
        # Port 0, which no connection has, is uvicorn's for an address that it took from a header.
        if not client or client[1] in (0, "0") or len(client[0]) > MAX_ADDRESS_LENGTH:
            return False
        address = self._known(client[0])
        return address is not None and not _is_claimed(address, scope["headers"])

    def _find(self, text: str) -> Address | None:
        """The address, if it lies in the networks; None for others, a Unix socket's path, or a name."""
        # Without its zone (RFC 4007 11): that would make two of one address.
        packed = _parse(text.partition("%")[0])
        if packed is None:
            return None
        address = ip_address(packed)
        return packed if any(address in network for network in self._networks) else None


def _is_claimed(address: Address, headers: Headers) -> bool:
    lines = forwarded_lines(headers)
    if lines is None:
        return True
    effort = 0
    for name, value in lines:
        if name in ADDRESS_HEADERS:
            named = _named_in(value) if len(value) <= MAX_REMEMBERED_LENGTH else _read(value)
            effort += named.effort
            if effort > MAX_EFFORT or address in named.addresses:
                return True
    return False


def _read(value: bytes) -> _Named:
    """What a header's value names; no address if that takes too much."""
    words = value.translate(_WORDS_ALONE).split()
    effort = len(words)
    if effort > MAX_EFFORT:
        return _Named(effort, frozenset())
    likely = {word for word in words if b"." in word or b":" in word}
    effort += WORD_EFFORT * len(likely)
    if effort > MAX_EFFORT:
        return _Named(effort, frozenset())
    # A word's last colon may part a port from it.
    parts = [part for word in likely for part in (word, word.rpartition(b":")[0]) if part]
    found = [_parse(part.decode("ascii")) for part in parts]
    return _Named(effort, frozenset(address for address in found if address is not None))


_named_in = lru_cache(maxsize=MAX_REMEMBERED)(_read)


def _parse(text: str) -> Address | None:
    # `ip_address` takes ten times as long, 20 microseconds and more for one of version 6.
    try:
        return inet_pton(AF_INET6 if ":" in text else AF_INET, text).removeprefix(_MAPPED)
    except (OSError, ValueError):
        return None
