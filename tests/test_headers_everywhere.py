"""`RateLimit` on every answer that the middleware can reach, of any origin, on the fast path and on the slow one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import cache
from typing import Any

import pytest
from fastapi import Depends, FastAPI, HTTPException, Response, WebSocket
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tenantcache import TenantCache, TenantMiddleware
from tenantcache.limits import LimitExceededError, cost, limit, limited
from tenantcache.ratelimit.core.decision import Decision
from tenantcache.web.problems import Problem
from tests.asgi import Answer, Lifespan, http_scope, websocket_scope
from tests.fakes import FakeClock, FakeCounters, FakeDatabase, make_cache, row

OWN = '"minute";r='
EXPORTS, IMPORTS = '"exports-minute";r=', '"imports-minute";r='
HOST = b"acme.example.com"


class BrokenError(Exception):
    """What no handler of the application knows."""


class HandledError(Exception):
    """What a handler of the application answers."""


@asynccontextmanager
async def engine(**settings: Any) -> AsyncIterator[TenantCache]:
    clock = FakeClock()
    database = FakeDatabase(clock, row("acme", limit_per_minute=50, limit_per_day=0))
    async with make_cache(database, clock, counters=FakeCounters(), **settings) as cache:
        yield cache


async def send_all(app: ASGIApp, scope: Scope) -> list[Message]:
    """What `app` sends, also if it raises afterwards or in between, as Starlette does after each 500."""
    first = "websocket.connect" if scope["type"] == "websocket" else "http.request"
    left: list[Message] = [{"type": first, "body": b"", "more_body": False}, {"type": "http.disconnect"}]
    sent: list[Message] = []

    async def receive() -> Message:
        return left.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    with suppress(BrokenError):
        await app(scope, receive, send)
    return sent


async def get(app: ASGIApp, path: str, method: str = "GET") -> Answer:
    start, *bodies = await send_all(app, http_scope(HOST, path) | {"method": method})
    return Answer(start["status"], list(start["headers"]), b"".join(body.get("body", b"") for body in bodies))


def names(answer: Answer) -> list[str]:
    """The first policy of each line, without its figures."""
    assert len(answer.lines("ratelimit")) == len(answer.lines("ratelimit-policy"))
    return [line[: line.index("=") + 1] for line in answer.lines("ratelimit")]


async def answer() -> str:
    return "ok"


async def respond() -> Response:
    return PlainTextResponse("ok")


async def refuse() -> None:
    raise HTTPException(409, headers={"x-why": "taken"})


async def refuse_as_starlette() -> None:
    raise StarletteHTTPException(409)


async def handled() -> None:
    raise HandledError


async def validate(number: int) -> int:
    return number


async def broken() -> None:
    raise BrokenError


def in_a_thread() -> None:
    raise HTTPException(409)


async def stream() -> StreamingResponse:
    async def body() -> AsyncIterator[bytes]:
        yield b"some"
        raise BrokenError

    return StreamingResponse(body())


async def later() -> PlainTextResponse:
    async def fail() -> None:
        raise BrokenError

    return PlainTextResponse("ok", background=BackgroundTask(fail))


async def not_modified() -> Response:
    return Response(status_code=304)


ENDPOINTS: list[Callable[..., Any]] = [
    answer,
    respond,
    refuse,
    refuse_as_starlette,
    handled,
    validate,
    broken,
    in_a_thread,
    stream,
    later,
    not_modified,
]


def application(**options: Any) -> FastAPI:
    """Routes with and without a limit of their own, and all ways to answer."""
    app = FastAPI(**options)
    exports = [Depends(limit("exports", per_minute=40))]
    both = [*exports, Depends(limit("imports", per_minute=30))]

    @app.exception_handler(HandledError)
    async def handle(_request: Request, _error: HandledError) -> JSONResponse:
        return JSONResponse({}, 418)

    for endpoint in ENDPOINTS:
        app.get(f"/plain/{endpoint.__name__}", response_model=None)(endpoint)
        app.get(f"/exports/{endpoint.__name__}", dependencies=exports, response_model=None)(endpoint)
        app.get(f"/both/{endpoint.__name__}", dependencies=both, response_model=None)(endpoint)
    app.get("/dear", dependencies=[*exports, Depends(cost(51))])(answer)

    return app


def with_websockets(app: FastAPI) -> FastAPI:
    exports = Depends(limit("exports", per_minute=40))

    @app.websocket("/accepts")
    async def accepts(websocket: WebSocket, _: None = exports) -> None:
        await websocket.accept()

    @app.websocket("/denies")
    async def denies(websocket: WebSocket, _: None = exports) -> None:
        await websocket.send_denial_response(PlainTextResponse("no", 403))

    @app.websocket("/raises")
    async def raises(_: WebSocket, __: None = exports) -> None:
        raise HTTPException(403)

    return app


@cache
def mounted() -> FastAPI:
    """One for all tests: FastAPI takes 30 ms to look at so many routes, and an application knows no engine."""
    return application()


@cache
def plain() -> FastAPI:
    app = application()
    app.mount("/mounted", mounted())
    return app


def added(cache: TenantCache, **options: Any) -> ASGIApp:
    app = with_websockets(application(**options))
    app.mount("/mounted", mounted())
    app.add_middleware(TenantMiddleware, cache=cache)
    return app


def around(cache: TenantCache, **options: Any) -> ASGIApp:
    return TenantMiddleware(application(**options) if options else plain(), cache=cache)


PLACES = [pytest.param(added, id="add_middleware"), pytest.param(around, id="around the application")]
ANSWERS = [
    pytest.param("answer", 200, id="returned"),
    pytest.param("respond", 200, id="a response of the endpoint's own"),
    pytest.param("refuse", 409, id="HTTPException"),
    pytest.param("refuse_as_starlette", 409, id="HTTPException of Starlette"),
    pytest.param("in_a_thread", 409, id="HTTPException in a thread"),
    pytest.param("handled", 418, id="an exception with a handler"),
    pytest.param("validate", 422, id="a request that is not valid"),
    pytest.param("stream", 200, id="a stream that breaks off"),
    pytest.param("later", 200, id="a background task that fails"),
    pytest.param("not_modified", 304, id="without a body"),
]
LIMITED = [
    pytest.param("plain", [OWN], id="the tenant's limits alone"),
    pytest.param("exports", [EXPORTS, OWN], id="a route's limit"),
    pytest.param("both", [EXPORTS, IMPORTS, OWN], id="two of them"),
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("endpoint", "status"), ANSWERS)
@pytest.mark.parametrize(("below", "expected"), LIMITED)
@pytest.mark.parametrize("mounted", [False, True])
async def test_what_the_application_answers(
    place: Any, endpoint: str, status: int, below: str, expected: list[str], mounted: bool
) -> None:
    path = f"{'/mounted' if mounted else ''}/{below}/{endpoint}"
    async with engine() as cache:
        app = place(cache)
        for _ in range(3):  # on the slow path, then on the fast one
            answer = await get(app, path)
            assert (answer.status, names(answer)) == (status, expected)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/nowhere", "GET", 404),
        ("/mounted/nowhere", "GET", 404),
        ("/plain/answer", "POST", 405),
        ("/exports/answer", "OPTIONS", 405),
        ("/plain/answer/", "GET", 307),
        ("/docs", "GET", 200),
    ],
)
async def test_what_the_router_answers(place: Any, path: str, method: str, status: int) -> None:
    async with engine() as cache:
        app = place(cache)
        for _ in range(2):
            answer = await get(app, path, method)
            assert (answer.status, names(answer)) == (status, [OWN])


async def handle_all(_request: Request, _error: Exception) -> PlainTextResponse:
    return PlainTextResponse("sorry", 500)


@pytest.mark.parametrize("options", [{}, {"debug": True}, {"exception_handlers": {Exception: handle_all}}])
@pytest.mark.parametrize(("below", "expected"), LIMITED)
async def test_500_has_them_where_the_middleware_is_outermost(
    options: dict[str, Any], below: str, expected: list[str]
) -> None:
    async with engine() as cache:
        app = around(cache, **options)
        for _ in range(3):
            answer = await get(app, f"/{below}/broken")
            assert (answer.status, names(answer)) == (500, expected)


async def test_500_of_a_mounted_application_has_them_anyway() -> None:
    async with engine() as cache:
        app = added(cache)
        for _ in range(2):
            answer = await get(app, "/mounted/exports/broken")
            assert (answer.status, names(answer)) == (500, [EXPORTS, OWN])


async def test_500_under_add_middleware_has_none() -> None:
    """Starlette answers it outside of all added middlewares. The documentation says so, and how to get them."""
    async with engine() as cache:
        app = added(cache)
        for _ in range(2):
            answer = await get(app, "/exports/broken")
            assert (answer.status, names(answer)) == (500, [])


async def test_refusals_have_the_lines_of_what_was_spent_before() -> None:
    async with engine() as cache:
        app = added(cache)
        for _ in range(2):
            answer = await get(app, "/dear")
            assert (answer.status, names(answer)) == (429, [EXPORTS, OWN])
        for _ in range(31):
            refused = await get(app, "/both/refuse")
        assert (refused.status, refused.json()["violated-policies"]) == (429, ["imports-minute"])
        assert names(refused) == [EXPORTS, IMPORTS, OWN]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/accepts", "websocket.accept"),
        ("/denies", "websocket.http.response.start"),
        ("/raises", "websocket.http.response.start"),
    ],
)
async def test_websockets(path: str, kind: str) -> None:
    async with engine() as cache:
        app = added(cache)
        for _ in range(2):
            start, *_ = await send_all(app, websocket_scope(HOST, path, extension=True))
            assert start["type"] == kind
            assert names(Answer(0, list(start["headers"]), b"")) == [EXPORTS, OWN]


async def test_a_refusal_of_ones_own_has_them_once() -> None:
    def reply(_scope: Scope, problem: Problem) -> ASGIApp:
        response = PlainTextResponse("later", problem.status)
        response.raw_headers.extend(problem.headers)
        return response

    async with engine() as cache:
        app = application()
        app.add_middleware(TenantMiddleware, cache=cache, reply=reply)
        for path, admitted, expected in (("/exports/answer", 40, [EXPORTS, OWN]), ("/plain/answer", 10, [OWN])):
            for _ in range(admitted + 1):
                refused = await get(app, path)
            assert (refused.status, refused.body, names(refused)) == (429, b"later", expected)


async def test_an_error_that_comes_up_to_the_middleware_has_the_tenants_own() -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise LimitExceededError(Decision(False, ("exports-day",), 7.2))

    async with engine() as cache:
        middleware = TenantMiddleware(app, cache=cache)
        for _ in range(2):
            answer = await get(middleware, "/")
            assert (answer.status, names(answer)) == (429, [OWN])


@pytest.mark.parametrize("lives", [True, False])
async def test_the_first_answer_of_a_limited_route_on_the_fast_path(lives: bool) -> None:
    """With lifespan events the routes are known before. Without, an admitted answer has the line all the same."""

    @limited("exports", per_minute=40)
    async def export(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("exported")

    @limited("exports", per_minute=40)
    async def fail(_request: Request) -> PlainTextResponse:
        raise StarletteHTTPException(409)

    async def plain(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("plain")

    app = Starlette(routes=[Route("/", plain), Route("/exports", export), Route("/fails", fail)])
    clock = FakeClock()
    database = FakeDatabase(clock, row("acme", limit_per_minute=50, limit_per_day=0))
    cache = make_cache(database, clock, counters=FakeCounters())
    app.add_middleware(TenantMiddleware, cache=cache)
    async with Lifespan(app) if lives else cache:
        for _ in range(3):
            assert names(await get(app, "/")) == [OWN]
        if lives:
            assert names(await get(app, "/fails")) == [EXPORTS, OWN]
        assert names(await get(app, "/exports")) == [EXPORTS, OWN]
        clock.advance(1)  # hot requests look again once a second
        for _ in range(2):
            assert names(await get(app, "/fails")) == [EXPORTS, OWN]


async def test_none_are_sent_if_the_settings_say_so() -> None:
    async with engine(rate_limit_headers=False) as cache:
        app = around(cache)
        for endpoint in ("answer", "refuse", "broken"):
            for _ in range(2):
                assert names(await get(app, f"/both/{endpoint}")) == []


@pytest.mark.parametrize("replies", [False, True])
async def test_503_has_no_line_of_what_could_not_be_counted(replies: bool) -> None:
    def reply(_scope: Scope, problem: Problem) -> ASGIApp:
        return PlainTextResponse("later", problem.status)

    clock, counters = FakeClock(), FakeCounters()
    database = FakeDatabase(clock, row("acme", limit_per_minute=50, limit_per_day=0))
    async with make_cache(database, clock, counters=counters, on_limiter_error="deny") as cache:
        app = application()
        app.add_middleware(TenantMiddleware, cache=cache, reply=reply if replies else None)
        for _ in range(2):
            assert names(await get(app, "/plain/answer")) == [OWN]
        counters.failing = True
        answer = await get(app, "/exports/answer")
        assert (answer.status, names(answer)) == (503, [OWN])
        clock.advance(10_800)  # past all minutes for which tokens were taken in advance
        await cache.sync()
        answer = await get(app, "/exports/answer")
        assert (answer.status, names(answer)) == (503, [])


async def test_what_spends_nothing_has_lines_of_the_routes_limits_alone() -> None:
    paths = ["/plain", "/exports", "/both"]
    async with engine(unlimited_paths=paths) as cache:
        app = added(cache)
        for path, expected in zip(paths, ([], [EXPORTS], [EXPORTS, IMPORTS]), strict=True):
            for _ in range(2):
                answer = await get(app, f"{path}/refuse")
                assert (answer.status, names(answer)) == (409, expected)
    async with engine(bypass_paths=paths) as cache:
        app = added(cache)
        for path in paths:
            assert names(await get(app, f"{path}/refuse")) == [], "no tenant, no limit"


async def test_a_limit_that_another_tenants_request_made_known() -> None:
    """What was lent to requests before is spent by those after it: nothing is renewed in between."""
    clock = FakeClock()
    database = FakeDatabase(clock, *(row(name, limit_per_minute=50, limit_per_day=0) for name in ("acme", "globex")))
    async with make_cache(database, clock, counters=FakeCounters()) as cache:
        app = added(cache)
        for _ in range(2):
            assert names(await get(app, "/plain/answer")) == [OWN]
        await send_all(app, http_scope(b"globex.example.com", "/exports/refuse"))
        for _ in range(2):
            assert names(await get(app, "/exports/refuse")) == [EXPORTS, OWN]
