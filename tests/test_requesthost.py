"""What a request says of its host: the cases in hosts.json, and header lines at their edges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenantcache.lookup.core.hosts import HostMatch, HostRules
from tenantcache.web.forwarded import forwarded_host
from tenantcache.web.requesthost import single_host, target_conflicts

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "core" / "hosts.json").read_text("utf-8"))
TENANTS = {
    "subdomain:acme": "acme",
    "domain:shop.acme.io": "acme",
    "domain:xn--bcher-kva.example": "acme",
    "subdomain:globex": "globex",
}
RULES = HostRules(("example.com",), ("www",))

# -- hosts.json: the parser, and the few lines that a middleware adds to it


def case_headers(case: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    """The header lines as an ASGI server passes them on."""
    lines = [] if case["host"] is None else [(b"host", case["host"].encode(case.get("encoding", "ascii")))]
    return lines + [(name.lower().encode(), value.encode()) for name, value in case.get("extra_headers", [])]


def match_case(case: dict[str, Any]) -> HostMatch:
    headers = case_headers(case)
    host = single_host(headers)
    if host is None or target_conflicts(case.get("raw_target", "/").encode(), host):
        return HostMatch("malformed")
    if case.get("config", {}).get("trust_forwarded_host"):
        forwarded = forwarded_host(headers)
        host = host if forwarded is None else forwarded
    return HostRules(case["base_domains"], case.get("reserved", ())).classify(host)


def outcome(match: HostMatch) -> str:
    if match.kind == "malformed":
        return "400"
    if match.kind == "bypass":
        return "bypass"
    tenant = TENANTS.get(match.alias or "")
    return f"tenant:{tenant}" if tenant else "404"


def case_id(case: dict[str, Any]) -> str:
    return f"{str(case['host'])[:40]!r}: {case['why'][:40]}"


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_case(case: dict[str, Any]) -> None:
    assert outcome(match_case(case)) in case.get("accept", [case["expect"]])


def test_no_case_is_lost() -> None:
    assert len(CASES) == 71


@pytest.mark.parametrize("case", [case for case in CASES if case["expect"] == "404"], ids=case_id)
def test_only_foreign_hosts_may_be_misdirected(case: dict[str, Any]) -> None:
    assert match_case(case).under_base == ("421" not in case.get("accept", []))


# -- header lines


def test_single_host() -> None:
    assert single_host([(b"accept", b"*/*"), (b"host", b"acme.example.com")]) == b"acme.example.com"
    assert single_host([(b"host", b"")]) == b""
    assert single_host([(b"x-forwarded-host", b"acme.example.com")]) is None
    assert single_host([(b"host", b""), (b"host", b"acme.example.com")]) is None
    assert single_host([(b"host", b"a"), (b"host", b"b"), (b"host", b"c")]) is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["acme.example.com"], b"acme.example.com"),
        (["acme.example.com,globex.example.com:8080 "], b"globex.example.com:8080"),
        (["evil.example.com", "globex.example.com"], b"globex.example.com"),
        (["globex.example.com,"], b""),
        ([""], b""),
    ],
)
def test_x_forwarded_host(values: list[str], expected: bytes) -> None:
    ignored = [(b"host", b"internal.lb"), (b"forwarded", b"for=192.0.2.60")]
    headers = [*ignored, *((b"x-forwarded-host", value.encode()) for value in values)]
    assert forwarded_host(headers) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["host=acme.example.com"], b"acme.example.com"),
        (["For=192.0.2.60;HOST=acme.example.com;proto=https"], b"acme.example.com"),
        (['for="[2001:db8::1]:4711"; host="acme.example.com:8080"'], b"acme.example.com:8080"),
        ([r'host="ac\me.example.com"'], b"acme.example.com"),
        (["host=evil.example.com, host=acme.example.com"], b"acme.example.com"),
        (["host=acme.example.com , for=a\t;host=acme.example.com "], b"acme.example.com"),
        (["host=evil.example.com", "host=acme.example.com"], b"acme.example.com"),
        (['for="a, host=evil.example.com", host=acme.example.com'], b"acme.example.com"),
        (['host=acme.example.com;for="\\", host=evil.example.com"'], b"acme.example.com"),
        (["host=acme.example.com;, ,"], b"acme.example.com"),
        (["host=evil.example.com, for=192.0.2.60"], None),
        (["for=192.0.2.60"], None),
        (['host=""'], b""),
    ],
)
def test_forwarded(values: list[str], expected: bytes | None) -> None:
    assert forwarded_host([(b"forwarded", value.encode()) for value in values]) == expected


@pytest.mark.parametrize(
    "values",
    [
        [""],
        [" , ;"],
        ["acme.example.com"],
        ["host=acme.example.com:8080"],
        ["host="],
        ["host =acme.example.com"],
        ["host= acme.example.com"],
        ['host="acme.example.com'],
        ['host="acme.example.com\\'],
        ['host="acme.example.com"x'],
        ["host=acme.example.com host=globex.example.com"],
        ["host=acme.example.com;Host=globex.example.com"],
        ['host="acme\n.example.com"'],
        ['for="', "host=acme.example.com"],
        ["host=acme.example.com, for=[::1]"],
        ["for=a," * 400 + "host=acme.example.com"],
    ],
)
def test_ill_formed_forwarded_is_malformed(values: list[str]) -> None:
    host = forwarded_host([(b"forwarded", value.encode()) for value in values])
    assert host is not None
    assert RULES.classify(host).kind == "malformed"


@pytest.mark.parametrize(
    ("within", "beyond"),
    [
        ([b"host=a"] * 32, [b"host=a"] * 33),
        ([b"host=a," * 63 + b"host=a"] * 2, [b"host=a," * 63 + b"host=a"] * 2 + [b"host=a"]),
        ([b"a=b;c=d;host=a"] * 32, [b"a=b;c=d;e=f;g=h;host=a"] * 32),
        ([b'a="%b";host=a' % (b"-" * 4_085)], [b'a="%b";host=a' % (b"-" * 4_086)]),
    ],
)
def test_there_is_one_budget_for_all_forwarded_lines(within: list[bytes], beyond: list[bytes]) -> None:
    assert forwarded_host([(b"forwarded", value) for value in within]) == b"a"
    assert forwarded_host([(b"forwarded", value) for value in beyond]) == b""


def test_other_proxies_lines_count_too() -> None:
    lines = [(b"x-forwarded-host", b"acme.example.com")]
    others = [(b"x-real-ip", b"a"), (b"x-forwarded-for", b"b"), (b"cf-connecting-ip", b"c")] * 10
    assert forwarded_host(lines + others) == b"acme.example.com"
    assert forwarded_host(lines + others + lines) == b"acme.example.com"
    assert forwarded_host(lines + others + lines * 2) == b""


def test_nothing_forwarded() -> None:
    assert forwarded_host([(b"host", b"acme.example.com")]) is None


@pytest.mark.parametrize(
    ("x_forwarded_host", "forwarded", "expected"),
    [
        (b"acme.example.com", b"host=acme.example.com", b"acme.example.com"),
        (b"acme.example.com", b'host="ACME.example.com.:443"', b"acme.example.com"),
        (
            b"globex.example.com, acme.example.com",
            b"host=globex.example.com, host=acme.example.com",
            b"acme.example.com",
        ),
        (b"acme.example.com", b"host=globex.example.com", b""),
        (b"acme.example.com", b"host=acme.example.com, host=globex.example.com", b""),
        (b"acme.example.com", b"host=_", b""),
        (b"acme.example.com", b"host=", b""),
        (b"acme.example.com", b"", b""),
        (b"_", b"host=_", b""),
    ],
)
def test_two_kinds_of_header_must_agree(x_forwarded_host: bytes, forwarded: bytes, expected: bytes) -> None:
    """A peer that writes one of them may pass the client's other one on."""
    headers = [(b"x-forwarded-host", x_forwarded_host), (b"forwarded", forwarded)]
    assert forwarded_host(headers) == expected
    assert forwarded_host(headers[::-1]) == expected


@pytest.mark.parametrize(
    ("target", "host", "expected"),
    [
        (b"/", b"acme.example.com", False),
        (b"", b"acme.example.com", False),
        (b"*", b"acme.example.com", False),
        (b"//globex.example.com/", b"acme.example.com", False),
        (b"/?next=http://globex.example.com/", b"acme.example.com", False),
        (b"http://acme.example.com/x", b"ACME.example.com.:80", False),
        (b"HTTPS://Acme.Example.Com:8443?x", b"acme.example.com", False),
        (b"http://[2001:DB8::1]:80/", b"[2001:db8::1]", False),
        (b"http://[::1]/", b"[::2]", True),
        (b"http://globex.example.com/", b"acme.example.com", True),
        (b"ws://globex.example.com", b"acme.example.com", True),
        (b"http://acme.example.com@globex.example.com/", b"acme.example.com", True),
        (b"http:///x", b"acme.example.com", True),
        (b"http://acme.example.com/", b"", True),
        (b"http://" + b"a." * 4000, b"acme.example.com", True),
    ],
)
def test_target_conflicts(target: bytes, host: bytes, expected: bool) -> None:
    assert target_conflicts(target, host) is expected


FORWARDED_FRAGMENTS = [
    b"host=",
    b"for=",
    b"acme.example.com",
    b'"',
    b"\\",
    b";",
    b",",
    b" ",
    b"\t",
    b"\x00",
    b"\xff",
    b"=",
]
header_values = st.one_of(st.binary(max_size=100), st.lists(st.sampled_from(FORWARDED_FRAGMENTS)).map(b"".join))
header_names = st.sampled_from([b"host", b"forwarded", b"x-forwarded-host", b"cookie"])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(header_names, header_values), max_size=5), header_values)
def test_header_lines_never_raise(headers: list[tuple[bytes, bytes]], target: bytes) -> None:
    hosts = [value for name, value in headers if name == b"host"]
    assert single_host(headers) == (hosts[0] if len(hosts) == 1 else None)
    names = {name for name, _ in headers}
    if not names & {b"forwarded", b"x-forwarded-host"}:
        assert forwarded_host(headers) is None
    elif b"x-forwarded-host" in names:
        assert forwarded_host(headers) is not None
    else:
        RULES.classify(forwarded_host(headers) or b"")
    assert target_conflicts(b"http://" + target, b"a..b") is True
