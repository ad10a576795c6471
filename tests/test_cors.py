"""CORS: what preflights cost, and which answers a browser may read, by the order of the two middlewares."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from tenantcache import TenantCache, TenantMiddleware
from tenantcache.limits import costs, limited
from tenantcache.web.problems import Problem
from tests.asgi import Answer, http_scope, request
from tests.fakes import FakeClock, FakeCounters, FakeDatabase, make_cache, row

ORIGIN = (b"origin", b"https://page.example")
ASKED = (b"access-control-request-method", b"GET")
EXPOSED = ["RateLimit", "RateLimit-Policy", "Retry-After"]
ROWS = (
    row("acme", limit_per_minute=3, limit_per_day=0),
    row("busy", domains=["busy.io"], limit_per_minute=100, limit_per_day=0),
    row("asleep", status="suspended"),
)

# Everything that reaches the engine as OPTIONS without being a preflight.
NO_PREFLIGHTS = [
    pytest.param("OPTIONS", (), id="OPTIONS alone"),
    pytest.param("OPTIONS", (ORIGIN,), id="without the method it asks for"),
    pytest.param("OPTIONS", (ASKED,), id="without an origin"),
    pytest.param("GET", (ORIGIN, ASKED), id="another method"),
    pytest.param("POST", (ORIGIN, ASKED), id="a method that changes things"),
]


def engine(**settings: Any) -> TenantCache:
    clock = FakeClock()
    return make_cache(FakeDatabase(clock, *ROWS), clock, counters=FakeCounters(), **settings)


@pytest.fixture
def settings() -> dict[str, Any]:
    return {}


@pytest.fixture
async def cache(settings: dict[str, Any]) -> AsyncIterator[TenantCache]:
    async with engine(**settings) as opened:
        yield opened


async def ask(
    app: ASGIApp, method: str = "GET", headers: tuple[tuple[bytes, bytes], ...] = (ORIGIN,), tenant: str = "acme"
) -> Answer:
    scope = http_scope(f"{tenant}.example.com".encode(), headers=headers)
    return await request(app, scope | {"method": method})


async def preflight(app: ASGIApp, tenant: str = "acme") -> Answer:
    return await ask(app, "OPTIONS", (ORIGIN, ASKED), tenant)


async def page(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("page")


def cors(app: ASGIApp) -> CORSMiddleware:
    return CORSMiddleware(app, allow_origins=["https://page.example"], expose_headers=EXPOSED)


def outside(cache: TenantCache, **options: Any) -> Starlette:
    """As the documentation says: what is added last is outermost."""
    app = Starlette(routes=[Route("/", page)])
    app.add_middleware(TenantMiddleware, cache=cache, **options)
    app.add_middleware(CORSMiddleware, allow_origins=["https://page.example"], expose_headers=EXPOSED)
    return app


def inside(cache: TenantCache, **options: Any) -> Starlette:
    app = Starlette(routes=[Route("/", page)])
    app.add_middleware(CORSMiddleware, allow_origins=["https://page.example"], expose_headers=EXPOSED)
    app.add_middleware(TenantMiddleware, cache=cache, **options)
    return app


ORDERS = [pytest.param(outside, id="CORS outside"), pytest.param(inside, id="CORS inside")]


@pytest.mark.parametrize("build", ORDERS)
async def test_preflights_spend_nothing(build: Any, cache: TenantCache) -> None:
    """Neither of a tenant that is new here, nor of one whose requests take the fast path, nor of one at its limit."""
    app = build(cache)
    for left in (2, 1, 0):
        for _ in range(4):
            asked = await preflight(app)
            assert (asked.status, asked.header("access-control-allow-origin")) == (200, "https://page.example")
        assert (await ask(app)).header("ratelimit") == f'"minute";r={left};t=60'
    assert (await ask(app)).status == 429
    assert (await preflight(app)).status == 200


async def test_preflights_that_an_application_answers_itself_spend_nothing(cache: TenantCache) -> None:
    app = Starlette(routes=[Route("/", page, methods=["GET", "OPTIONS"])])
    app.add_middleware(TenantMiddleware, cache=cache)
    assert [(await preflight(app)).status for _ in range(5)] == [200] * 5
    assert [(await ask(app)).status for _ in range(4)] == [200, 200, 200, 429]


async def test_preflights_are_no_usage(cache: TenantCache) -> None:
    app = inside(cache)
    await ask(app)
    for _ in range(4):
        await preflight(app)
    assert [(owner, sum(spent.tokens for spent in days)) for owner, days in cache.limiter.drain()] == [("acme", 1)]


@pytest.mark.parametrize(("method", "headers"), NO_PREFLIGHTS)
@pytest.mark.parametrize("hot", [False, True])
async def test_what_is_no_preflight_spends(
    method: str, headers: tuple[tuple[bytes, bytes], ...], hot: bool, cache: TenantCache
) -> None:
    app = Starlette(routes=[Route("/", page, methods=["GET", "POST", "OPTIONS"])])
    app.add_middleware(TenantMiddleware, cache=cache)
    if hot:
        await ask(app)
    statuses = [(await ask(app, method, headers)).status for _ in range(4)]
    assert statuses == ([200, 200, 429, 429] if hot else [200, 200, 200, 429])


@pytest.mark.parametrize("settings", [{"limit_preflights": True}])
async def test_preflights_may_be_made_to_spend(cache: TenantCache) -> None:
    app = inside(cache)
    assert [(await preflight(app)).status for _ in range(4)] == [200, 200, 200, 429]
    assert (await ask(app)).status == 429


async def test_a_preflight_spends_a_routes_own_limit_if_it_gets_there(cache: TenantCache) -> None:
    """Only an application that answers preflights in its own routes has them counted, by its own decorator."""

    @limited("pages", per_minute=2)
    async def counted(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("page")

    app = Starlette(routes=[Route("/", counted, methods=["OPTIONS"])])
    app.add_middleware(TenantMiddleware, cache=cache)
    assert [(await preflight(app)).status for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize(("tenant", "status"), [("unknown", 404), ("asleep", 403)])
async def test_preflights_are_for_tenants_that_are_served(tenant: str, status: int, cache: TenantCache) -> None:
    assert (await preflight(inside(cache), tenant)).status == status
    assert (await preflight(outside(cache), tenant)).status == 200, "CORSMiddleware answers before a lookup"


async def test_a_page_may_read_a_refusal_if_cors_is_outside(cache: TenantCache) -> None:
    app = outside(cache)
    answers = [await ask(app) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    for answer in [*answers, await ask(app, tenant="unknown"), await ask(app, tenant="asleep")]:
        assert answer.header("access-control-allow-origin") == "https://page.example"
        assert answer.header("access-control-expose-headers") == "RateLimit, RateLimit-Policy, Retry-After"


async def test_a_page_may_not_read_one_if_cors_is_inside(cache: TenantCache) -> None:
    """The documented reason for the other order, and what `reply` does about it."""

    def reply(_scope: Scope, problem: Problem) -> ASGIApp:
        return cors(problem)

    bare, replying = inside(cache), inside(cache, reply=reply)
    for _ in range(3):
        await ask(bare)
    for tenant, status in (("acme", 429), ("unknown", 404), ("asleep", 403)):
        silent, told = await ask(bare, tenant=tenant), await ask(replying, tenant=tenant)
        assert (silent.status, silent.header("access-control-allow-origin")) == (status, None)
        assert (told.status, told.header("access-control-allow-origin")) == (status, "https://page.example")
    refused = await ask(replying)
    assert (refused.header("ratelimit"), refused.header("retry-after")) == ('"minute";r=0;t=60', "60")


@pytest.mark.parametrize("settings", [{"unlimited_paths": ["/hooks"]}])
@pytest.mark.parametrize("first", ["preflight", "unlimited path"])
async def test_what_a_tenants_second_name_is_first_asked_for_does_not_matter(first: str, cache: TenantCache) -> None:
    """A refusal for its cost gives the token back on the fast path, also if what came first there had spent none."""

    @costs(101)
    async def dear(_request: Request) -> PlainTextResponse:
        raise AssertionError("a minute has 100")

    app = Starlette(routes=[Route("/", page), Route("/hooks", page), Route("/dear", dear)])
    app.add_middleware(TenantMiddleware, cache=cache)
    second = http_scope(b"busy.io")
    left = [(await ask(app, tenant="busy")).header("ratelimit") for _ in range(2)]
    assert left == ['"minute";r=99;t=60', '"minute";r=98;t=60']
    if first == "preflight":
        await request(app, second | {"method": "OPTIONS", "headers": [*second["headers"], ORIGIN, ASKED]})
    else:
        await request(app, second | {"path": "/hooks"})
    for _ in range(5):
        assert (await request(app, second | {"path": "/dear"})).status == 429
    assert (await request(app, second)).header("ratelimit") == '"minute";r=97;t=60'
