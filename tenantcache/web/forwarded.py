"""What proxies say of a request: X-Forwarded-Host, Forwarded, and the headers that name a client's address.

Rules:

* Only a trusted peer's word counts, and that is for the caller to know (`peers.py`).
* All these lines of a request share one budget: a bound on each line would bound nothing on a request of many lines.
* Nothing here raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tenantcache.lookup.core.hosts import same_name

Headers = Iterable[tuple[bytes, bytes]]
"""Header lines as ASGI has them: names in lower case."""


FORWARDED_HEADERS = frozenset(
    {
        b"x-forwarded-host",
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
"""What proxies, servers and platforms say of a request's host and client."""

# A chain of ten proxies is a long one. A hop takes about 100 octets of Forwarded, in four pairs, and 40 of
# X-Forwarded-For.
MAX_FORWARDED_LINES = 32
MAX_FORWARDED_LENGTH = 4_096
MAX_FORWARDED_PAIRS = 128
"""Counted by "," and ";", each of which costs a match and perhaps a dict, some 2 microseconds."""

# One forwarded-pair of RFC 7239 4, or nothing, and what ends it. The grammar has no space around ";", but proxies
# write it; RFC 9110 5.6.1 allows it around ",".
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_QUOTED = rb'"((?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*)"'
_FORWARDED_PAIR = re.compile(rb"[ \t]*+(?:(%b)=(?:(%b)|%b))?[ \t]*+(;|,|\Z)" % (_TOKEN, _TOKEN, _QUOTED))
_QUOTED_OCTET = re.compile(rb"\\?(.)", re.DOTALL)


def forwarded_lines(headers: Headers) -> list[tuple[bytes, bytes]] | None:
    """Return the lines that proxies write, or None if they are more, or longer, than a chain of proxies makes them."""
    lines = [line for line in headers if line[0] in FORWARDED_HEADERS]
    if len(lines) > MAX_FORWARDED_LINES or sum([len(value) for _, value in lines]) > MAX_FORWARDED_LENGTH:
        return None
    return lines


def forwarded_host(headers: Headers) -> bytes | None:
    """Return the host that the nearest proxy says was asked for, or None if it says nothing.

    Only for requests from a trusted peer. Of X-Forwarded-Host the last value counts, and of Forwarded (RFC 7239) the
    last element. These are the peer's own, and those before may come from the client. A peer that writes one of the two
    headers may pass on the client's own of the other kind. The two cannot be told apart. So if they disagree, and
    if one is ill-formed or there is too much of them, b"" is returned: `classify` calls that malformed.
    """
    last_x_forwarded = None
    forwarded = []
    lines = forwarded_lines(headers)
    if lines is None:
        return b""
    for name, value in lines:
        if name == b"x-forwarded-host":
            last_x_forwarded = value
        elif name == b"forwarded":
            forwarded.append(value)
    by_rfc = _nearest_forwarded(forwarded)
    if last_x_forwarded is None:
        return by_rfc
    by_custom = last_x_forwarded.rpartition(b",")[2].strip(b" \t")
    return by_custom if by_rfc is None or same_name(by_rfc, by_custom) else b""


def _nearest_forwarded(lines: Sequence[bytes]) -> bytes | None:
    """The host in the last element of Forwarded; b"" if a line is ill-formed."""
    if sum([line.count(b",") + line.count(b";") + 1 for line in lines]) > MAX_FORWARDED_PAIRS:
        return b""
    nearest: dict[bytes, bytes] = {}
    for line in lines:
        # Each line is a list in itself. If they were joined, an open quote in the client's would swallow the proxy's.
        elements = _forwarded_elements(line)
        if not elements:
            return b""
        nearest = elements[-1]
    return nearest.get(b"host")


def _forwarded_elements(line: bytes) -> list[dict[bytes, bytes]]:
    """Return the elements of a Forwarded line, names in lower case, empty ones left out; [] if it is ill-formed."""
    elements: list[dict[bytes, bytes]] = [{}]
    end, separator = 0, b","
    while separator:
        pair = _FORWARDED_PAIR.match(line, end)
        if pair is None:
            return []
        name, token, quoted, separator = pair.groups()
        end = pair.end()
        if name is not None:
            if name.lower() in elements[-1]:  # "MUST NOT occur more than once per field-value", RFC 7239 4
                return []
            elements[-1][name.lower()] = _unquoted(quoted) if token is None else token
        if separator == b",":
            elements.append({})
    return [element for element in elements if element]


def _unquoted(text: bytes) -> bytes:
    """The text of a quoted-string (RFC 9110 5.6.4) without its quotes."""
    return b"".join(_QUOTED_OCTET.findall(text)) if b"\\" in text else text
