"""Whose word counts: addresses that are seen against addresses that are claimed."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from granian.utils.proxies import wrap_asgi_with_proxy_headers
from hypercorn.middleware import ProxyFixMiddleware
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from tenantcache.web.peers import ADDRESS_HEADERS, Peers, _parse
from tests.asgi import http_scope

PEERS = Peers([ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"), ip_network("127.0.0.1")])


def seen(client: Any, *headers: tuple[bytes, bytes]) -> bool:
    return PEERS.sent(http_scope(client=client, headers=headers))


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (("10.1.2.3", 5000), True),
        (("2001:db8::1", 5000), True),
        (("2001:DB8:0::1", 5000), True),
        (("2001:db8::1%eth0", 5000), True),
        (("::ffff:10.1.2.3", 5000), True),
        (["10.1.2.3", "5000"], True),
        (("11.1.2.3", 5000), False),
        (("::1", 5000), False),
        (("10.1.2.3", 0), False),
        (("10.1.2.3", "0"), False),
        (("10.1.2.3:80", 5000), False),
        (("", 0), False),
        (("unix:/run/app", 5000), False),
        (("testclient", 5000), False),
        ((), False),
        (None, False),
    ],
)
def test_an_address(client: Any, expected: bool) -> None:
    assert seen(client) is expected


@pytest.mark.parametrize(
    "value",
    [
        b"10.1.2.3",
        b"203.0.113.7, 10.1.2.3",
        b"10.1.2.3,203.0.113.7",
        b"10.1.2.3:4711",
        b"::ffff:10.1.2.3",
        b"[::ffff:10.1.2.3]:80",
        b'for="10.1.2.3:80";proto=https;by=203.0.113.7',
        b"for=203.0.113.7;by=10.1.2.3",
        b" 10.1.2.3 ",
    ],
)
def test_an_address_that_a_header_names_as_well_is_a_claim(value: bytes) -> None:
    for name in ADDRESS_HEADERS:
        assert not seen(("10.1.2.3", 5000), (name, value)), "the server may have taken it from there"


@pytest.mark.parametrize(
    "value", [b"2001:db8::1", b"2001:DB8:0:0::1", b'for="[2001:db8::1]:4711"', b"[2001:db8::1%z]:80"]
)
def test_an_address_of_version_6_however_it_is_spelt(value: bytes) -> None:
    assert not seen(("2001:db8::1", 5000), (b"x-forwarded-for", value))
    assert not seen(("2001:db8::1%25", 5000), (b"x-forwarded-for", value)), (
        "a zone (RFC 4007 11) makes no other address"
    )
    assert seen(("2001:db8::2", 5000), (b"x-forwarded-for", value))


@pytest.mark.parametrize(
    "value",
    [
        b"203.0.113.7",
        b"10.1.2.30",
        b"110.1.2.3",
        b"10.1.2.3.example.com",
        b"unknown, _hidden",
        b"",
        b"\xff10.1.2.4",
        b"::",
    ],
)
def test_others_addresses_are_no_claim(value: bytes) -> None:
    assert seen(("10.1.2.3", 5000), (b"x-forwarded-for", value))


REWRITERS: dict[str, Callable[[Any], Any]] = {
    "uvicorn, from anybody": lambda app: ProxyHeadersMiddleware(app, "*"),
    "uvicorn, from the proxy": lambda app: ProxyHeadersMiddleware(app, ["10.1.2.3"]),
    "granian, from anybody": lambda app: wrap_asgi_with_proxy_headers(app, "*"),
    "hypercorn, X-Forwarded-For": lambda app: ProxyFixMiddleware(app, "legacy"),
    "hypercorn, Forwarded": lambda app: ProxyFixMiddleware(app, "modern"),
}


@pytest.mark.parametrize("name", REWRITERS)
@pytest.mark.parametrize("claimed", ["10.1.2.3", "10.9.9.9", "127.0.0.1", "203.0.113.7"])
async def test_what_servers_take_from_a_header_is_no_peer(name: str, claimed: str) -> None:
    told: list[bool] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["client"][0] == claimed, "the server has believed it"
        told.append(PEERS.sent(scope))

    headers = [(b"x-forwarded-for", claimed.encode()), (b"forwarded", f"for={claimed}".encode())]
    scope = http_scope(client=("10.1.2.3", 5000), headers=headers)
    await REWRITERS[name](application)(scope, nothing, nothing)
    assert told == [False]


async def nothing(*_: object) -> None:
    raise AssertionError("nothing is read or answered here")


def test_headers_that_no_address_is_taken_from_do_not_count() -> None:
    assert seen(("127.0.0.1", 5000), (b"host", b"127.0.0.1:8000"), (b"x-forwarded-host", b"127.0.0.1"))


def test_a_header_without_end_counts_as_a_claim() -> None:
    """What it costs is counted in tests/regressions."""
    assert not seen(("10.1.2.3", 5000), (b"x-forwarded-for", b"1.1," * 16_000))
    assert seen(("10.1.2.3", 5000), (b"x-forwarded-for", b"1.1.1.1," * 255))


@pytest.mark.parametrize("name", ["x-real-ip", "forwarded", "x-forwarded-for", "x-forwarded-host"])
def test_lines_without_end_count_as_a_claim(name: str) -> None:
    assert not seen(("10.1.2.3", 5000), *[(name.encode(), b"a")] * 33)
    assert seen(("10.1.2.3", 5000), *[(name.encode(), b"a")] * 32)
    assert not seen(("10.1.2.3", 5000), *[(name.encode(), b"-" * 1_025)] * 4)


def test_the_budget_is_one_for_all_lines() -> None:
    lines = [(b"x-real-ip", b"1.1.1.%d" % number) for number in range(32)]
    more = [(b"x-forwarded-for", b",".join(b"1.1.2.%d" % number for number in range(41)))]
    assert seen(("10.1.2.3", 5000), *lines)
    assert seen(("10.1.2.3", 5000), *more)
    assert seen(("10.1.2.3", 5000), *lines[1:], *more)
    assert not seen(("10.1.2.3", 5000), *lines[1:], *more, (b"cookie", b"a=b"), (b"x-real-ip", b"1.1.3.1,1.1.3.2"))


@pytest.mark.parametrize("length", [64, 65, 100_000])
def test_what_is_too_long_for_an_address_is_not_remembered(length: int) -> None:
    """A server may take it from a header."""
    peers = Peers([ip_network("2001:db8::/32")])
    assert peers.sent(http_scope(client=("2001:db8::1%" + "z" * (length - 12), 5000))) is (length == 64)


@given(st.one_of(st.ip_addresses().map(str), st.text("0123456789abcdefABCDEF:.", max_size=45)))
def test_an_address_is_what_the_standard_library_takes_for_one(text: str) -> None:
    try:
        address = ip_address(text)
    except ValueError:
        assert _parse(text) is None
    else:
        mapped = getattr(address, "ipv4_mapped", None)
        assert _parse(text) == (address.packed if mapped is None else mapped.packed)


@given(st.binary(max_size=80), st.text(max_size=20), st.integers(0, 70_000))
def test_never_raises(value: bytes, client: str, port: int) -> None:
    seen((client, port), (b"x-forwarded-for", value))
    assert not seen(("10.1.2.3", 1), (b"x-forwarded-for", value + b" 10.1.2.3"))
