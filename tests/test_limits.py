"""Limits of single routes: dependencies, decorators, costs; paths without limits; what shadow mode says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tenantcache import ConfigurationError, TenantMiddleware
from tenantcache.limits import LimitExceededError, cost, costs, limit, limited
from tenantcache.ratelimit.core.decision import Decision
from tenantcache.web.problems import Problem
from tests.asgi import Answer, Lifespan, connect, get
from tests.fakes import FakeClock, FakeCounters, FakeDatabase, make_cache, row

ACME, GLOBEX = b"acme.example.com", b"globex.example.com"


class World:
    def __init__(self, **settings: Any) -> None:
        self.clock = FakeClock()
        rows = [row("acme", limit_per_minute=100), row("globex", limit_per_minute=100), row("free", limit_per_minute=0)]
        self.counters = FakeCounters()
        values = {"limit_per_day": 0} | settings
        self.database = FakeDatabase(self.clock, *rows)
        self.cache = make_cache(self.database, self.clock, counters=self.counters, **values)


@asynccontextmanager
async def world(**settings: Any) -> AsyncIterator[World]:
    made = World(**settings)
    async with made.cache:
        yield made


def fastapi(made: World, **options: Any) -> FastAPI:
    app = FastAPI()
    app.add_middleware(TenantMiddleware, cache=made.cache, **options)
    exports = limit("exports", per_minute=2, per_day=3)

    @app.get("/exports", dependencies=[Depends(exports)])
    async def export() -> str:
        return "exported"

    @app.get("/thread", dependencies=[Depends(exports)])
    def in_a_thread() -> str:
        return "exported"

    @app.get("/plain")
    async def plain() -> str:
        return "plain"

    @app.get("/dear", dependencies=[Depends(cost(10))])
    async def dear() -> str:
        return "dear"

    @app.get("/half", dependencies=[Depends(cost(50))])
    async def half() -> str:
        return "half"

    @app.get("/both", dependencies=[Depends(cost(50)), Depends(exports)])
    async def both() -> str:
        return "both"

    @app.get("/named-first", dependencies=[Depends(exports), Depends(cost(50))])
    async def named_first() -> str:
        return "both"

    @app.get("/free/dear", dependencies=[Depends(cost(1000))])
    async def free_and_dear() -> str:
        return "never"

    @app.get("/too-dear", dependencies=[Depends(cost(101))])
    async def too_dear() -> str:
        return "never"

    @app.websocket("/ws")
    async def socket(websocket: WebSocket, _: None = Depends(exports)) -> None:
        await websocket.accept()

    return app


def lines(answer: Answer, name: bytes) -> list[str]:
    """The lines of a header that is a list, and may be sent in several (RFC 9110 5.3)."""
    return [value.decode() for each, value in answer.headers if each == name]


async def test_a_named_limit_holds_for_its_routes_together() -> None:
    async with world() as made:
        app = fastapi(made)
        assert [(await get(app, ACME, path)).status for path in ("/exports", "/thread", "/exports")] == [200, 200, 429]
        assert (await get(app, ACME, "/plain")).status == 200


async def test_each_tenant_has_its_own() -> None:
    async with world() as made:
        app = fastapi(made)
        for host in (ACME, GLOBEX):
            assert [(await get(app, host, "/exports")).status for _ in range(3)] == [200, 200, 429]


async def test_a_refusal_is_a_problem_like_the_others() -> None:
    async with world() as made:
        app = fastapi(made)
        for _ in range(2):
            await get(app, ACME, "/exports")
        refused = await get(app, ACME, "/exports")
        assert refused.header("content-type") == "application/problem+json"
        assert refused.json()["violated-policies"] == ["exports-minute"]
        assert refused.json()["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
        assert refused.header("retry-after") == "60"
        assert lines(refused, b"ratelimit-policy") == [
            '"exports-minute";q=2;w=60, "exports-day";q=3;w=86400',
            '"minute";q=100;w=60',
        ]
        assert lines(refused, b"ratelimit") == [
            '"exports-minute";r=0;t=60, "exports-day";r=1;t=6000',
            '"minute";r=97;t=60',
        ]
        made.clock.advance(60)
        assert [(await get(app, ACME, "/exports")).status for _ in range(2)] == [200, 429]
        assert (await get(app, ACME, "/exports")).json()["violated-policies"] == ["exports-day"]


async def test_what_is_admitted_tells_of_it_as_well() -> None:
    async with world() as made:
        app = fastapi(made)
        for left in (1, 0):  # the slow path and the fast one
            answer = await get(app, ACME, "/exports")
            named, own = lines(answer, b"ratelimit")
            assert named == f'"exports-minute";r={left};t=60, "exports-day";r={left + 1};t=6000'
            assert own.startswith('"minute";r=')
        assert len(lines(await get(app, ACME, "/plain"), b"ratelimit")) == 1


async def test_an_unlimited_tenant_is_held_to_it_too() -> None:
    async with world() as made:
        app = fastapi(made)
        answers = [await get(app, b"free.example.com", "/exports") for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert answers[2].header("ratelimit-policy") == '"exports-minute";q=2;w=60, "exports-day";q=3;w=86400'


async def test_a_websocket_is_refused_before_it_is_accepted() -> None:
    async with world() as made:
        app = fastapi(made)
        kinds = [(await connect(app, ACME, "/ws", extension=True))[0] for _ in range(3)]
        assert [kind["type"] for kind in kinds[:2]] == ["websocket.accept"] * 2
        assert (kinds[2]["type"], kinds[2]["status"]) == ("websocket.http.response.start", 429)
        assert (await connect(app, ACME, "/ws"))[0] == {
            "type": "websocket.close",
            "code": 1013,
            "reason": "Too Many Requests",
        }


async def test_the_reply_of_ones_own_gets_the_decision() -> None:
    seen: list[Problem] = []

    def reply(_scope: Any, problem: Problem) -> PlainTextResponse:
        seen.append(problem)
        return PlainTextResponse("later", 429)

    async with world() as made:
        app = fastapi(made, reply=reply)
        answers = [await get(app, ACME, "/exports") for _ in range(3)]
        assert answers[2].body == b"later"
        [problem] = seen
        assert problem.retry_after == 60
        assert problem.members["violated-policies"] == ["exports-minute"]


async def test_an_application_that_is_mounted_answers_the_same() -> None:
    async with world() as made:
        outer = FastAPI()
        outer.add_middleware(TenantMiddleware, cache=made.cache)
        inner = FastAPI()
        outer.mount("/inner", inner)

        @inner.get("/exports", dependencies=[Depends(limit("inner", per_minute=1))])
        async def export() -> str:
            return "exported"

        for status in (200, 429, 429):
            answer = await get(outer, ACME, "/inner/exports")
            assert answer.status == status
        assert answer.json()["violated-policies"] == ["inner-minute"]
        assert lines(answer, b"ratelimit")[0] == '"inner-minute";r=0;t=60'


async def test_an_application_may_handle_it_itself() -> None:
    async with world() as made:
        app = fastapi(made)

        @app.exception_handler(LimitExceededError)
        async def handle(_request: Request, error: LimitExceededError) -> PlainTextResponse:
            return PlainTextResponse(f"{error.decision.violated[0]}: {error.decision.retry_after}", 420)

        answers = [await get(app, ACME, "/exports") for _ in range(3)]
        assert (answers[2].status, answers[2].body) == (420, b"exports-minute: 60.0")


async def test_other_frameworks_may_raise_it() -> None:
    """An ASGI application without Starlette's handlers: the error comes up to the middleware."""
    decision = Decision(False, ("exports-day",), 7.2)

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise LimitExceededError(decision)

    async with world() as made:
        middleware = TenantMiddleware(app, cache=made.cache)
        for _ in range(2):
            answer = await get(middleware, ACME)
            assert (answer.status, answer.header("retry-after")) == (429, "8")


async def test_a_route_may_cost_more() -> None:
    async with world() as made:
        app = fastapi(made)
        statuses = [(await get(app, ACME, "/dear")).status for _ in range(11)]
        assert statuses == [200] * 10 + [429]
        assert (await get(app, GLOBEX, "/dear")).status == 200
        assert (await get(app, GLOBEX, "/plain")).header("ratelimit") == '"minute";r=89;t=60'


async def test_a_refusal_for_its_cost_gives_back_the_days_token() -> None:
    async with world(limit_per_day=25) as made:
        app = fastapi(made)
        assert [(await get(app, ACME, "/dear")).status for _ in range(4)] == [200, 200, 429, 429]
        statuses = [(await get(app, ACME, "/plain")).status for _ in range(6)]
        assert statuses == [200] * 5 + [429]


@pytest.mark.parametrize("is_hot", [False, True])
@pytest.mark.parametrize("at_once", [10, 51, 100])
@pytest.mark.parametrize("per_day", [0, 100, 1000])
async def test_of_many_dear_requests_at_once_one_that_fits_is_served(
    per_day: int, at_once: int, *, is_hot: bool
) -> None:
    """Each comes in with one token of 100, and needs 50."""
    async with world(limit_per_day=per_day) as made:
        app = fastapi(made)
        if is_hot:
            assert [(await get(app, ACME, "/plain")).status for _ in range(10)] == [200] * 10
            made.clock.advance(60)
        statuses = [
            answer.status for answer in await asyncio.gather(*(get(app, ACME, "/half") for _ in range(at_once)))
        ]
        served = statuses.count(200)
        left_of_day = (per_day or 1000) - 10 * is_hot
        assert served in ((1, 2) if left_of_day >= 100 else (1,))
        assert statuses.count(429) == at_once - served
        plain = [(await get(app, ACME, "/plain")).status for _ in range(110)].count(200)
        assert plain == min(100, left_of_day) - 50 * served, "the others have left no trace"
        spent = 10 * is_hot + 50 * served + plain
        await made.cache.close()
        assert made.counters.total("day") == (spent if per_day else 0)
        assert made.cache.limiter.stats()["denied"] > 0


async def test_dear_requests_one_after_another_are_served_while_they_fit() -> None:
    async with world(limit_per_day=1000) as made:
        app = fastapi(made)
        assert [(await get(app, ACME, "/half")).status for _ in range(4)] == [200, 200, 429, 429]
        assert (await get(app, ACME, "/plain")).status == 429, "two have used the minute up"
        made.clock.advance(60)
        assert [(await get(app, ACME, path)).status for path in ("/plain", "/half", "/half")] == [200, 200, 429]
        assert [(await get(app, ACME, "/plain")).status for _ in range(50)] == [200] * 49 + [429]


async def test_a_request_on_the_fast_path_gives_its_token_back_as_well() -> None:
    """It has no time of its own: that of the tokens that were lent to all like it is in the same minute."""
    async with world(limit_per_day=1_000_000) as made:
        app = fastapi(made)
        for _ in range(3):
            assert [(await get(app, ACME, "/plain")).status for _ in range(60)] == [200] * 60
            before = len(made.counters.takes)
            assert [(await get(app, ACME, "/half")).status for _ in range(10)] == [429] * 10
            asking = [any(amount > 0 for _, amount in take) for take in made.counters.takes[before:]]
            assert asking in ([], [True], [True, False]), "what was reserved in vain may go back"
            assert [(await get(app, ACME, "/plain")).status for _ in range(41)] == [200] * 40 + [429]
            made.clock.advance(60)
            await made.cache.sync()


@pytest.mark.parametrize("path", ["/exports", "/both", "/named-first"])
async def test_what_a_route_refuses_leaves_no_trace(path: str) -> None:
    """Neither the tenant's own token, nor that of another limit of the same route."""
    async with world(limit_per_day=1000) as made:
        app = fastapi(made)
        statuses = [(await get(app, ACME, path)).status for _ in range(20)]
        served = statuses.count(200)
        assert served in (1, 2)
        own = {"/exports": 1}.get(path, 50) * served
        assert [(await get(app, ACME, "/plain")).status for _ in range(101)].count(200) == 100 - own
        exports = [(await get(app, GLOBEX, "/exports")).status for _ in range(3)]
        assert exports == [200, 200, 429], "another tenant has its own"
        await made.cache.close()
        assert made.counters.total("day") == 100 + served + 2 + 2, "each tenant's own, and of the limit's: 3 a day"


async def test_a_dear_request_that_is_refused_gives_a_named_token_back() -> None:
    async with world() as made:
        app = fastapi(made)
        assert (await get(app, ACME, "/half")).status == 200
        assert [(await get(app, ACME, "/plain")).status for _ in range(10)] == [200] * 10
        assert [(await get(app, ACME, "/named-first")).status for _ in range(5)] == [429] * 5
        assert [(await get(app, ACME, "/exports")).status for _ in range(3)] == [200, 200, 429]


async def test_nothing_goes_back_that_was_not_spent() -> None:
    """On a path without limits a request comes in for nothing: what is refused gives no day's token back."""
    async with world(unlimited_paths=["/free"], limit_per_day=50) as made:
        app = fastapi(made)
        assert [(await get(app, ACME, "/plain")).status for _ in range(40)] == [200] * 40
        for _ in range(200):
            assert (await get(app, ACME, "/free/dear")).status == 429
        assert [(await get(app, ACME, "/plain")).status for _ in range(20)] == [200] * 10 + [429] * 10
        await made.cache.close()
        assert made.counters.total("day") == 50


@pytest.mark.parametrize(("limits", "on_error"), [("shadow", "local"), ("enforce", "allow"), ("enforce", "local")])
async def test_what_was_admitted_without_a_token_gives_none_back(limits: str, on_error: str) -> None:
    async with world(limits=limits, on_limiter_error=on_error, limit_per_day=50) as made:
        tenant = await made.cache.resolve("acme.example.com")
        assert tenant is not None
        spent = [await made.cache.check(tenant) for _ in range(50)]
        assert all(decision.allowed for decision in spent)
        made.clock.advance(86_400)
        made.counters.failing = limits == "enforce"
        unbacked = [await made.cache.check(tenant) for _ in range(60 if limits == "shadow" else 20)][-1]
        assert unbacked.allowed
        made.counters.failing = False
        assert made.cache.refund(tenant, 30, admitted_at=unbacked.at) == 0


async def test_a_refund_goes_into_the_minute_in_which_it_was_spent() -> None:
    """The request has come in before the minute's edge, and is refused behind it."""
    async with world(limit_per_day=1000) as made:
        app = FastAPI()
        app.add_middleware(TenantMiddleware, cache=made.cache)

        async def wait_for_the_edge() -> None:
            made.clock.advance(60)

        dear = Depends(cost(100))

        @app.get("/late", dependencies=[Depends(wait_for_the_edge), dear])
        async def late() -> str:
            return "late"

        @app.get("/plain")
        async def plain() -> str:
            return "plain"

        assert [(await get(app, ACME, "/plain")).status for _ in range(5)] == [200] * 5
        assert (await get(app, ACME, "/late")).status == 200, "all of the new minute is there"
        assert (await get(app, ACME, "/plain")).status == 429
        await made.cache.close()
        assert made.counters.total("day") == 105


async def test_a_cost_above_the_limit_is_refused_for_good() -> None:
    async with world() as made:
        refused = await get(fastapi(made), ACME, "/too-dear")
        assert refused.status == 429
        assert refused.json()["violated-policies"] == ["minute"]
        assert [name for name, _ in refused.headers if name == b"retry-after"] == []


async def test_shadow_and_off_let_everything_pass(caplog: pytest.LogCaptureFixture) -> None:
    async with world(limits="shadow") as made:
        app = fastapi(made)
        with caplog.at_level(logging.WARNING, "tenantcache.ratelimit.shadow"):
            assert {(await get(app, ACME, "/exports")).status for _ in range(5)} == {200}
            assert {(await get(app, ACME, "/too-dear")).status for _ in range(3)} == {200}
        assert made.cache.stats()["limits"]["shadowed"] >= 3
        said = [record.getMessage() for record in caplog.records]
        assert said.count("shadow: requests of tenant 'acme' would be refused: exports-minute limit of 2") == 1
    async with world(limits="off") as made:
        app = fastapi(made)
        assert {(await get(app, ACME, "/exports")).status for _ in range(5)} == {200}
        assert made.counters.takes == []


async def test_shadow_says_it_once_a_tenant_and_window(caplog: pytest.LogCaptureFixture) -> None:
    async with world(limits="shadow") as made:
        tenants = [await made.cache.resolve(f"{name}.example.com") for name in ("acme", "globex")]
        with caplog.at_level(logging.WARNING, "tenantcache.ratelimit.shadow"):
            for _ in range(2):
                for tenant in tenants:
                    assert tenant is not None
                    for _ in range(105):
                        assert (await made.cache.check(tenant)).allowed
                made.clock.advance(60)
        said = [record.getMessage() for record in caplog.records]
        acme, globex = (
            f"shadow: requests of tenant '{name}' would be refused: minute limit of 100" for name in ("acme", "globex")
        )
        assert said == [acme, globex, acme, globex]
        assert made.cache.stats()["limits"]["shadowed"] == 20


async def test_a_path_without_limits_has_its_tenant(caplog: pytest.LogCaptureFixture) -> None:
    async with world(unlimited_paths=["/plain"], limit_per_day=1) as made:
        app = fastapi(made)
        for _ in range(3):
            answer = await get(app, ACME, "/plain")
            assert (answer.status, b"ratelimit" in dict(answer.headers)) == (200, False)
        assert made.counters.takes == []
        assert [(await get(app, ACME, "/exports")).status for _ in range(2)] == [200, 429]
        assert (await get(app, ACME, "/plain")).status == 200, "used up, and the path is hot"
        assert (await get(app, ACME, "/plainer")).status == 429


# Starlette.


class Exports(HTTPEndpoint):
    @limited("exports", per_minute=2)
    async def get(self, _request: Request) -> PlainTextResponse:
        return PlainTextResponse("exported")


async def test_decorators_of_starlette_endpoints() -> None:
    @limited("reports", per_minute=1)
    async def report(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("reported")

    @limited("sync", per_minute=1)
    def sync(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("reported")

    @costs(50)
    async def dear(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("dear")

    async with world() as made:
        routes = [Route("/exports", Exports), Route("/report", report), Route("/sync", sync), Route("/dear", dear)]
        app = Starlette(routes=routes, middleware=[Middleware(TenantMiddleware, cache=made.cache)])
        assert [(await get(app, ACME, "/exports")).status for _ in range(3)] == [200, 200, 429]
        assert [(await get(app, ACME, "/report")).status for _ in range(2)] == [200, 429]
        assert [(await get(app, ACME, "/sync")).status for _ in range(2)] == [200, 429]
        assert [(await get(app, GLOBEX, "/dear")).status for _ in range(3)] == [200, 200, 429]


async def test_without_a_tenant_there_is_nobody_to_count_for() -> None:
    @limited("reports", per_minute=1)
    async def report(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("reported")

    app = Starlette(routes=[Route("/report", report)])
    assert [(await get(app, ACME, "/report")).status for _ in range(3)] == [200] * 3


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("Exports", {"per_minute": 1}, "limit 'Exports': a name is 1 to 40 of a-z, 0-9, _ and -"),
        ("a b", {"per_minute": 1}, "begins with a letter"),
        ("a", {}, "limit 'a' limits nothing: give per_minute, per_day or both"),
        ("a", {"per_minute": 0}, "limit 'a': per_minute is 0; give a whole number from 1 to 2147483647"),
        ("a", {"per_day": "5"}, "limit 'a': per_day is '5'; give a whole number from 1"),
        ("a", {"per_day": 5, "cost": 0}, "limit 'a': cost is 0; give a whole number from 1"),
    ],
)
def test_what_is_wrong_with_a_limit_is_said(name: str, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        limit(name, **options)


async def test_one_name_is_one_limit_of_an_engine() -> None:
    def app(made: World, *limits: Any) -> FastAPI:
        found = FastAPI()
        found.add_middleware(TenantMiddleware, cache=made.cache)
        for number, each in enumerate(limits):
            found.get(f"/{number}", dependencies=[Depends(each)])(lambda: "exported")
        return found

    same, again, other = (limit("exports", per_minute=figure) for figure in (5, 5, 6))
    async with world() as one, world() as two:
        first, second = app(one, same, again, other), app(two, other)
        assert [(await get(first, ACME, path)).status for path in ("/0", "/1")] == [200, 200]
        with pytest.raises(ConfigurationError, match="limit 'exports' has other figures on another route"):
            await get(first, ACME, "/2")
        assert lines(await get(second, ACME, "/0"), b"ratelimit-policy")[0] == '"exports-minute";q=6;w=60'


# Two middlewares on one engine.


def by(name: str) -> Any:
    return lambda _scope, _problem: PlainTextResponse(f"refused by {name}", 429)


def shop(dependency: Any, mounted: bool) -> FastAPI:
    inner = FastAPI()
    inner.get("/exports", dependencies=[Depends(dependency)])(lambda: "exported")
    if not mounted:
        return inner
    outer = FastAPI()
    outer.mount("/", inner)
    return outer


@pytest.mark.parametrize("mounted", [False, True])
@pytest.mark.parametrize("order", [("A", "B", "ours"), ("B", "ours", "A"), ("ours", "A", "B")])
@pytest.mark.parametrize("same", [False, True], ids=["an application each", "one application"])
async def test_each_middleware_answers_for_its_own_routes(mounted: bool, order: tuple[str, ...], same: bool) -> None:
    async with world() as made:
        dependency = limit("exports", per_minute=1)
        one = shop(dependency, mounted)
        replies = {"A": by("A"), "B": by("B"), "ours": None}
        apps = {
            name: TenantMiddleware(one if same else shop(dependency, mounted), cache=made.cache, reply=replies[name])
            for name in order
        }
        assert (await get(apps[order[0]], ACME, "/exports")).status == 200
        for _ in range(2):  # the slow path and the fast one
            for name in order:
                answer = await get(apps[name], ACME, "/exports")
                assert answer.status == 429
                expected = b"refused by " + name.encode()
                assert (answer.body == expected) == (name != "ours"), (name, answer.body)
                assert (answer.header("content-type") == "application/problem+json") == (name == "ours")


async def test_the_outer_middleware_answers_for_a_route_within_both() -> None:
    async with world() as made:
        within = TenantMiddleware(shop(limit("exports", per_minute=1), False), cache=made.cache, reply=by("the inner"))
        app = TenantMiddleware(within, cache=made.cache, reply=by("the outer"))
        plain = TenantMiddleware(within, cache=made.cache)
        assert (await get(app, ACME, "/exports")).status == 200
        for _ in range(2):
            assert (await get(app, ACME, "/exports")).body == b"refused by the outer"
            assert (await get(plain, ACME, "/exports")).json()["violated-policies"] == ["exports-minute"]


def nested(*dependencies: Any) -> FastAPI:
    """A route within a router within an application that is mounted, whose limit is a dependency of a dependency."""
    outer, inner, router = FastAPI(), FastAPI(), APIRouter(prefix="/deep")

    def around(_: None = Depends(dependencies[0])) -> None:
        return None

    router.get("/exports", dependencies=[Depends(around), *(Depends(each) for each in dependencies[1:])])(lambda: "x")
    inner.include_router(router, dependencies=[Depends(limit("included", per_minute=1))])
    outer.mount("/inner", inner)
    return outer


@pytest.mark.parametrize("wrapped", [False, True])
async def test_the_names_of_an_applications_routes_are_known_from_the_start(wrapped: bool) -> None:
    made = World()
    app: Any = nested(limit("exports", per_minute=2), limit("others", per_day=3), cost(2))
    app.mount("/classes", Starlette(routes=[Route("/exports", Exports)]))
    if wrapped:
        app = TenantMiddleware(app, cache=made.cache)
    else:
        app.add_middleware(TenantMiddleware, cache=made.cache)
    async with Lifespan(app) as lifespan:
        assert lifespan.types == ["lifespan.startup.complete"]
        assert set(made.cache.route_limits) == made.cache.limiter.names == {"exports", "others", "included"}


async def test_an_application_within_itself_and_one_of_another_kind_start() -> None:
    itself = FastAPI()
    itself.mount("/again", itself)

    class Other:
        routes = staticmethod(lambda: 1)

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            raise ValueError

    for app in (itself, Other()):
        async with Lifespan(TenantMiddleware(app, cache=World().cache)) as lifespan:
            assert lifespan.types == ["lifespan.startup.complete"]


async def test_routes_that_disagree_end_the_start() -> None:
    made = World()
    app = nested(limit("exports", per_minute=2), limit("exports", per_minute=3))
    app.add_middleware(TenantMiddleware, cache=made.cache)
    async with Lifespan(app) as lifespan:
        pass
    assert lifespan.types == ["lifespan.startup.failed"]
    assert "limit 'exports' has other figures on another route" in lifespan.sent[0]["message"]
    assert isinstance(lifespan.error, ConfigurationError)
    assert not made.cache.is_open


async def test_a_reset_is_of_the_named_limits_of_its_engine() -> None:
    async with world() as one, world() as two:
        apps = [fastapi(each) for each in (one, two)]
        for app in apps:
            assert [(await get(app, ACME, "/exports")).status for _ in range(3)] == [200, 200, 429]
        await one.cache.reset("acme")
        assert [(await get(app, ACME, "/exports")).status for app in apps] == [200, 429]


async def test_a_process_that_serves_no_routes_names_what_it_resets() -> None:
    async with world() as made:
        office = make_cache(made.database, made.clock, counters=made.counters)
        app = fastapi(made)
        assert [(await get(app, ACME, "/exports")).status for _ in range(3)] == [200, 200, 429]
        async with office:
            await office.reset("acme", named=["exports"])
        await made.cache.sync()
        assert [(await get(app, ACME, "/exports")).status for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize("tokens", [0, -1, 1.5, True])
def test_a_cost_is_a_positive_number(tokens: Any) -> None:
    with pytest.raises(ValueError, match="cost is"):
        cost(tokens)
