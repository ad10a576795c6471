"""The fast path to a tenant that a path, a header or a function names: the slow path's answers, without its work."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tenantcache import TenantMiddleware, current_tenant
from tenantcache.limits import limited
from tenantcache.lookup.memory import MAX_SPELLINGS
from tenantcache.tenant import Row
from tenantcache.web.admission import MAX_REMEMBERED
from tenantcache.web.strategies import Found, Header, Host, PathPrefix
from tests.asgi import Answer, Lines, connect, get, http_scope, request
from tests.fakes import FakeClock, FakeCounters, FakeDatabase, make_cache, row, until

BASE = b"example.com"
PROXY = ("10.1.2.3", 5000)
ROWS = [
    row("acme", domains=["acme.io"], limit_per_minute=100, limit_per_day=0),
    row("globex", domains=["globex.io"], limit_per_minute=100, limit_per_day=0),
    row("limited", limit_per_minute=2, limit_per_day=0),
    row("suspended", status="suspended"),
    row("unlimited", limit_per_minute=0, limit_per_day=0),
]
SETTINGS: dict[str, Any] = {"trusted_proxies": ["10.0.0.0/8"], "unlimited_paths": ["/t/acme/free"]}


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        return
    tenant = current_tenant()
    state = sorted(set(scope["state"]) - {"tenant_tier"})
    seen = {"tenant": tenant and tenant.id, "root": scope.get("root_path", ""), "path": scope["path"], "state": state}
    assert scope["state"]["tenant"] is tenant
    await JSONResponse(seen)(scope, receive, send)


class Watched(TenantMiddleware):
    """Counts the requests that took the slow path, of those that strategies name the tenant of."""

    slow = 0

    async def _serve_found(self, found: Found, receive: Receive, send: Send) -> None:
        self.slow += 1
        await super()._serve_found(found, receive, send)


class World:
    def __init__(self, strategies: Any, rows: tuple[Row, ...] = (), app: ASGIApp = echo, **settings: Any) -> None:
        self.clock = FakeClock()
        self.database = FakeDatabase(self.clock, *(rows or ROWS))
        self.counters = FakeCounters()
        self.cache = make_cache(self.database, self.clock, counters=self.counters, **SETTINGS | settings)
        self.app = Watched(app, cache=self.cache, strategies=strategies)
        assert self.app._fault is None

    async def get(self, host: bytes | None = BASE, path: str = "/", **options: Any) -> Answer:
        return await get(self.app, host, path, **options)

    async def tenant(self, host: bytes | None = BASE, path: str = "/", **options: Any) -> Any:
        answer = await self.get(host, path, **options)
        return answer.json()["tenant"] if answer.status == 200 else answer.status

    @property
    def names(self) -> list[Any]:
        """What leads to a fast path."""
        return list(self.cache.memory.hot)


@asynccontextmanager
async def world(strategies: Any, *rows: Row, **options: Any) -> AsyncIterator[World]:
    made = World(strategies, rows, **options)
    async with made.cache:
        yield made


def by_function(scope: Scope) -> str | None:
    name = scope["query_string"].decode()
    return f"subdomain:{name}" if name else None


async def by_coroutine(scope: Scope) -> str | None:
    await asyncio.sleep(0)
    return by_function(scope)


class ByPath:
    strategies: Any = (PathPrefix("/t"), Host())

    async def ask(self, made: World, name: str) -> Answer:
        return await made.get(path=f"/t/{name}/x")


class ByHeader:
    strategies: Any = (Header("x-tenant"), Host())

    async def ask(self, made: World, name: str) -> Answer:
        return await made.get(headers=[(b"x-tenant", name.encode())], client=PROXY)


class ByFunction:
    strategies: Any = (by_function, Host())

    async def ask(self, made: World, name: str) -> Answer:
        return await request(made.app, http_scope(BASE) | {"query_string": name.encode()})


class ByCoroutine(ByFunction):
    strategies = (by_coroutine, Host())


class ByHostAfterAll:
    strategies: Any = (by_coroutine, Header("x-tenant"), PathPrefix("/t"), Host())

    async def ask(self, made: World, name: str) -> Answer:
        return await made.get(f"{name}.example.com".encode())


WAYS = [ByPath(), ByHeader(), ByFunction(), ByCoroutine(), ByHostAfterAll()]
each_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: type(way).__name__)


def left(answer: Answer) -> int:
    assert answer.status == 200
    return int((answer.header("ratelimit") or "").partition("r=")[2].partition(";")[0])


@each_way
async def test_the_first_request_is_slow_and_the_next_are_fast(way: Any) -> None:
    async with world(way.strategies) as made:
        told = [await way.ask(made, "acme") for _ in range(4)]
        assert [left(answer) for answer in told] == [99, 98, 97, 96]
        assert len({answer.body for answer in told}) == 1, "the same scope, the same tenant"
        assert made.app.slow == 1
        assert (len(made.names), len(made.database.reads), len(made.counters.takes)) == (1, 1, 1)


@each_way
async def test_what_becomes_of_a_tenant_takes_hold(way: Any) -> None:
    async with world(way.strategies) as made:
        for change, status in (
            (row("acme", status="suspended"), 403),
            (row("acme", status="maintenance"), 503),
            (row("acme", subdomain="renamed"), 404),
            (row("acme", limit_per_minute=0, limit_per_day=0), 200),
        ):
            made.database.put(row("acme", limit_per_minute=100))
            await made.cache.sync()
            for _ in range(3):
                assert (await way.ask(made, "acme")).status == 200
            slow = made.app.slow
            made.database.put(change)
            await made.cache.sync()
            assert made.names == []
            answer = await way.ask(made, "acme")
            assert answer.status == status
            assert made.app.slow == slow + 1
        assert answer.header("ratelimit") is None
        made.database.delete("acme")
        await made.cache.sync()
        assert ((await way.ask(made, "acme")).status, made.names) == (404, [])


@each_way
async def test_past_what_freshness_allows_no_request_is_fast(way: Any) -> None:
    async with world(way.strategies) as made:
        for _ in range(3):
            assert (await way.ask(made, "acme")).status == 200
        slow = made.app.slow
        made.database.failing = True
        made.clock.advance(200)
        assert (await way.ask(made, "acme")).status == 200, "as stale_if_error has it"
        made.clock.advance(200)
        assert (await way.ask(made, "acme")).status == 503
        assert made.app.slow == slow + 2


@each_way
async def test_limits_hold_and_the_headers_say_so(way: Any) -> None:
    async with world(way.strategies) as made:
        told = [await way.ask(made, "limited") for _ in range(4)]
        assert [answer.status for answer in told] == [200, 200, 429, 429]
        assert [answer.header("ratelimit") for answer in told] == [f'"minute";r={n};t=60' for n in (1, 0, 0, 0)]
        assert {answer.header("ratelimit-policy") for answer in told} == {'"minute";q=2;w=60'}
        takes = len(made.counters.takes)
        assert (await way.ask(made, "limited")).status == 429
        assert len(made.counters.takes) == takes, "a denied request asks nothing"
        made.clock.advance(60)
        await made.cache.sync()
        assert [(await way.ask(made, "limited")).status for _ in range(3)] == [200, 200, 429]
        assert (await way.ask(made, "unlimited")).header("ratelimit") is None
        assert (await way.ask(made, "unlimited")).header("ratelimit") is None


@each_way
async def test_evicted_is_not_found(way: Any) -> None:
    async with world(way.strategies, memory_max_tenants=1) as made:
        assert left(await way.ask(made, "acme")) == 99
        assert left(await way.ask(made, "acme")) == 98
        assert left(await way.ask(made, "globex")) == 99
        assert len(made.names) == 1
        assert left(await way.ask(made, "acme")) == 97
        assert made.app.slow == 3


@each_way
async def test_limits_of_routes(way: Any) -> None:
    @limited("exports", per_minute=3)
    async def export(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("exported")

    app = Starlette(routes=[Route("/{rest:path}", export)])
    async with world(way.strategies, app=app) as made:
        told = [await way.ask(made, "acme") for _ in range(5)]
        assert [answer.status for answer in told] == [200, 200, 200, 429, 429]
        assert made.app.slow == 1
        assert [len(answer.lines("ratelimit")) for answer in told[1:3]] == [2, 2], "the route's, and the tenant's"
        assert told[2].lines("ratelimit")[0].startswith('"exports-minute";r=0;')


@each_way
async def test_unknown_names_leave_nothing_behind(way: Any) -> None:
    async with world(way.strategies) as made:
        await until(lambda: made.cache.indexer.is_ready)
        for number in range(300):
            assert (await way.ask(made, f"nobody{number}")).status == 404
            assert (await way.ask(made, "suspended")).status == 403
        assert made.names == []
        assert [found for found in made.database.reads if found != ("subdomain:suspended",)] == []


# What is spelled in many ways, and what only looks alike.


async def test_endless_spellings_of_a_name_are_bounded() -> None:
    strategies = [PathPrefix("/t"), Header("x-tenant", from_anyone=True), by_function, Host()]
    async with world(strategies, row("globex", limit_per_minute=0)) as made:
        for number in range(64):
            spelled = "".join(letter.upper() if number >> at & 1 else letter for at, letter in enumerate("globex"))
            assert await made.tenant(path=f"/t/{spelled}") == "globex"
            assert await made.tenant(headers=[(b"x-tenant", spelled.encode())]) == "globex"
            assert await made.tenant(headers=[(b"x-tenant", b" " * number + b"globex\t")]) == "globex"
            assert (await request(made.app, http_scope(BASE) | {"query_string": spelled.encode()})).status == 200
            assert await made.tenant(b"%b.EXAMPLE.com:%d" % (spelled.encode(), number)) == "globex"
        assert len(made.names) == MAX_SPELLINGS


async def test_endless_hosts_are_not_remembered() -> None:
    async with world([PathPrefix("/t")]) as made:
        for length in (261, 1_000, 60_000):
            assert await made.tenant(b"a" * length, "/t/acme") == 400
        assert made.app._admission._host_of.cache_info().currsize == 0, "so long none is looked at"
        for number in range(2 * MAX_REMEMBERED):
            assert await made.tenant(b"%d.nowhere.io" % number, "/t/acme/free") == "acme"
        assert made.app._admission._host_of.cache_info().currsize == MAX_REMEMBERED
        assert made.names == [("path:subdomain:", "acme")]


async def test_spaces_around_a_header_make_no_other_name() -> None:
    async with world([Header("x-tenant", from_anyone=True)], row("acme", limit_per_minute=0, limit_per_day=0)) as made:
        for number in range(100):
            assert await made.tenant(headers=[(b"x-tenant", b" " * number + b"acme" + b"\t" * number)]) == "acme"
        assert made.names == [("header:subdomain:", b"acme")]
        assert made.app.slow == 1


async def test_one_raw_name_of_several_sorts_leads_each_to_its_own() -> None:
    strategies: list[Any] = [
        PathPrefix("/label"),
        PathPrefix("/slug", "slug"),
        PathPrefix("/id", "id"),
        PathPrefix("/team", kind="team"),
        PathPrefix("/org", kind="org"),
        PathPrefix("/team-id", "id", kind="team"),
        Header("x-label", from_anyone=True),
        Header("x-id", "id", from_anyone=True),
        Header("x-team", kind="team", from_anyone=True),
    ]
    rows = [
        row("one", subdomain="x"),
        row("two", names=["x"], subdomain=None),
        row("x", subdomain=None),
        row("team:1", kind="team", names=["x"], subdomain=None),
        row("org:1", kind="org", names=["x"], subdomain=None),
        row("team:x", kind="team", subdomain=None),
    ]
    paths = {"/label": "one", "/slug": "two", "/id": "x", "/team": "team:1", "/org": "org:1", "/team-id": "team:x"}
    headers = {b"x-label": "one", b"x-id": "x", b"x-team": "team:1"}
    async with world(strategies, *rows) as made:
        for _ in range(3):
            assert {path: await made.tenant(path=f"{path}/x") for path in paths} == paths
            assert {name: await made.tenant(headers=[(name, b"x")]) for name in headers} == headers
        assert made.app.slow == len(paths) + len(headers)


async def test_two_host_lines_are_refused_without_proxies_too() -> None:
    async with world([PathPrefix("/t")], trusted_proxies=[]) as made:
        for _ in range(3):
            assert await made.tenant(path="/t/acme") == "acme"
            for second in (BASE, b"", b"acme.example.com"):
                assert await made.tenant(path="/t/acme", headers=[(b"host", second)]) == 400


async def test_hot_names_do_not_excuse_a_bad_request() -> None:
    async with world([PathPrefix("/t"), Header("x-tenant"), Host()]) as made:
        named: Lines = [(b"x-tenant", b"acme")]
        for _ in range(3):
            assert await made.tenant(path="/t/acme") == "acme"
            assert await made.tenant(headers=named, client=PROXY) == "acme"
        slow = made.app.slow
        for bad in (None, b"", b"a b", b"user@example.com", b"example.com:x", b"a" * 300 + b".example.com", b"\xff"):
            assert await made.tenant(bad, "/t/acme") == 400
            assert await made.tenant(bad, headers=named, client=PROXY) == 400
        assert await made.tenant(path="/t/acme", headers=[(b"host", BASE)]) == 400, "two Host lines"
        assert await made.tenant(path="http://other.example/t/acme", raw_path=b"http://other.example/t/acme") == 400
        assert await made.tenant(path="/t/acme", raw_path=b"http://other.example/t/acme", client=PROXY) == 400
        assert await made.tenant(headers=[*named, *named], client=PROXY) == 404, "two names are none"
        assert await made.tenant(headers=[*named, (b"x-tenant", b"globex")], client=PROXY) == 404
        assert await made.tenant(headers=named) is None, "from anyone it does not count"
        assert await made.tenant(headers=named, client=None) is None
        forged: Lines = [*named, (b"x-forwarded-for", b"10.1.2.3")]
        assert await made.tenant(headers=forged, client=PROXY) is None, "who says that it is the proxy is not"
        assert made.app.slow > slow


async def test_what_bypasses_or_is_unlimited_spends_nothing() -> None:
    async with world([PathPrefix("/t"), PathPrefix("/health"), Host()]) as made:
        for _ in range(2):
            assert (await made.get(path="/t/acme")).status == 200
        for path in ("/health/acme", "/health"):
            assert await made.tenant(path=path) is None, "a bypass path, whatever a strategy would find"
        answer = await made.get(path="/t/acme/free/x")
        assert (answer.json()["tenant"], answer.header("ratelimit")) == ("acme", None)
        preflight = http_scope(BASE, "/t/acme", headers=[(b"origin", b"a"), (b"access-control-request-method", b"GET")])
        assert (await request(made.app, preflight | {"method": "OPTIONS"})).header("ratelimit") is None
        assert left(await made.get(path="/t/acme")) == 97
        assert (await connect(made.app, BASE, "/t/acme"))[0]["type"] == "websocket.accept"
        assert left(await made.get(path="/t/acme")) == 95


async def test_an_old_name_never_becomes_fast() -> None:
    rows = [row("new", old_names=["old"])]
    async with world([PathPrefix("/t"), Header("x-tenant", from_anyone=True)], *rows) as made:
        for _ in range(3):
            answer = await made.get(path="/t/old/x")
            assert (answer.status, answer.header("location")) == (308, "/t/new/x")
            assert await made.tenant(headers=[(b"x-tenant", b"old")]) == "new"
        assert made.names == []


async def test_names_beside_the_host_are_fast_although_hosts_lead_to_a_primary_domain() -> None:
    shop = row("acme", domains=["acme.io"], primary_domain="acme.io")
    async with world([PathPrefix("/t"), Host()], shop, redirect_to_primary=True) as made:
        for _ in range(3):
            assert await made.tenant(path="/t/acme") == "acme"
            assert (await made.get(b"acme.example.com")).status == 308
        assert made.names == [("path:subdomain:", "acme")]


async def test_the_applications_scope_is_a_copy_below_the_prefix() -> None:
    async with world([PathPrefix("/t", segments=1)]) as made:
        for _ in range(3):
            scope = http_scope(BASE, "/shop/t/acme/x") | {"root_path": "/shop", "state": {"lifespan": 1}}
            seen = (await request(made.app, scope)).json()
            assert seen["root"] == "/shop/t/acme"
            assert seen["state"] == ["lifespan", "tenant"]
            assert scope["root_path"] == "/shop"
        assert made.app.slow == 1
    async with world([PathPrefix("/t", "slug", keep=True, segments=2)], row("1", names=["a/b"])) as made:
        for _ in range(3):
            assert (await made.get(path="/t/a/b/x")).json()["root"] == ""
        assert [await made.tenant(path=path) for path in ("/t/a", "/t/a/", "/t//a/b", "/t/a//b")] == [None] * 4
        assert made.app.slow == 5


# Functions.


async def test_a_function_is_asked_once_a_request() -> None:
    asked: list[str] = []

    async def lookup(scope: Scope) -> str | None:
        asked.append(scope["path"])
        return None if scope["path"] == "/none" else "subdomain:acme"

    async with world([lookup, Host()]) as made:
        paths = ["/", "/", "/none", "/none", "/"]
        assert [await made.tenant(path=path) for path in paths] == ["acme", "acme", None, None, "acme"]
        assert asked == paths
        assert await made.tenant(b"a b") == 400
        assert await made.tenant(path="/health") is None
        assert asked == paths, "nothing is asked of what bypasses, or has a bad host"


async def test_what_changes_while_a_function_waits_takes_hold() -> None:
    gate = asyncio.Event()
    gate.set()

    async def lookup(_scope: Scope) -> str:
        await gate.wait()
        return "subdomain:acme"

    async with world([lookup]) as made:
        for _ in range(2):
            assert await made.tenant() == "acme"
        gate.clear()
        waiting = asyncio.create_task(made.tenant())
        await asyncio.sleep(0)
        made.database.put(row("acme", status="suspended"))
        await made.cache.sync()
        gate.set()
        assert await waiting == 403


async def test_a_text_of_ones_own_class_takes_the_slow_path() -> None:
    class Odd(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return hash("subdomain:acme")

    async with world([lambda scope: Odd("subdomain:globex") if scope["path"] == "/odd" else "subdomain:acme"]) as made:
        for _ in range(2):
            assert [await made.tenant(), await made.tenant(path="/odd")] == ["acme", "globex"]
        assert made.names == [("function", "subdomain:acme")]


async def test_a_function_that_fails_fails_each_time() -> None:
    async with world([lambda scope: "acme" if scope["path"] == "/bad" else "subdomain:acme"]) as made:
        for _ in range(2):
            assert await made.tenant() == "acme"
            with pytest.raises(ValueError, match="a strategy returned 'acme'"):
                await made.tenant(path="/bad")


# Several middlewares.


async def test_two_middlewares_of_one_engine_keep_to_their_own_strategies() -> None:
    async with world([PathPrefix("/t")]) as made:
        by_host = TenantMiddleware(echo, cache=made.cache)
        for _ in range(3):
            assert (await get(by_host, b"acme.example.com")).status == 200
            assert (await get(by_host, b"acme.io")).status == 200
            assert await made.tenant(path="/t/acme") == "acme"
            assert await made.tenant(b"acme.example.com") == 404, "hot, and no strategy asked for it"
            assert await made.tenant(b"acme.io") == 404
            assert (await get(by_host, BASE, "/t/acme")).json()["tenant"] is None
        assert left(await get(by_host, b"acme.example.com")) == 90, "one lease for all"
        assert left(await made.get(path="/t/acme")) == 89


async def test_within_another_the_outer_one_decides_and_spends() -> None:
    async with world([Header("x-tenant", from_anyone=True), Host()]) as made:
        outer = TenantMiddleware(made.app, cache=made.cache)
        named: Lines = [(b"x-tenant", b"globex")]
        for _ in range(3):
            assert (await get(outer, BASE, headers=named)).json()["tenant"] == "globex", "outside it bypasses"
        for number in (99, 98, 97):
            answer = await get(outer, b"acme.example.com", headers=named)
            assert (answer.json()["tenant"], left(answer)) == ("acme", number)


# The same answers as the slow path's.

CHAINS: list[list[Any]] = [
    [PathPrefix("/t"), Host()],
    [Host(), PathPrefix("/t")],
    [PathPrefix("/t", "id", keep=True), PathPrefix("/t")],
    [Header("x-tenant"), PathPrefix("/t", "domain"), Host()],
    [Header("x-tenant", "id", from_anyone=True), Header("x-tenant", from_anyone=True)],
    [by_function, Header("x-tenant", from_anyone=True), Host()],
    [by_coroutine, PathPrefix("/t")],
]
RARE_NAMES = ["old", "old", "ACME", "globex", "limited", "suspended", "nobody", "a/b", "acme.io", "%61", ""]
NAMES = st.sampled_from(["acme"] * 4 + RARE_NAMES)
HOSTS = st.sampled_from([BASE] * 4 + b"acme.example.com ACME.example.com:80 acme.io nobody.io 10.0.0.1 a_b".split())
VALUES = NAMES.map(lambda name: name.encode()) | st.sampled_from([b" acme\t", b"\xff", b"id:acme", b"acme,globex"])
PREFIXES, ENDS = st.sampled_from(["/t/"] * 4 + ["/t", "/", "/health/"]), st.sampled_from(["", "", "/", "/x"])
PATHS = st.tuples(PREFIXES, NAMES, ENDS).map("".join)
ODD_PATHS = st.sampled_from(["/t/acme/free", "http://acme.io/t/acme", "*"])
METHODS = st.sampled_from(["GET"] * 4 + ["POST", "OPTIONS"])


@st.composite
def scopes(draw: st.DrawFn) -> dict[str, Any]:
    """Mostly of what is hot soon, with a fault or two."""
    hosts = draw(st.one_of(*[st.lists(HOSTS, min_size=1, max_size=1)] * 4, st.lists(HOSTS, max_size=2)))
    forwarded = draw(st.one_of(*[st.just([])] * 3, st.lists(HOSTS, max_size=1)))
    lines = [(b"host", host) for host in hosts] + [(b"x-forwarded-host", host) for host in forwarded]
    lines += [(b"x-tenant", value) for value in draw(st.lists(VALUES, max_size=2))]
    client = draw(st.sampled_from([PROXY, PROXY, None]))
    scope = http_scope(None, draw(PATHS | PATHS | ODD_PATHS), headers=draw(st.permutations(lines)), client=client)
    return scope | {"method": draw(METHODS), "query_string": draw(NAMES).encode()}


async def answers(
    strategies: list[Any], asked: list[dict[str, Any]], proxies: list[str], *, is_fast: bool
) -> list[Any]:
    rows = (*ROWS, row("new", old_names=["old"]))
    found = []
    async with world(strategies, *rows, trusted_proxies=proxies) as made:
        await until(lambda: made.cache.indexer.is_ready)
        for scope in asked * 3:
            if not is_fast:
                made.cache.memory.hot.clear()
            answer = await request(made.app, scope | {"state": {}})
            # The seconds that are left depend on the follower's last pull, which goes by real time.
            lines = [(name, re.sub(rb";t=\d+", b"", value)) for name, value in answer.headers]
            found.append((answer.status, lines, answer.body, made.cache.stats()["lookups"]["loads"]))
            made.clock.advance(0.3)
    return found


@pytest.mark.parametrize("proxies", [["10.0.0.0/8"], []], ids=["behind a proxy", "without"])
@given(st.sampled_from(CHAINS), st.lists(scopes(), min_size=4, max_size=12))
def test_the_fast_path_answers_as_the_slow_path(
    proxies: list[str], strategies: list[Any], asked: list[dict[str, Any]]
) -> None:
    if not proxies:
        strategies = [one for one in strategies if one != Header("x-tenant")]

    async def compare() -> None:
        fast = await answers(strategies, asked, proxies, is_fast=True)
        slow = await answers(strategies, asked, proxies, is_fast=False)
        assert [(one, other) for one, other in zip(fast, slow, strict=True) if one != other] == []

    asyncio.run(compare())
