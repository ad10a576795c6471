"""A real nginx in front of uvicorn: whose word about the host counts, whatever became of the client's address.

On loopback each has an address of its own: clients come from 127.0.0.9, and nginx asks from 127.0.0.2, which is trusted
if anything is. The configuration is that of docs/proxies.md; two careless ones stand beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tenantcache.devservers import HOST, free_port
from tests.end_to_end.httpservers import SERVERS, Headers, request, send_bytes, serving_tenants
from tests.servers.databases import Databases
from tests.servers.nginx import Nginx, require_nginx

CLIENT, PROXY = "127.0.0.9", "127.0.0.2"
ACME, GLOBEX = b"acme.example.com", b"globex.example.com"

PROGRAM, *OPTIONS = SERVERS["uvicorn-httptools"]
UVICORN = {
    "no proxy headers": (PROGRAM, "--no-proxy-headers", *OPTIONS),
    "proxy headers": (PROGRAM, "--forwarded-allow-ips", PROXY, *OPTIONS),
    "proxy headers from anybody": (PROGRAM, "--forwarded-allow-ips", "*", *OPTIONS),
}

PASSES_HOST_ON, SETS_X_FORWARDED_HOST = re.findall(
    r"```nginx\n(.*?)```", (Path(__file__).parents[2] / "docs/proxies.md").read_text("utf-8"), re.DOTALL
)
LOCATIONS = {
    "passes Host on": PASSES_HOST_ON,
    "sets X-Forwarded-Host": SETS_X_FORWARDED_HOST,
    "passes everything on": """location / {
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_pass http://127.0.0.1:8000;
    }""",
    "sets Forwarded": """location / {
        proxy_set_header Host app.internal;
        proxy_set_header Forwarded "for=$remote_addr;host=$host";
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_pass http://127.0.0.1:8000;
    }""",
}

Ports = Mapping[tuple[str, str], int]
TRUSTED, OUTSIDE = (b"x-peer", b"trusted"), (b"x-peer", b"outside")

CLAIMS: list[Headers] = [
    [(b"X-Forwarded-Host", GLOBEX)],
    [(b"X-Forwarded-Host", GLOBEX), (b"X-Forwarded-For", PROXY.encode())],
    [(b"Forwarded", b"for=%b;host=%b" % (PROXY.encode(), GLOBEX))],
    [(b"Forwarded", b"host=" + GLOBEX), (b"X-Forwarded-For", b"127.0.0.1, " + PROXY.encode())],
    [(b"X-Forwarded-Host", GLOBEX), (b"X-Real-IP", PROXY.encode()), (b"X-Forwarded-For", PROXY.encode() + b":80")],
]
"""What a client sends that wants to be taken for globex's."""


@pytest.fixture(scope="module")
def ports(databases: Databases) -> Iterator[Ports]:
    """The port of nginx for each of its locations and each server behind it."""
    require_nginx()
    with serving_tenants(UVICORN, databases) as behind:
        found = {(location, server): free_port() for location in LOCATIONS for server in behind}
        blocks = [_block(port, LOCATIONS[location], behind[server]) for (location, server), port in found.items()]
        with Nginx("\n".join(blocks), list(found.values())):
            yield found


def _block(port: int, location: str, behind: int) -> str:
    assert "127.0.0.1:8000" in location
    location = location.replace("127.0.0.1:8000", f"{HOST}:{behind}")
    return f"server {{ listen {HOST}:{port}; proxy_bind {PROXY}; {location} }}"


def outcome(port: int, host: bytes = ACME, headers: Headers = (), target: bytes = b"/") -> str:
    return send_bytes(port, request(host, headers, target), source=CLIENT).outcome


@pytest.mark.parametrize("server", UVICORN)
class TestHostIsPassedOn:
    """With no trusted proxies, nothing but the Host line counts."""

    @pytest.mark.parametrize("headers", [[], *CLAIMS])
    def test_the_host_that_was_asked_for_counts(self, ports: Ports, server: str, headers: Headers) -> None:
        port = ports["passes Host on", server]
        assert outcome(port, headers=headers) == "tenant:acme"
        assert outcome(port, b"ACME.example.com.:8443", headers) == "tenant:acme"
        assert outcome(port, b"unknown.example.com", headers) == "404"

    def test_the_request_line_wins_over_the_host_line_as_in_nginx(self, ports: Ports, server: str) -> None:
        assert outcome(ports["passes Host on", server], ACME, target=b"http://globex.example.com/") == "tenant:globex"

    def test_two_host_lines_do_not_come_through(self, ports: Ports, server: str) -> None:
        assert outcome(ports["passes Host on", server], ACME, [(b"Host", GLOBEX)]) == "400"


class TestForwardedHost:
    """With nginx trusted, and a Host line that says nothing."""

    @pytest.mark.parametrize("headers", CLAIMS)
    def test_nginx_is_believed_and_the_client_is_not(self, ports: Ports, headers: Headers) -> None:
        port = ports["sets X-Forwarded-Host", "no proxy headers"]
        assert outcome(port, headers=[TRUSTED]) == "tenant:acme"
        assert outcome(port, headers=[TRUSTED, *headers]) in ("tenant:acme", "404"), "at worst it harms itself"
        assert outcome(port, headers=headers) == "404", "where nothing is trusted, app.internal is no tenant's host"

    @pytest.mark.parametrize("server", ["proxy headers", "proxy headers from anybody"])
    @pytest.mark.parametrize("headers", [[], *CLAIMS])
    @pytest.mark.parametrize("location", ["sets X-Forwarded-Host", "sets Forwarded"])
    def test_nobody_is_believed_where_the_address_is_a_headers(
        self, ports: Ports, location: str, server: str, headers: Headers
    ) -> None:
        assert outcome(ports[location, server], headers=[TRUSTED, *headers]) in ("404", "400")

    def test_the_clients_address_may_be_taken_from_a_header_inside(self, ports: Ports) -> None:
        port = ports["sets X-Forwarded-Host", "no proxy headers"]
        assert outcome(port, headers=[OUTSIDE]) == "tenant:acme"
        assert outcome(port, headers=[OUTSIDE], target=b"/client") == CLIENT
        assert outcome(port, headers=[TRUSTED], target=b"/client") == PROXY

    def test_forwarded_does_as_well(self, ports: Ports) -> None:
        port = ports["sets Forwarded", "no proxy headers"]
        assert outcome(port, headers=[TRUSTED]) == "tenant:acme"
        assert outcome(port, headers=[TRUSTED, (b"Forwarded", b"host=" + GLOBEX)]) == "tenant:acme"
        assert outcome(port, headers=[TRUSTED, (b"X-Forwarded-Host", GLOBEX)]) == "400", "one of them is the client's"


class TestACarelessProxy:
    """It passes on what clients send."""

    @pytest.mark.parametrize("server", ["proxy headers", "proxy headers from anybody"])
    @pytest.mark.parametrize("headers", CLAIMS)
    def test_a_client_that_claims_to_be_the_proxy_is_not_believed(
        self, ports: Ports, server: str, headers: Headers
    ) -> None:
        assert outcome(ports["passes everything on", server], headers=[TRUSTED, *headers]) == "404"

    def test_is_believed_in_what_it_passes_on(self, ports: Ports) -> None:
        """Not to be told from a proxy that means it: who is trusted has to set the header."""
        port = ports["passes everything on", "no proxy headers"]
        assert outcome(port, headers=[TRUSTED, (b"X-Forwarded-Host", GLOBEX)]) == "tenant:globex"
