"""The host parser against a second implementation, and at its edges; for hosts.json see `test_requesthost.py`."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tenantcache.lookup.core.hosts import (
    HostMatch,
    HostRules,
    normalise_domain,
)

RULES = HostRules(("example.com",), ("www",))
FUZZ_BASES = ("example.com", "eu.example.com", "localhost")
FUZZ_RULES = HostRules(FUZZ_BASES, ("www",))

# -- classify, at its edges


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"acme.localhost:8000", HostMatch("alias", "subdomain:acme", True)),
        (b"localhost", HostMatch("bypass", None, True)),
        (b"localhost.:", HostMatch("bypass", None, True)),
        (b"www.localhost", HostMatch("bypass", None, True)),
        (b"a.b.localhost", HostMatch("unknown", None, True)),
        (b"eu.example.com", HostMatch("bypass", None, True)),
        (b"acme.eu.example.com", HostMatch("alias", "subdomain:acme", True)),
        (b"WWW.EU.example.com", HostMatch("bypass", None, True)),
        (b"b.acme.eu.example.com", HostMatch("unknown", None, True)),
        (b"us.example.com", HostMatch("alias", "subdomain:us", True)),
        (b"123.example.com", HostMatch("alias", "subdomain:123", True)),
        (b"acme-2.example.com", HostMatch("alias", "subdomain:acme-2", True)),
        (b"intranet", HostMatch("alias", "domain:intranet", False)),
        (b"notlocalhost", HostMatch("alias", "domain:notlocalhost", False)),
        (b"Shop.Acme.IO.:65535", HostMatch("alias", "domain:shop.acme.io", False)),
        (b"shop.acme.io:", HostMatch("alias", "domain:shop.acme.io", False)),
        (b"10.0.0.1.", HostMatch("unknown", None, False)),
        (b"127.1", HostMatch("unknown", None, False)),
        (b"999.999.999.999", HostMatch("unknown", None, False)),
        (b"127.0.0.0x1", HostMatch("unknown", None, False)),
        (b"127.0.0.0x", HostMatch("unknown", None, False)),
        (b"0X7F000001", HostMatch("unknown", None, False)),
        (b"[::1]", HostMatch("unknown", None, False)),
        (b"[2001:DB8::192.0.2.1]:", HostMatch("unknown", None, False)),
        (b"1.2.3.4.nip.io", HostMatch("alias", "domain:1.2.3.4.nip.io", False)),
        (b"shop.0xyz", HostMatch("alias", "domain:shop.0xyz", False)),
    ],
)
def test_well_formed(raw: bytes, expected: HostMatch) -> None:
    assert FUZZ_RULES.classify(raw) == expected


@pytest.mark.parametrize(
    "raw",
    [
        b" acme.example.com",
        b"acme.example.com ",
        b"acme.example.com\r",
        b"acme.example.com\x00",
        b"acme.example.com..",
        b".acme.example.com",
        b"-acme.example.com",
        b"acme-.example.com",
        b"acme.example.com-",
        b"-",
        b"acme.example.com:+80",
        b"acme.example.com:8 0",
        b"acme.example.com:\xb2",
        b"acme.example.com:" + b"9" * 200,
        b"acme.example.com/",
        b"acme.example.com?x",
        b"acme.example.com%2e",
        b"\xff.example.com",
        b"[]",
        b"[::1]:65536",
        b"[::1].",
        b"[::1]:x",
        b"::1",
        b"[fe80::1%25eth0]",
        b"[v1.fe80::a]",
        b"[127.0.0.1]",
        b"[:::]",
        b"[" + b"0:" * 120 + b"]",
    ],
)
def test_malformed(raw: bytes) -> None:
    assert RULES.classify(raw) == HostMatch("malformed")


def test_lengths_are_bounded_exactly() -> None:
    long_name = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    assert len(long_name) == 253
    assert RULES.classify(f"{long_name}.:65535".encode()) == HostMatch("alias", f"domain:{long_name}")
    assert RULES.classify(f"{long_name}d".encode()).kind == "malformed"
    assert RULES.classify(f"{long_name}.:065535".encode()).kind == "malformed"
    assert RULES.classify(b"a" * 63 + b".example.com").alias == "subdomain:" + "a" * 63
    assert RULES.classify(b"a" * 64 + b".example.com").kind == "malformed"


def test_without_base_domains_every_name_is_looked_up() -> None:
    assert HostRules(()).classify(b"acme.example.com") == HostMatch("alias", "domain:acme.example.com")


# -- classify against a second implementation

HOST_CHARACTERS = frozenset(string.ascii_letters + string.digits + "-.:")


def oracle(raw: bytes, bases: Sequence[str], reserved: Sequence[str]) -> str | None:
    """The alias of a Host value by counting labels, or None; it shares nothing with the parser but the rules."""
    text = raw.decode("latin-1").lower()
    name, _, port = text.partition(":")
    if len(raw) > 260 or not set(raw.decode("latin-1")) <= HOST_CHARACTERS:
        return None
    if not set(port) <= set(string.digits) or int(port or "0") > 65535:
        return None
    name = name[:-1] if name.endswith(".") else name
    labels = name.split(".")
    if len(name) > 253 or any(not 1 <= len(label) <= 63 or "-" in (label[0], label[-1]) for label in labels):
        return None
    depths = [base.count(".") + 1 for base in bases if f".{name}".endswith(f".{base}")]
    if depths:
        own = labels[: -max(depths)]
        return f"subdomain:{own[0]}" if len(own) == 1 and own[0] not in reserved else None
    last = labels[-1]
    is_number = set(last) <= set(string.digits) or (last[:2] == "0x" and set(last[2:]) <= set(string.hexdigits))
    return None if is_number else f"domain:{name}"


FRAGMENTS = [b"acme", b"Example", b"example.com", b"com", b"eu", b"www", b"LOCALHOST", b"xn--", b"a" * 62, b"0x1", b"7"]
FRAGMENTS += [b".", b".", b".", b"-", b":", b":80", b"65536", b"[", b"]", b"::1", b"_", b"\xc5\xbf", b" ", b"\n", b"@"]
host_values = st.one_of(
    st.binary(max_size=300),
    st.text(string.ascii_letters + string.digits + "-.:", max_size=280).map(str.encode),
    st.lists(st.sampled_from(FRAGMENTS), max_size=9).map(b"".join),
    st.tuples(st.sampled_from([b"acme", b"Www", b"b.acme", b"-", b""]), st.sampled_from(FUZZ_BASES)).map(
        lambda pair: pair[0] + b"." + pair[1].encode()
    ),
)


@settings(max_examples=500, deadline=None)
@given(host_values)
@example(b"acme.example.com\n")
@example(b"acme.eu.example.com.:")
@example(b"\xc5\xbfhop.acme.io")
def test_alias_is_exactly_what_the_oracle_says(raw: bytes) -> None:
    match = FUZZ_RULES.classify(raw)
    assert match.alias == oracle(raw, FUZZ_BASES, ["www"])
    assert (match.kind == "alias") == (match.alias is not None)


# -- settings


def test_rules_are_normalised() -> None:
    rules = HostRules(["Example.COM.", "BÜCHER.example", "example.com", " localhost "], ["WWW", "Büro"])
    assert rules.base_domains == ("example.com", "xn--bcher-kva.example", "localhost")
    assert rules.reserved_subdomains == ("www", "xn--bro-hoa")
    assert rules.classify(b"acme.xn--bcher-kva.example").alias == "subdomain:acme"
    assert rules.classify(b"xn--bro-hoa.localhost").kind == "bypass"
    assert rules == HostRules(rules.base_domains, rules.reserved_subdomains)


def test_rules_do_not_change() -> None:
    with pytest.raises(AttributeError):
        RULES.base_domains = ()  # type: ignore[misc]  # the point of the test


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(ValueError, match="not a host name") as caught:
        HostRules(["https://example.com", "example.org", "127.0.0.1", "10.1", ""], ["a.b", "_"])
    faults = str(caught.value).split("\n")
    assert [fault.partition(":")[0] for fault in faults] == ["base_domains"] * 4 + ["reserved_subdomains"] * 2
    assert "'https://example.com'" in faults[0]
    assert "IP address" in faults[1]
    assert "IP address" in faults[2]
    assert "empty" in faults[3]
    assert "'a.b' has a dot" in faults[4]


def test_a_string_is_no_list() -> None:
    with pytest.raises(ValueError, match=r"base_domains is the string 'example\.com'; give a list"):
        HostRules("example.com")


# -- registration


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("shop.acme.io", "shop.acme.io"),
        (" SHOP.Acme.IO. ", "shop.acme.io"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("shop。acme．io｡", "shop.acme.io"),
        ("\uff33hop.acme.io", "shop.acme.io"),
        ("ac\u00adme.example", "acme.example"),
        ("a---b.example", "a---b.example"),
        ("ab--cd.例え.example", "ab--cd.xn--r8jz45g.example"),
        ("1.2.3.4.nip.io", "1.2.3.4.nip.io"),
    ],
)
def test_normalise_domain(name: str, expected: str) -> None:
    assert normalise_domain(name) == expected
    assert RULES.normalise_domain(name) == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "is empty"),
        (" \t", "is empty"),
        (".", "not a host name"),
        ("\u00ad", "not a host name"),
        ("acme", "single label"),
        ("acme.", "single label"),
        ("127.0.0.1", "IP address"),
        ("127.1", "IP address"),
        ("１２７.0.0.1", "IP address"),
        ("shop.0x7f", "IP address"),
        ("::1", "IP address"),
        ("[2001:db8::1]", "IP address"),
        ("shop..io", "label ''"),
        ("shop.acme.io..", "label ''"),
        ("-shop.acme.io", "label '-shop'"),
        ("shop_1.acme.io", "without scheme, port, path or wildcard"),
        ("https://shop.acme.io", "without scheme, port, path or wildcard"),
        ("shop.acme.io:443", "without scheme, port, path or wildcard"),
        ("*.acme.io", "without scheme, port, path or wildcard"),
        ("shop acme.io", "not a host name"),
        ("a" * 64 + ".io", "1 to 63"),
        ("ü" * 63 + ".io", "not a host name"),
        ("a." * 127 + "io", "256 characters"),
        ("xn--zzzz9999999.example", "not a host name"),
        ("xn--.example", "not a host name"),
        ("☃\ud800.example", "not a host name"),
        ("shop.\u2135\u05d0a.example", "not a host name"),
        ("ü." * 60 + "example", "octets in ASCII"),
    ],
)
def test_what_is_no_domain(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        normalise_domain(name)


@pytest.mark.parametrize("name", ["example.com", "EXAMPLE.com.", "acme.example.com", "a.b.Example.com"])
def test_no_domain_at_or_under_a_base_domain(name: str) -> None:
    with pytest.raises(ValueError, match="base domain"):
        RULES.normalise_domain(name)


def test_a_domain_beside_a_base_domain() -> None:
    assert RULES.normalise_domain("acmeexample.com") == "acmeexample.com"


def test_normalise_subdomain() -> None:
    assert RULES.normalise_subdomain("Acme") == "acme"
    assert RULES.normalise_subdomain("Büro") == "xn--bro-hoa"
    assert RULES.normalise_subdomain("42") == "42"
    for name, message in [("WWW", "reserved"), ("a.b", "has a dot"), ("", "is empty"), ("a_b", "not a host name")]:
        with pytest.raises(ValueError, match=message):
            RULES.normalise_subdomain(name)


NAME_FRAGMENTS = [
    "shop",
    "ACME",
    "bücher",
    "ß",
    "ſ",
    "。",
    ".",
    ".",
    "-",
    "xn--",
    "xn--bcher-kva",
    "1",
    "io",
    "\u200d",
    "א",
]
names = st.one_of(st.text(max_size=70), st.lists(st.sampled_from(NAME_FRAGMENTS), max_size=8).map("".join))


@settings(max_examples=500, deadline=None)
@given(names)
@example("BÜCHER.example")
def test_what_is_registered_is_found(name: str) -> None:
    try:
        domain = RULES.normalise_domain(name)
    except ValueError:
        return
    assert RULES.classify(domain.encode("ascii")) == HostMatch("alias", f"domain:{domain}")
    assert normalise_domain(domain) == domain


# -- a tenant on the base domain itself


@pytest.mark.parametrize("raw", [b"example.com", b"EXAMPLE.com.:8000", b"localhost", b"eu.example.com:"])
def test_a_base_domain_may_be_a_tenants(raw: bytes) -> None:
    rules = HostRules(FUZZ_BASES, ("www",), True)
    assert rules.classify(raw) == HostMatch("alias", "subdomain:", True)
    assert FUZZ_RULES.classify(raw).kind == "bypass"
    for other in (b"www.example.com", b"acme.example.com", b"a.b.example.com", b"shop.acme.io", b"[::1]", b""):
        assert rules.classify(other) == FUZZ_RULES.classify(other)


@given(
    st.binary(max_size=40) | st.from_regex(rb"[a-z.]{0,12}(example\.com|localhost)\.?(:[0-9]{0,5})?", fullmatch=True)
)
def test_only_base_domains_change_when_they_may_be_a_tenants(raw: bytes) -> None:
    plain, found = FUZZ_RULES.classify(raw), HostRules(FUZZ_BASES, ("www",), True).classify(raw)
    name = raw.decode("latin-1").lower().partition(":")[0].removesuffix(".")
    assert found == (HostMatch("alias", "subdomain:", True) if name in FUZZ_BASES and plain.kind == "bypass" else plain)


@pytest.mark.parametrize(
    ("raw", "base"),
    [
        (b"acme.example.com:8000", "example.com"),
        (b"Acme.EU.example.com", "eu.example.com"),
        (b"eu.example.com", "eu.example.com"),
        (b"us.example.com.", "example.com"),
        (b"localhost:1", "localhost"),
        (b"a.b.example.com", None),
        (b"shop.acme.io", None),
        (b"[::1]", None),
        (b"bad host", None),
        (b"", None),
    ],
)
def test_the_base_domain_of_a_host(raw: bytes, base: str | None) -> None:
    assert FUZZ_RULES.base_of(raw) == base
