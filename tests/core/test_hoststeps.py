"""How a host is read, for a person: the steps end at what `classify` says, and each malformed host has its reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantcache.lookup.core.hosts import HostRules
from tenantcache.lookup.core.hoststeps import read_host

RULES = HostRules(["example.com", "eu.example.com", "localhost"], ["www"])

PIECES = ("\u00fc", "example.com", "www", "eu", "localhost", "65535", "65536", "::1")
HOSTS = st.lists(st.sampled_from([*"aB0-.:[]_ /@", *PIECES]), max_size=12).map("".join)


@given(HOSTS.map(str.encode) | st.binary(max_size=300))
def test_it_says_what_classify_says(raw: bytes) -> None:
    reading = read_host(RULES, raw)
    assert reading.match == RULES.classify(raw)
    assert (reading.fault is not None) == (reading.match.kind == "malformed")
    assert bool(reading.steps) == (reading.fault is None)
    assert (reading.decided_by == "row") == (reading.match.kind == "alias")
    assert reading.match.under_base == (reading.base is not None)


@pytest.mark.parametrize(
    ("host", "fault"),
    [
        ("", "it is empty"),
        (".", "it has no name"),
        (":80", "it has no name"),
        ("a" * 261, "it has 261 octets, and at most 260 are possible"),
        (".".join(["a" * 50] * 5), "its name has 254 octets, and at most 253 are possible"),
        ("b\u00fcro.example.com", "it is not ASCII, and so no browser sends it"),
        ("https://a.test", "it is a URL, not a host"),
        ("[::1", "it begins with [, and is not an IPv6 address in brackets"),
        ("[1.2.3.4]", "it begins with [, and is not an IPv6 address in brackets"),
        ("a_b.test", "it holds '_', and a name has letters, digits, hyphens and dots alone"),
        ("a.test/path", "it holds '/', and a name has letters, digits, hyphens and dots alone"),
        ("a\x1b.test", "it holds '\\x1b', and a name has letters, digits, hyphens and dots alone"),
        ("a.test:http", "'http' is not a port: give digits, or leave the colon out"),
        ("a.test:80:90", "'80:90' is not a port: give digits, or leave the colon out"),
        ("a.test:65536", "the port 65536 is over 65535"),
        ("a..test", "it has an empty label: a dot at the beginning, or two in a row"),
        (".a.test", "it has an empty label: a dot at the beginning, or two in a row"),
        ("a.test..", "it has an empty label: a dot at the beginning, or two in a row"),
        ("a" * 64 + ".test", f"the label '{'a' * 64}' has 64 octets, and at most 63 are possible"),
        ("-a.test", "the label '-a' begins or ends with a hyphen"),
        ("a-.test", "the label 'a-' begins or ends with a hyphen"),
    ],
)
def test_why_a_host_is_malformed(host: str, fault: str) -> None:
    assert read_host(RULES, host.encode()).fault == fault


@pytest.mark.parametrize(
    ("host", "decided_by", "base", "told"),
    [
        ("acme.example.com", "row", "example.com", "a subdomain of example.com"),
        ("acme.eu.example.com", "row", "eu.example.com", "a subdomain of eu.example.com"),
        ("eu.example.com", "base_domains", "eu.example.com", "a base domain, which has no tenant"),
        ("WWW.localhost", "reserved_subdomains", "localhost", "a reserved subdomain of localhost, which has no tenant"),
        (
            "a.b.eu.example.com",
            "base_domains",
            "eu.example.com",
            "more than one label under eu.example.com, which no tenant can have",
        ),
        ("shop.test", "row", None, "under no base domain, so a custom domain or nothing"),
        ("10.0.0.1", None, None, "an IP address, or read as one, which no tenant can have"),
        ("[::1]:80", None, None, "an IP address, or read as one, which no tenant can have"),
    ],
)
def test_what_decides(host: str, decided_by: str | None, base: str | None, told: str) -> None:
    reading = read_host(RULES, host.encode())
    assert (reading.decided_by, reading.base, reading.steps[-1].told) == (decided_by, base, told)


def test_a_base_domain_on_which_a_tenant_may_be() -> None:
    reading = read_host(HostRules(["example.com"], base_domain_tenant=True), b"example.com")
    assert (reading.decided_by, reading.match.alias) == ("base_domain_tenant", "subdomain:")


def test_each_step_says_what_is_left() -> None:
    steps = read_host(RULES, b"ACME.Example.com.:8000").steps
    assert [(step.name, step.left, step.told) for step in steps] == [
        ("port", "ACME.Example.com.", "8000: cut off, since it identifies nothing"),
        ("root dot", "ACME.Example.com", "cut off"),
        ("capitals", "acme.example.com", "made small"),
        ("labels", "acme.example.com", "3 labels of letters, digits and inner hyphens"),
        ("meaning", "subdomain:acme", "a subdomain of example.com"),
    ]
