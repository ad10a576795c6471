"""The cases of hosts.json, and what only a socket can carry, on each server that people run: byte for byte.

What a server refuses by itself counts as 400, be it with a 4xx or by closing the connection or the stream. Either way
the application has not seen the request. Silence does not count.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.httpservers import SERVERS, Headers, request, send_bytes, send_h2, serving_tenants
from tests.servers.databases import Databases

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "core/hosts.json").read_text("utf-8"))

SHOW_THE_TARGET = {"uvicorn-h11", "hypercorn"}
"""The servers that put an absolute-form target into the scope as it came; the other two keep its path alone."""

SPEAK_HTTP2 = ("hypercorn", "granian")

ACME, GLOBEX = b"acme.example.com", b"globex.example.com"


@pytest.fixture(scope="module")
def ports(databases: Databases) -> Iterator[Mapping[str, int]]:
    with serving_tenants(SERVERS, databases) as ports:
        yield ports


def case_id(case: dict[str, Any]) -> str:
    return f"{str(case['host'])[:40]!r}: {case['why'][:40]}"


def extra_headers(case: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    peer = [(b"x-peer", b"trusted")] if case.get("config", {}).get("trust_forwarded_host") else []
    return peer + [(name.encode(), value.encode()) for name, value in case.get("extra_headers", ())]


def host_of(case: dict[str, Any]) -> bytes | None:
    return None if case["host"] is None else case["host"].encode(case.get("encoding", "ascii"))


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_case(ports: Mapping[str, int], server: str, case: dict[str, Any]) -> None:
    accepted = set(case.get("accept", [case["expect"]]))
    if case["host"] == "acme.example.com\n":
        # "A recipient MAY recognize a single LF as a line terminator" (RFC 9112 2.2): then there is no LF in the value.
        accepted.add("tenant:acme")
    if "raw_target" in case:
        accepted = {"400"} if server in SHOW_THE_TARGET else {"tenant:acme"}
    data = request(host_of(case), extra_headers(case), case.get("raw_target", "/").encode())
    assert send_bytes(ports[server], data).outcome in accepted


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(request(ACME, [(b"Host", GLOBEX)]), id="two Host lines"),
        pytest.param(request(ACME, [(b"hOST", ACME)]), id="the same Host line twice"),
        pytest.param(request(ACME, [(b"accept", b"*/*"), (b"Host", b"")]), id="a second one that is empty"),
        pytest.param(request(None), id="no Host line"),
        pytest.param(request(None, version=b"1.0"), id="no Host line in HTTP/1.0"),
        pytest.param(request(None, [(b"X-Forwarded-Host", ACME)]), id="X-Forwarded-Host alone"),
        pytest.param(request(None, [(b"Host ", ACME)]), id="a space before the colon"),
        pytest.param(request(ACME + b"\r\n " + GLOBEX), id="a folded line"),
        pytest.param(request(ACME + b"\r\n\t.example.com"), id="a line folded by a tab"),
        pytest.param(request(ACME, target=b"http://"), id="a target without a host"),
    ],
)
def test_no_one_host(ports: Mapping[str, int], server: str, data: bytes) -> None:
    assert send_bytes(ports[server], data).outcome == "400"


@pytest.mark.parametrize("server", SERVERS)
def test_a_target_that_agrees(ports: Mapping[str, int], server: str) -> None:
    data = request(b"ACME.example.com:80", target=b"http://acme.example.com/x?y")
    assert send_bytes(ports[server], data).outcome == "tenant:acme"


@pytest.mark.parametrize("server", SERVERS)
def test_a_target_in_place_of_a_host_line(ports: Mapping[str, int], server: str) -> None:
    # granian makes a Host line out of the target, so there is nothing left to refuse; the application sees the same.
    expected = "tenant:globex" if server == "granian" else "400"
    assert send_bytes(ports[server], request(None, target=b"http://globex.example.com/")).outcome == expected


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(
    "headers",
    [
        [(b"X-Forwarded-Host", GLOBEX)],
        [(b"x_forwarded_host", GLOBEX), (b"X-Forwarded-Host", ACME)],
        [(b"X-Forwarded-Host", GLOBEX), (b"X-Forwarded-Host", ACME)],
        [(b"X-Forwarded-Host", GLOBEX + b"," + ACME), (b"Forwarded", b"host=" + ACME)],
        [(b"Forwarded", b"host=" + GLOBEX), (b"Forwarded", b'for="a, host=b";host=' + ACME)],
    ],
)
def test_of_several_forwarded_hosts_the_nearest_counts(ports: Mapping[str, int], server: str, headers: Headers) -> None:
    untrusted = send_bytes(ports[server], request(b"www.example.com", headers))
    assert untrusted.outcome == "bypass", "of a peer that is not trusted nothing counts"
    expected = "tenant:globex" if len(headers) == 1 else "tenant:acme"
    trusted = request(b"www.example.com", [(b"x-peer", b"trusted"), *headers])
    assert send_bytes(ports[server], trusted).outcome == expected


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(
    ("host", "more", "expected"),
    [
        (ACME, [], "tenant:acme"),
        (ACME, [(b"Host", GLOBEX)], "400"),
        (None, [], "400"),
        (b"a..b", [], "400"),
        (b"unknown.example.com", [], "404"),
    ],
)
def test_the_handshake_of_a_websocket(
    ports: Mapping[str, int], server: str, host: bytes | None, more: Headers, expected: str
) -> None:
    upgrade = [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"), (b"Sec-WebSocket-Version", b"13")]
    data = request(host, [*upgrade, (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="), *more])
    assert send_bytes(ports[server], data).outcome == expected


# HTTP/2: the name is `:authority`, and servers make a Host line of it.


@pytest.mark.parametrize("server", SPEAK_HTTP2)
@pytest.mark.parametrize("case", [case for case in CASES if "raw_target" not in case], ids=case_id)
def test_case_over_http2(ports: Mapping[str, int], server: str, case: dict[str, Any]) -> None:
    host = host_of(case)
    extra = [(name.lower(), value) for name, value in extra_headers(case)]
    if any(name == b"host" for name, _ in extra):
        headers = [(b"host", host or b""), *extra]
    else:
        headers = extra if host is None else [(b":authority", host), *extra]
    assert send_h2(ports[server], headers).outcome in case.get("accept", [case["expect"]])


@pytest.mark.parametrize("server", SPEAK_HTTP2)
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b":authority", ACME), (b"host", ACME)], "tenant:acme"),
        ([(b"host", ACME)], "tenant:acme"),
        ([(b":authority", ACME), (b":authority", GLOBEX)], "400"),
        ([(b":authority", ACME), (b"host", ACME), (b"host", ACME)], "400"),
        ([(b":authority", ACME), (b"host", GLOBEX), (b"host", ACME)], "400"),
        ([], "400"),
    ],
)
def test_authority_and_host(ports: Mapping[str, int], server: str, headers: Headers, expected: str) -> None:
    assert send_h2(ports[server], headers).outcome == expected


def test_an_authority_that_disagrees_with_the_host_field(ports: Mapping[str, int]) -> None:
    """RFC 9113 8.3.1 would have it refused. granian passes the host field alone on: no application behind it can
    tell."""
    headers = [(b":authority", ACME), (b"host", GLOBEX)]
    assert send_h2(ports["hypercorn"], headers).outcome == "400"
    assert send_h2(ports["granian"], headers).outcome == "tenant:globex"
