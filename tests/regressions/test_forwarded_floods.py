"""What a client puts into forwarded headers may not stop the event loop: a bound of one millisecond, counted.

Counted are the instructions and the C calls of one request in all of Python's code, the standard library's too. LIMIT
of them take less than a millisecond on a machine that does 30 million a second, which is slow. What as many lines of
another name cost is not counted. Every look at the headers passes over them, and so do the server and the application.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from itertools import count, cycle, islice
from types import FrameType
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from tenantcache import TenantMiddleware
from tenantcache.web import peers
from tenantcache.web.ask import AskApp
from tenantcache.web.forwarded import forwarded_host
from tests.asgi import Lines, http_scope
from tests.fakes import FakeClock, FakeDatabase, make_cache, row, until
from tests.regressions.counting import drive

LIMIT = 30_000
C_CALL = 10
"""Instructions that a C call counts for."""

HEADERS = 60_000
"""Octets of header lines in one request; servers take 16 to 64 kB."""

NAMES = [b"x-real-ip", b"x-forwarded-for", b"forwarded", b"x-forwarded-host", b"cf-connecting-ip", b"true-client-ip"]


def spelt(pattern: str) -> Iterator[bytes]:
    """`pattern` with one number after another in it, so that no two are the same and nothing is remembered."""
    return (pattern.replace("#", f"{number % 65_536:x}").encode() for number in count(1))


def filled(names: Iterable[bytes], parts: Iterable[bytes], length: int, separator: bytes = b",") -> list[Any]:
    """Lines of at most `length` octets each, of `parts`, until the headers are full."""
    lines: list[tuple[bytes, bytes]] = []
    left, feed = HEADERS, iter(parts)
    for name in names:
        value, room = [], min(length, left - len(name) - 4)
        for part in feed:
            value.append(part)
            room -= len(part) + len(separator)
            if room < len(part) + len(separator):
                break
        lines.append((name, separator.join(value)))
        left -= len(name) + 4 + len(lines[-1][1])
        if left < 100:
            return lines
    return lines


FLOODS: dict[str, Lines] = {
    "the one that was reported": filled(cycle([b"x-real-ip"]), cycle([b"::,::"]), 760)[:41],
    "short lines of one header": filled(cycle([b"x-real-ip"]), spelt("::#"), 5),
    "lines that fit into what is remembered": filled(cycle([b"x-real-ip"]), spelt("::#"), 128),
    "lines that do not": filled(cycle([b"x-real-ip"]), spelt("::#"), 1_000),
    "one line": filled([b"x-forwarded-for"], spelt("1:2:3:4:5:6:7:#"), HEADERS),
    "all headers in turn": filled(cycle(NAMES), spelt("::ffff:#:8"), 500),
    "long words": filled(cycle(NAMES), cycle([b"1:" * 500]), 2_000),
    "one word": filled([b"x-real-ip"], cycle([b":" * (HEADERS - 100)]), HEADERS),
    "a run of hexadecimal digits": filled([b"x-real-ip"], cycle([b"a" * (HEADERS - 100)]), HEADERS),
    "runs of hexadecimal digits": filled(cycle([b"x-real-ip"]), cycle([b"a" * 4_000]), 4_000),
    "zones": filled(cycle([b"x-forwarded-for"]), spelt("fe80::#%eth0"), 1_000),
    "ports": filled(cycle([b"x-forwarded-for"]), spelt("[fe80::#]:4711"), 1_000),
    "nothing but commas": filled(cycle([b"forwarded"]), cycle([b""]), 2_000),
    "nothing but semicolons": filled(cycle([b"forwarded"]), cycle([b""]), 2_000, b";"),
    "many elements": filled(cycle([b"forwarded"]), cycle([b"host=a"]), 2_000),
    "many pairs": filled(cycle([b"forwarded"]), spelt("n#=a"), 2_000, b";"),
    "quotes": filled(cycle([b"forwarded"]), cycle([b'host="a"']), 2_000),
    "deep quoting": filled(cycle([b"forwarded"]), cycle([b'host="' + rb"\\" * 1_900 + b'"']), 4_000),
    "one long quoted host": filled([b"forwarded"], cycle([b'host="' + rb"\a" * 2_000 + b'"']), 4_060),
    "quotes without an end": filled(cycle([b"forwarded"]), cycle([b'host="' + rb"\a" * 900]), 2_000),
    "just within the budget of words": filled([b"x-real-ip"], islice(spelt("1:2:3:4:5:6:7:#"), 73), 4_000),
    "just within the budget of lines": filled([b"x-real-ip"] * 32, spelt("1::#"), 12),
    "just within the budget of octets": filled([b"x-real-ip"] * 4, cycle([b"a"]), 1_000),
    "just within the budget of pairs": filled([b"forwarded"] * 4, spelt('n#="b"'), 300, b";"),
    "many hosts": filled(cycle([b"x-forwarded-host"]), spelt("a#.example.com"), 2_000),
}


def steps_of(app: Any, scope: Scope) -> int:
    """Instructions and C calls of a request: of the second, but what the first left in caches is not in its way."""
    steps = 0

    def in_frame(_frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal steps
        steps += event == "opcode"
        return in_frame

    def on_call(frame: FrameType, _event: str, _argument: object) -> Any:
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return in_frame

    def on_c_call(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal steps
        steps += C_CALL * (event == "c_call")

    async def receive() -> Any:
        raise AssertionError("the body is not read")

    async def send(_message: Any) -> None:
        pass

    trace, profile = sys.gettrace(), sys.getprofile()
    for _ in range(2):
        peers._named_in.cache_clear()
        coroutine, steps = app(scope, receive, send), 0
        sys.settrace(on_call)
        sys.setprofile(on_c_call)
        try:
            drive(coroutine)
        finally:
            sys.setprofile(profile)
            sys.settrace(trace)
    return steps


async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize("flood", FLOODS)
@pytest.mark.parametrize("trusted", [["10.0.0.0/8", "2001:db8::/32"], []])
@pytest.mark.parametrize("client", ["10.1.2.3", "2001:db8::1", "203.0.113.7"])
async def test_a_flood_of_forwarded_headers(flood: str, trusted: list[str], client: str) -> None:
    clock = FakeClock()
    database = FakeDatabase(clock, row("acme", domains=["acme.io", "shop.io"], primary_domain="acme.io"))
    options: dict[str, Any] = {"trusted_proxies": trusted, "redirect_to_primary": True, "limits": "off"}
    async with make_cache(database, clock, **options) as cache:
        await until(lambda: cache.indexer.is_ready)
        assert await cache.resolve("shop.io") is not None
        scope, same_lines = (
            http_scope(b"shop.io", headers=lines, client=(client, 4711)) | {"query_string": b""}
            for lines in (FLOODS[flood], [(b"x-other", value) for _, value in FLOODS[flood]])
        )
        for app in TenantMiddleware(answer, cache=cache), AskApp(cache, callers=trusted or ["127.0.0.1"]):
            assert steps_of(app, scope) - steps_of(app, same_lines) < LIMIT


def test_no_pattern_reads_what_may_be_an_address() -> None:
    """One that backtracked took 5 s for 16 kB of hexadecimal digits, in a single call that no count sees."""
    assert [name for name, value in vars(peers).items() if isinstance(value, re.Pattern)] == []


def test_a_chain_of_proxies_is_within_the_budget() -> None:
    chain = ["2001:db8:1111:2222:3333:4444:5555:6666"] * 10
    elements = [f'for="[{address}]:47011";by=203.0.113.43;host=acme.example.com;proto=https' for address in chain]
    headers = [
        (b"x-forwarded-for", ", ".join(chain).encode()),
        (b"forwarded", ", ".join(elements).encode()),
        (b"x-forwarded-host", ", ".join(["acme.example.com"] * 10).encode()),
        (b"x-real-ip", chain[0].encode()),
        (b"cf-connecting-ip", chain[0].encode()),
    ]
    assert forwarded_host(headers) == b"acme.example.com"
    assert peers.Peers([ip_network("10.0.0.0/8")]).sent(http_scope(headers=headers, client=("10.1.2.3", 4711)))
