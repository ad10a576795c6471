"""Which host a request asks for: its Host line, its target, and what a trusted proxy says.

Nothing here raises, whatever a client sends.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network

from starlette.types import Scope

from tenantcache.lookup.core.hosts import same_name
from tenantcache.web.forwarded import Headers, forwarded_host
from tenantcache.web.peers import Peers

_AUTHORITY = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")


class RequestHost:
    """Reads the Host value that counts. `proxies` are the networks of those whose word counts."""

    def __init__(self, proxies: Sequence[IPv4Network | IPv6Network]) -> None:
        self.is_from_proxy: Callable[[Scope], bool] = Peers(proxies).sent if proxies else lambda _scope: False
        """Whether the peer of a request is one of `proxies`."""

    def read(self, scope: Scope) -> bytes | None:
        """The value, which need not be well-formed; None if the request is to be answered with 400."""
        host = single_host(scope["headers"])
        if host is None or target_conflicts(scope.get("raw_path") or b"", host):
            return None
        if not self.is_from_proxy(scope):
            return host
        forwarded = forwarded_host(scope["headers"])
        return host if forwarded is None else forwarded


def single_host(headers: Headers) -> bytes | None:
    """Return the value of the one Host line; None, for a 400, if it is missing or repeated (RFC 9112 3.2).

    Servers of HTTP/2 and 3 put `:authority` into a Host line, as ASGI asks them to.
    """
    found = None
    for name, value in headers:
        if name == b"host":
            if found is not None:
                return None
            found = value
    return found


def target_conflicts(raw_target: bytes, host: bytes) -> bool:
    """Whether the request target is in absolute-form (`GET http://a/ HTTP/1.1`) and of another host than the Host line.

    RFC 9112 3.2.2 has a server take the target's host, but the application and its logs see the Host line. If the two
    differ, a 400 is the one answer that they cannot disagree about. Ports are not compared, and an address is compared
    as it is spelled (RFC 9112 3.2 wants the two identical). Never raises.
    """
    match = _AUTHORITY.match(raw_target)
    if match is None:
        return False
    return not same_name(match[1], host)
