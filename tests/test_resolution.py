"""From a request to its tenant: statuses, the primary domain, and ways to name a tenant other than its host."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from fastapi import FastAPI, Request
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tenantcache import ConfigurationError, TenantMiddleware, current_tenant
from tenantcache.tenant import Row, Tenant
from tenantcache.web.redirect import redirect_of
from tenantcache.web.strategies import Header, Host, PathPrefix, match_of
from tests.asgi import Answer, connect, get, http_scope, request
from tests.fakes import FakeClock, FakeCounters, FakeDatabase, make_cache, row, until

PROXY = ("10.1.2.3", 5000)

ROWS = [
    row("acme", domains=["acme.io", "shop.acme.io", "www.acme.io"], primary_domain="shop.acme.io"),
    row("globex", domains=["globex.io"]),
    row("limited", limit_per_minute=2),
    row("suspended", status="suspended", domains=["old.io"], primary_domain="old.io"),
    row("maintenance", status="maintenance"),
    row("deleted", status="deleted", domains=["gone.io"]),
]


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        return
    tenant = current_tenant()
    seen = {"tenant": tenant and tenant.id, "root": scope.get("root_path", ""), "path": scope["path"]}
    await JSONResponse(seen)(scope, receive, send)


class World:
    def __init__(self, app: ASGIApp, rows: tuple[Row, ...], strategies: Any, settings: dict[str, Any]) -> None:
        self.clock = FakeClock()
        self.database = FakeDatabase(self.clock, *(rows or ROWS))
        self.counters = FakeCounters()
        self.cache = make_cache(self.database, self.clock, counters=self.counters, **settings)
        self.app = TenantMiddleware(app, cache=self.cache, strategies=strategies)

    async def status(self, host: bytes | None, path: str = "/", **options: Any) -> int:
        return (await get(self.app, host, path, **options)).status

    async def tenant(self, host: bytes | None = b"example.com", path: str = "/", **options: Any) -> Any:
        answer = await get(self.app, host, path, **options)
        return answer.json()["tenant"] if answer.status == 200 else answer.status


@asynccontextmanager
async def world(*rows: Row, app: ASGIApp = echo, strategies: Any = None, **settings: Any) -> AsyncIterator[World]:
    made = World(app, rows, strategies, settings)
    assert made.app._fault is None
    async with made.cache:
        yield made


# Hosts.


async def test_the_longest_base_domain_wins() -> None:
    rows = [row("app"), row("acme"), row("eu")]
    async with world(*rows, base_domains=["example.com", "app.example.com", "other.example"]) as made:
        for _ in range(2):
            assert await made.tenant(b"acme.example.com") == "acme"
            assert await made.tenant(b"acme.app.example.com") == "acme"
            assert await made.tenant(b"eu.other.example") == "eu"
            assert await made.tenant(b"app.example.com") is None, "a base domain itself, and no subdomain of the other"
            assert await made.tenant(b"www.app.example.com") is None
            assert await made.status(b"deep.acme.example.com") == 404


@pytest.mark.parametrize("host", [b"10.0.0.7", b"10.0.0.7:8000", b"[::1]:8000", b"127.1"])
async def test_a_health_check_by_address_needs_a_bypass_path(host: bytes) -> None:
    async with world() as made:
        assert await made.tenant(host, "/health") is None
        assert await made.tenant(host, "/health/deep") is None
        assert await made.status(host, "/") == 404
        assert made.database.reads == []


async def test_www_is_another_name_only_where_it_is_stored() -> None:
    async with world() as made:
        assert await made.tenant(b"www.acme.io") == "acme"
        assert await made.status(b"www.globex.io") == 404
        assert await made.tenant(b"www.example.com") is None


# Statuses.

CODES = {"malformed": 421, "unknown": 410, "foreign": 421, "suspended": 402, "maintenance": 500, "deleted": 404}


async def test_every_refusal_has_a_status_of_ones_own() -> None:
    async with world(status_codes=CODES) as made:
        assert await _refusal(made, b"acme.example.com:x") == (421, "Misdirected Request")
        assert await _refusal(made, None) == (421, "Misdirected Request")
        assert await _refusal(made, b"nobody.example.com") == (410, "Gone")
        assert await _refusal(made, b"deep.nobody.example.com") == (410, "Gone")
        assert await _refusal(made, b"nobody.io") == (421, "Misdirected Request")
        assert await _refusal(made, b"127.0.0.1") == (421, "Misdirected Request")
        assert await _refusal(made, b"suspended.example.com") == (402, "Payment Required")
        assert await _refusal(made, b"maintenance.example.com") == (500, "Internal Server Error")
        assert await _refusal(made, b"deleted.example.com") == (404, "Not Found")
        assert (await get(made.app, b"maintenance.example.com")).header("retry-after") == "60"


async def _refusal(made: World, host: bytes | None) -> tuple[int, str]:
    answer = await get(made.app, host)
    body = answer.json()
    assert body["status"] == answer.status
    assert answer.header("cache-control") == "no-store"
    return answer.status, body["title"]


async def test_foreign_hosts_are_404_like_all_others_unless_told_otherwise() -> None:
    async with world() as made:
        assert [await made.status(host) for host in (b"nobody.io", b"127.0.0.1", b"nobody.example.com")] == [404] * 3


async def test_a_tombstone_answers_410_under_all_its_names() -> None:
    async with world() as made:
        for _ in range(2):
            assert await _refusal(made, b"deleted.example.com") == (410, "Gone")
            assert await _refusal(made, b"gone.io") == (410, "Gone")
        made.database.delete("deleted")
        await made.cache.sync()
        assert await made.status(b"gone.io") == 404, "nothing is left to tell it from one that never was"


async def test_a_refused_websocket_gets_that_status_too() -> None:
    async with world(status_codes=CODES) as made:
        start, _ = await connect(made.app, b"suspended.example.com", extension=True)
        assert start["status"] == 402


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (
            '{"banned": 410}',
            "unknown reason 'banned'; there are malformed, unknown, foreign, suspended, maintenance, deleted",
        ),
        ('{"suspended": 200}', "'suspended' with 200; give a status of an error"),
        ('{"suspended": true}', "'suspended' with True"),
        ("402", "is not a JSON object"),
        ("{", "is not JSON"),
    ],
)
def test_statuses_that_cannot_be(codes: str, expected: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        World(echo, (), None, {"status_codes": codes})
    assert expected in str(raised.value)


# The primary domain.


@asynccontextmanager
async def redirecting(**options: Any) -> AsyncIterator[World]:
    async with world(redirect_to_primary=True, **options) as made:
        yield made


def location(answer: Answer) -> str | None:
    assert answer.status in (200, 308)
    assert (answer.header("cache-control") == "no-store") == (answer.status == 308)
    return answer.header("location")


async def test_other_names_lead_to_the_primary_domain() -> None:
    async with redirecting() as made:
        for _ in range(3):
            for host in (b"acme.example.com", b"acme.io", b"WWW.acme.io."):
                assert location(await get(made.app, host)) == "http://shop.acme.io/"
            for host in (b"shop.acme.io", b"SHOP.acme.io.", b"globex.io", b"globex.example.com"):
                assert location(await get(made.app, host)) is None
        assert list(made.cache.memory.hot) == [b"shop.acme.io", b"SHOP.acme.io.", b"globex.io", b"globex.example.com"]


async def test_it_is_off_unless_asked_for() -> None:
    async with world() as made:
        for _ in range(2):
            assert location(await get(made.app, b"acme.io")) is None


async def test_path_query_scheme_and_port_are_kept() -> None:
    async with redirecting() as made:
        scope = http_scope(b"acme.io:8443", "/a b/c", raw_path=b"/a%20b/c%2Fd") | {
            "scheme": "https",
            "method": "POST",
            "query_string": b"q=%C3%BC&r=//x",
        }
        assert location(await request(made.app, scope)) == "https://shop.acme.io:8443/a%20b/c%2Fd?q=%C3%BC&r=//x"
        del scope["raw_path"]
        assert location(await request(made.app, scope)) == "https://shop.acme.io:8443/a%20b/c?q=%C3%BC&r=//x"


@pytest.mark.parametrize("path", ["//evil.example/x", "/\\evil.example", "/@evil.example", "/.evil.example"])
async def test_a_path_cannot_lead_elsewhere(path: str) -> None:
    async with redirecting() as made:
        found = location(await get(made.app, b"acme.io", path))
        assert found is not None
        assert found.startswith("http://shop.acme.io/")


async def test_a_target_without_a_path_stays() -> None:
    async with redirecting() as made:
        assert location(await get(made.app, b"acme.io", "*", raw_path=b"*")) is None


@pytest.mark.parametrize("name", [b"x-forwarded-host", b"forwarded"])
async def test_behind_a_proxy_that_replaces_the_host_there_is_no_loop(name: bytes) -> None:
    """The client is at the primary domain already, and would be sent there for ever."""
    async with redirecting() as made:
        for _ in range(3):
            said = b"host=shop.acme.io" if name == b"forwarded" else b"shop.acme.io"
            assert location(await get(made.app, b"acme.example.com", headers=[(name, said)])) is None
            assert location(await get(made.app, b"acme.example.com")) == "http://shop.acme.io/"


async def test_a_forwarded_host_of_a_trusted_proxy_is_redirected() -> None:
    async with redirecting(trusted_proxies=["10.0.0.0/8"]) as made:
        for _ in range(2):
            headers = [(b"x-forwarded-host", b"acme.io")]
            answer = await get(made.app, b"inside.example.com", headers=headers, client=PROXY)
            assert location(answer) == "http://shop.acme.io/"


async def test_a_primary_domain_that_is_none_of_the_tenants_is_no_target() -> None:
    async with redirecting() as made:
        made.database.put(row("acme", domains=["acme.io"], primary_domain="elsewhere.io"))
        await made.cache.sync()
        for _ in range(2):
            assert location(await get(made.app, b"acme.io")) is None


async def test_a_new_primary_domain_takes_hold() -> None:
    async with redirecting() as made:
        assert location(await get(made.app, b"shop.acme.io")) is None
        made.database.put(row("acme", domains=["acme.io", "shop.acme.io"], primary_domain="acme.io"))
        await made.cache.sync()
        assert location(await get(made.app, b"shop.acme.io")) == "http://acme.io/"
        assert location(await get(made.app, b"acme.io")) is None


async def test_a_redirect_costs_no_token_and_a_refusal_comes_first() -> None:
    async with redirecting() as made:
        for _ in range(5):
            await get(made.app, b"acme.io")
        assert made.counters.takes == []
        assert await made.status(b"suspended.example.com") == 403


async def test_websockets_and_bypass_paths_are_not_redirected() -> None:
    async with redirecting() as made:
        assert (await connect(made.app, b"acme.io"))[0]["type"] == "websocket.accept"
        assert location(await get(made.app, b"acme.io", "/health")) is None


# Path prefixes.


async def test_a_path_prefix_names_a_tenant() -> None:
    async with world(strategies=[PathPrefix("/t"), Host()]) as made:
        for _ in range(2):
            answer = await get(made.app, b"example.com", "/t/acme/orders/7")
            assert answer.json() == {"tenant": "acme", "root": "/t/acme", "path": "/t/acme/orders/7"}
            assert await made.tenant(path="/t/ACME") == "acme"
            assert await made.tenant(b"globex.example.com") == "globex"
            assert await made.tenant(b"globex.example.com", "/t/acme") == "acme", "the first that names one decides"
            assert await made.tenant(path="/t/nobody/x") == 404
            assert await made.tenant(path="/t/suspended/x") == 403


@pytest.mark.parametrize("path", ["/t", "/t/", "/tacme", "/T/acme", "/x/t/acme", "/t//acme", "/"])
async def test_paths_that_name_none_are_the_hosts(path: str) -> None:
    async with world(strategies=[PathPrefix("/t"), Host()]) as made:
        assert await made.tenant(path=path) is None
        assert await made.tenant(b"globex.example.com", path) == "globex"


async def test_names_that_can_be_no_tenants_are_not_looked_up() -> None:
    strategies = [
        PathPrefix("/t"),
        PathPrefix("/s", "slug"),
        PathPrefix("/by-id", "id"),
        PathPrefix("/by-domain", "domain"),
    ]
    async with world(strategies=strategies, host_index_max_hosts=0) as made:
        for name in ("a\x00", "a\x1fb", "\x7f", "a\x85", "\udcff", "a" * 254, "ü" * 127):
            for prefix in ("/t", "/s"):
                assert await made.tenant(path=f"{prefix}/{name}/x", raw_path=b"/t/-/x") == 404
        for name in ("a\x00b", "x" * 201, "\udcff"):
            assert await made.tenant(path=f"/by-id/{name}", raw_path=b"/by-id/-") == 404
        for name in ("a\x00.io", "a:80", "127.0.0.1", "x" * 300):
            assert await made.tenant(path=f"/by-domain/{name}", raw_path=b"/by-domain/-") == 404
        assert made.database.reads == []
        for name in ("-a", "a_b", "ünï", "a" * 253, "a.b", "id:acme", "%", "ü" * 126, " "):
            assert await made.tenant(path=f"/t/{name}/x", raw_path=b"/t/-/x") == 404
            assert made.database.reads[-1] == (f"subdomain:{name}",)
        assert await made.tenant(path="/by-id/acme/x") == "acme"
        assert await made.tenant(path="/by-domain/GLOBEX.io/x") == "globex"


async def test_a_flood_of_names_in_paths_is_ruled_out_by_the_index() -> None:
    strategies = [PathPrefix("/t"), PathPrefix("/team", kind="team"), PathPrefix("/s", "slug"), Host()]
    async with world(strategies=strategies, base_domain_tenant=True) as made:
        await until(lambda: made.cache.indexer.is_ready)
        for prefix in ("/t", "/team", "/s"):
            for name in ("a_b", "ünï", "a" * 253, "id:acme", "team:acme", "%"):
                assert await made.tenant(path=f"{prefix}/{name}", raw_path=b"/-") == 404
        assert await made.tenant() is None, "nor does the base domain cost a query if no tenant is there"
        assert made.database.reads == []


async def test_ids_are_not_ruled_out_by_the_index_of_hosts() -> None:
    async with world(strategies=[PathPrefix("/by-id", "id")]) as made:
        await until(lambda: made.cache.indexer.is_ready)
        assert await made.tenant(path="/by-id/globex") == "globex"
        assert await made.tenant(path="/by-id/nobody") == 404


async def test_limits_and_freshness_are_the_same_by_every_name() -> None:
    async with world(strategies=[PathPrefix("/t"), Host()]) as made:
        statuses = [await made.status(b"example.com", "/t/limited"), await made.status(b"limited.example.com")]
        assert statuses == [200, 200]
        assert await made.status(b"example.com", "/t/limited") == 429
        assert await made.status(b"limited.example.com") == 429
        reads = len(made.database.reads)
        for _ in range(10):
            assert await made.tenant(path="/t/acme") == "acme"
        assert len(made.database.reads) == reads + 1
        made.database.put(row("acme", status="suspended"))
        await made.cache.sync()
        assert await made.tenant(path="/t/acme") == 403


async def test_routes_are_those_below_the_prefix() -> None:
    async def orders(request: Request) -> JSONResponse:
        return JSONResponse({"tenant": request.state.tenant.id, "url": str(request.url_for("orders"))})

    inner = Starlette(routes=[Route("/orders", orders, name="orders")])
    fastapi = FastAPI()
    fastapi.add_api_route("/orders", orders, name="orders")
    for app in (inner, fastapi):
        async with world(app=app, strategies=[PathPrefix("/t")]) as made:
            answer = await get(made.app, b"example.com", "/t/acme/orders")
            assert answer.json() == {"tenant": "acme", "url": "http://example.com/t/acme/orders"}
            assert await made.status(b"example.com", "/t/acme/nothing") == 404


async def test_a_prefix_may_lie_below_a_mount() -> None:
    async with world(strategies=[PathPrefix("/t")]) as made:
        outer = Starlette(routes=[Mount("/shop", made.app)])
        answer = await get(outer, b"example.com", "/shop/t/acme/orders")
        assert answer.json() == {"tenant": "acme", "root": "/shop/t/acme", "path": "/shop/t/acme/orders"}
        assert (await get(outer, b"example.com", "/shop/orders")).json()["tenant"] is None


# Headers.


async def test_a_header_counts_from_a_trusted_proxy_only() -> None:
    strategies = [Header("X-Tenant"), Host()]
    async with world(strategies=strategies, trusted_proxies=["10.0.0.0/8"]) as made:
        named = [(b"x-tenant", b" Acme ")]
        for _ in range(2):
            assert await made.tenant(headers=named, client=PROXY) == "acme"
            assert await made.tenant(headers=named) is None
            assert await made.tenant(headers=named, client=None) is None
            assert await made.tenant(b"globex.example.com", headers=named) == "globex"
            assert await made.tenant(b"globex.example.com", headers=named, client=PROXY) == "acme"
            assert await made.tenant(b"globex.example.com", client=PROXY) == "globex"
        assert await made.tenant(headers=[*named, *named], client=PROXY) == 404, "two names are none"
        assert await made.tenant(headers=[(b"x-tenant", b"")], client=PROXY) == 404
        assert await made.tenant(None, headers=named, client=PROXY) == 400


async def test_a_header_is_read_as_utf_8() -> None:
    strategies = [Header("x-tenant", from_anyone=True)]
    async with world(row("1", subdomain="größe_söhne"), strategies=strategies, host_index_max_hosts=0) as made:
        assert await made.tenant(headers=[(b"x-tenant", " Größe_Söhne\t".encode())]) == "1"
        assert await made.tenant(headers=[(b"x-tenant", "größe_söhne".encode("latin-1"))]) == 404
        reads = len(made.database.reads)
        for value in (b"\xff", b"", b"a\tb", b"\xed\xb0\x80"):
            assert await made.tenant(headers=[(b"x-tenant", value)]) == 404
        assert len(made.database.reads) == reads


async def test_a_header_from_anyone_has_to_be_asked_for() -> None:
    async with world(strategies=[Header("x-tenant-id", "id", from_anyone=True)]) as made:
        assert await made.tenant(headers=[(b"x-tenant-id", b"acme")]) == "acme"
        assert await made.tenant(headers=[(b"x-tenant-id", b"nobody")]) == 404
        assert await made.tenant() is None, "the base domain itself"
        assert await made.tenant(b"globex.example.com") == 404, "the host was not to be asked"


# Functions.


async def test_a_function_may_name_a_tenant() -> None:
    def plain(scope: Scope) -> str | None:
        return dict(parse(scope)).get("tenant")

    async def coroutine(scope: Scope) -> str | None:
        name = dict(parse(scope)).get("slow")
        return None if name is None else f"subdomain:{name}"

    def parse(scope: Scope) -> list[tuple[str, str]]:
        return [tuple(pair.split("=")) for pair in scope["path"].strip("/").split("&") if "=" in pair]

    async with world(strategies=[plain, coroutine, Host()]) as made:
        for _ in range(2):
            assert await made.tenant(path="/tenant=id:acme") == "acme"
            assert await made.tenant(path="/tenant=domain:globex.io") == "globex"
            assert await made.tenant(path="/slow=acme") == "acme"
            assert await made.tenant(b"globex.example.com") == "globex"
        with pytest.raises(ValueError, match="a strategy returned 'acme'"):
            await made.tenant(path="/tenant=acme")


def test_what_names_no_tenant() -> None:
    assert match_of("subdomain:ACME").alias == "subdomain:acme"
    assert match_of("domain:Shop.Acme.IO.").alias == "domain:shop.acme.io"
    assert match_of("subdomain:").alias is None
    assert match_of("name:team:a:B").alias == "name:team:a:b"
    assert match_of("name::Acme").alias == "name::acme"
    assert match_of("name:team:").alias is None
    assert match_of("name:Team:acme").alias is None, "no kind can be that"
    for wrong in ("acme", "", "tenant:acme", "name:acme", "slug:acme"):
        with pytest.raises(ValueError, match="a strategy returned"):
            match_of(wrong)


@given(
    st.sampled_from(["id", "subdomain", "domain", "name:", "name:team"]),
    st.text()
    | st.from_regex(r"[a-zA-Z0-9.-]{1,70}", fullmatch=True)
    | st.from_regex(r"[A-Za-z:/é]{0,9}", fullmatch=True),
)
def test_whatever_is_named_can_be_looked_up_or_is_nobody(kind: str, name: str) -> None:
    match = match_of(f"{kind}:{name}")
    assert match.kind in ("alias", "unknown")
    if match.alias is not None:
        assert match.alias.startswith(f"{kind}:")
        found = match.alias.removeprefix(f"{kind}:")
        assert 0 < len(found.encode("utf-8")) <= (800 if kind == "id" else 253)
        assert "\0" not in found, "what Postgres takes as a text"
        if kind == "domain":
            assert found == name.lower().removesuffix(".") and found.isascii()
        elif kind != "id":
            assert found == "".join(letter.lower() if "A" <= letter <= "Z" else letter for letter in name)


@given(
    st.text(st.characters(codec="utf-8"), max_size=40),
    st.from_regex(rb"[!\"$-~]{0,20}", fullmatch=True),
    st.sampled_from(["http", "https"]),
)
@example("//evil.example/", b"", "https")
@example("/\\evil.example", b"?@evil.example", "https")
@example("/..//@evil.example:80", b"//x", "http")
def test_a_redirect_always_leads_to_the_primary_domain(path: str, query: bytes, scheme: str) -> None:
    tenant = Tenant("acme", "acme", "acme", ("acme.io", "shop.acme.io"), "shop.acme.io")
    scope = http_scope(b"acme.io", path) | {"query_string": query, "scheme": scheme}
    del scope["raw_path"]
    redirect = redirect_of(scope, b"acme.io:8443", "domain:acme.io", tenant)
    if not path.startswith("/"):
        assert redirect is None
        return
    assert redirect is not None
    found = urlsplit(redirect.location.decode("latin-1"))
    assert (found.scheme, found.netloc) == (scheme, "shop.acme.io:8443")
    assert (unquote(found.path), found.query.encode()) == (path, query)


# Where they come from.


async def test_strategies_come_from_the_settings() -> None:
    async with world(strategies=None, trusted_proxies=["10.0.0.0/8"]) as made:
        assert made.app._admission.strategies == ()
    database = FakeDatabase(FakeClock(), *ROWS)
    strategies = "path:/t, header:x-tenant-id:id, host"  # with options: see test_other_names.py
    cache = make_cache(database, FakeClock(), strategies=strategies, trusted_proxies=["10.0.0.0/8"])
    assert TenantMiddleware(echo, cache=cache)._admission.strategies == (
        PathPrefix("/t"),
        Header("x-tenant-id", "id"),
        Host(),
    )
    assert TenantMiddleware(echo, cache=cache, strategies=["host"])._admission.strategies == ()


@pytest.mark.parametrize(
    ("strategies", "expected"),
    [
        ("header:x-tenant", "header 'x-tenant' would never count: set TENANTCACHE_TRUSTED_PROXIES"),
        ("header:host", "header 'host' cannot name a tenant"),
        ("header:a b", "header 'a b' cannot name a tenant"),
        ("path:t", "'t' is not a path prefix"),
        ("path:/t/", "'/t/' is not a path prefix"),
        ("path:/t:name", "'path:/t:name' is not a strategy"),
        ("path://t", "'//t' is not a path prefix"),
        ("path:/\\t", "'/\\\\t' is not a path prefix"),
        ("path:/t,kind=Team", "kind 'Team' is not possible"),
        ("path:/t,kind=a:b", "kind 'a:b' is not possible"),
        ("path:/t:domain,kind=team", "kind 'team' is given with domains"),
        ("path:/t,kind", "'path:/t,kind' has an option without a value"),
        ("path:/t,keep=no,host", "'path:/t,keep=no' has an option without a value, or with a wrong one"),
        ("path:/t,kep,host", "'path:/t,kep' has the unknown option 'kep'; there are kind=team, keep and segments=2"),
        ("path:/t,segments=0", "segments is 0; give a whole number from 1 to 8"),
        ("path:/t,segments=x", "'path:/t,segments=x' has an option without a value, or with a wrong one"),
        ("header:x,keep", "'header:x,keep' has the unknown option 'keep'; there is kind=team"),
        ("host,keep", "'host,keep' is not a strategy"),
        ("path:/t,cookie:t", "'cookie:t' is not a strategy"),
        ("cookie:t", "'cookie:t' is not a strategy"),
        ("", "there are none"),
    ],
)
async def test_strategies_that_cannot_work_end_the_start(strategies: str, expected: str) -> None:
    cache = make_cache(FakeDatabase(FakeClock()), FakeClock(), strategies=strategies)
    fault = TenantMiddleware(echo, cache=cache)._fault
    assert f"TENANTCACHE_STRATEGIES: {expected}" in str(fault)
    with pytest.raises(ConfigurationError):
        await get(TenantMiddleware(echo, cache=cache), b"acme.example.com")


def test_json_statuses_are_read_as_they_are_written() -> None:
    made = World(echo, (), None, {"status_codes": json.dumps(CODES)})
    assert made.cache.settings.status_codes == CODES
