"""One application, several faces: what is mounted in what, frameworks, tasks and threads, logs, plans."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any, cast

import httpx
import litestar
import pytest
import uvicorn
import websockets
from fastapi import BackgroundTasks, FastAPI
from litestar.middleware import DefineMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from tenantcache import TenantMiddleware, current_tenant
from tenantcache.devservers import free_port
from tenantcache.observability.logs import TenantFilter
from tenantcache.testing import MemoryCache, TenantTable
from tenantcache.web.plans import RequirePlan
from tenantcache.web.strategies import PathPrefix
from tests.asgi import Lifespan, connect, get


async def who(_request: Request) -> PlainTextResponse:
    tenant = current_tenant()
    return PlainTextResponse("nobody" if tenant is None else tenant.id)


def routes() -> list[Any]:
    return [Route("/who", who)]


@pytest.fixture
async def cache() -> AsyncIterator[MemoryCache]:
    async with MemoryCache() as cache:
        TenantTable(cache).add("acme", limit_per_minute=10)
        yield cache


async def statuses(app: Any, path: str, count: int, host: bytes = b"acme.testserver") -> list[int]:
    return [(await get(app, host, path)).status for _ in range(count)]


# Mounted in one another.


@pytest.mark.parametrize("engines", [1, 2])
async def test_two_middlewares_spend_one_token(cache: MemoryCache, engines: int) -> None:
    """The outer one decides; the inner one serves what does not come through the outer."""
    other = cache if engines == 1 else MemoryCache()
    if other is not cache:
        TenantTable(other).add("acme", limit_per_minute=1)
    inner = Starlette(routes=routes(), middleware=[Middleware(TenantMiddleware, cache=other)])
    outer = Starlette(
        routes=[Mount("/inner", inner), *routes()], middleware=[Middleware(TenantMiddleware, cache=cache)]
    )
    for number in range(10):
        answer = await get(outer, b"acme.testserver", "/inner/who" if number % 2 else "/who")
        assert (answer.status, answer.body) == (200, b"acme")
        assert answer.header("ratelimit") == f'"minute";r={9 - number};t=60, "day";r={99999 - number};t=43200'
    assert await statuses(outer, "/inner/who", 2) == [429, 429]
    await other.close()


async def test_only_a_mounted_application_has_tenants(cache: MemoryCache) -> None:
    inner = TenantMiddleware(Starlette(routes=routes()), cache=cache)
    outer = Starlette(routes=[Mount("/shop", inner), *routes()])
    for _ in range(2):
        assert (await get(outer, b"acme.testserver", "/shop/who")).body == b"acme"
        assert (await get(outer, b"acme.testserver", "/who")).body == b"nobody"
        assert (await get(outer, b"nobody.testserver", "/who")).status == 200
        assert (await get(outer, b"nobody.testserver", "/shop/who")).status == 404


async def test_two_mounted_applications_with_an_engine_each() -> None:
    caches = [MemoryCache(base_domains=[f"{name}.example"]) for name in ("one", "two")]
    for number, cache in enumerate(caches):
        TenantTable(cache).add("acme", limit_per_minute=number + 1)
    mounts = [
        Mount(f"/{number}", TenantMiddleware(Starlette(routes=routes()), cache=cache))
        for number, cache in enumerate(caches)
    ]
    app = Starlette(routes=mounts)
    assert await statuses(app, "/0/who", 2, b"acme.one.example") == [200, 429]
    assert await statuses(app, "/1/who", 3, b"acme.two.example") == [200, 200, 429]
    assert await statuses(app, "/0/who", 1, b"acme.two.example") == [404]
    for cache in caches:
        await cache.close()


async def test_two_middlewares_open_and_close_what_they_share() -> None:
    cache = MemoryCache()
    app = TenantMiddleware(TenantMiddleware(Starlette(routes=routes()), cache=cache), cache=cache)
    async with Lifespan(app) as lifespan:
        assert cache.is_open
    assert lifespan.types == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert not cache.is_open


async def test_a_request_within_a_request_has_a_tenant_of_its_own(cache: MemoryCache) -> None:
    """An application that calls another in its process, or itself, in the same context."""
    TenantTable(cache).add("globex")
    inner = TenantMiddleware(Starlette(routes=routes()), cache=cache)

    async def calls(_request: Request) -> PlainTextResponse:
        answer = await get(inner, b"globex.testserver", "/who")
        tenant = current_tenant()
        return PlainTextResponse(f"{tenant and tenant.id} calls {answer.body.decode()}")

    app = TenantMiddleware(Starlette(routes=[Route("/", calls)]), cache=cache)
    for _ in range(2):
        assert (await get(app, b"acme.testserver")).body == b"acme calls globex"


# Frameworks.


@pytest.mark.parametrize("plan", ["free", "pro"])
async def test_starlette_and_any_other_may_require_a_plan(cache: MemoryCache, plan: str) -> None:
    TenantTable(cache).update("acme", plan=plan)
    guarded = Route("/who", who, middleware=[Middleware(RequirePlan, "pro", "enterprise", status=402)])
    app = Starlette(
        routes=[guarded, Mount("/m", RequirePlan(Starlette(routes=routes()), "pro"))],
        middleware=[Middleware(TenantMiddleware, cache=cache)],
    )
    expected = {"/who": 402, "/m/who": 403} if plan == "free" else {"/who": 200, "/m/who": 200}
    for path, status in expected.items():
        answer = await get(app, b"acme.testserver", path)
        assert answer.status == status
        assert plan == "pro" or answer.json()["detail"] == "The tenant's plan does not include this."
        assert (await get(app, b"testserver", path)).status == 404
    websocket = (await connect(app, b"acme.testserver", "/m/ws", extension=True))[0]
    assert websocket.get("status") == (403 if plan == "free" else None), "with the plan, Starlette has no such route"
    with pytest.raises(TypeError, match="give the names of plans"):
        RequirePlan(app)


async def test_fastapi_endpoints_in_threads_and_background_tasks_see_the_tenant(cache: MemoryCache) -> None:
    seen: list[str] = []

    def note(where: str) -> None:
        tenant = current_tenant()
        seen.append(f"{where}: {tenant and tenant.id}, {threading.current_thread() is threading.main_thread()}")

    async def note_later() -> None:
        await asyncio.sleep(0)
        note("task")

    app = FastAPI()
    app.add_middleware(TenantMiddleware, cache=cache)

    @app.get("/thread")
    def in_a_thread(background: BackgroundTasks) -> None:
        note("endpoint")
        background.add_task(note, "background")

    tasks: set[asyncio.Task[None]] = set()

    @app.get("/task")
    async def with_a_task() -> None:
        tasks.add(asyncio.create_task(note_later()))

    for path in ("/thread", "/task"):
        assert (await get(app, b"acme.testserver", path)).status == 200
    await asyncio.gather(*tasks)
    assert seen == ["endpoint: acme, False", "background: acme, False", "task: acme, True"]
    assert current_tenant() is None


def asgi_of(app: litestar.Litestar) -> ASGIApp:
    """The same application: Litestar types the messages of ASGI one by one, and Starlette as mappings."""
    return cast(ASGIApp, app)


async def test_litestar(cache: MemoryCache) -> None:
    TenantTable(cache).add("globex", limit_per_minute=1)

    @litestar.get("/who")
    async def coroutine(request: litestar.Request[Any, Any, Any]) -> str:
        tenant = current_tenant()
        assert tenant is not None and request.state.tenant is tenant
        return tenant.id

    @litestar.get("/thread", sync_to_thread=True)
    def in_a_thread() -> str:
        tenant = current_tenant()
        return "nobody" if tenant is None else tenant.id

    @litestar.websocket("/ws")
    async def socket(socket: litestar.WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        await socket.close()

    started: list[bool] = []
    handlers = [coroutine, in_a_thread, socket]
    ours = DefineMiddleware(TenantMiddleware, cache=cache)  # type: ignore[arg-type]  # for the same reason
    inside = asgi_of(litestar.Litestar(handlers, middleware=[ours], openapi_config=None))
    around = TenantMiddleware(
        asgi_of(litestar.Litestar(handlers, on_startup=[lambda: started.append(cache.is_open)], openapi_config=None)),
        cache=cache,
    )
    apps: list[ASGIApp] = [inside, around]
    for app in apps:
        assert (await get(app, b"acme.testserver", "/who")).body == b"acme"
        assert (await get(app, b"acme.testserver", "/thread")).body == b"acme"
        answer = await get(app, b"nobody.testserver", "/who")
        assert (answer.status, answer.header("content-type")) == (404, "application/problem+json")
        assert (await connect(app, b"acme.testserver", "/ws"))[0]["type"] == "websocket.accept"
    assert await statuses(inside, "/who", 2, b"globex.testserver") == [200, 429]
    prefixed = TenantMiddleware(
        asgi_of(litestar.Litestar(handlers, openapi_config=None)), cache=cache, strategies=[PathPrefix("/t")]
    )
    assert (await get(prefixed, b"testserver", "/t/acme/who")).body == b"acme"
    await cache.close()
    async with Lifespan(around) as lifespan:
        assert cache.is_open
    assert (lifespan.types, started) == (["lifespan.startup.complete", "lifespan.shutdown.complete"], [True])
    assert not cache.is_open


# Logs.


@pytest.fixture
def lines() -> Iterator[list[str]]:
    found: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(self.format(record))

    handler = Keeper()
    handler.addFilter(TenantFilter())
    handler.setFormatter(logging.Formatter("%(name)s %(tenant_id)s %(tenant_name)s %(tenant_plan)s %(message)s"))
    loggers = [logging.getLogger(name) for name in ("shop", "uvicorn.access")]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    yield found
    for logger, (level, propagate) in zip(loggers, before, strict=True):
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


async def test_log_lines_say_whose_they_are(cache: MemoryCache, lines: list[str]) -> None:
    TenantTable(cache).add("globex", name="Globex", plan="pro")
    logger = logging.getLogger("shop.orders")

    def ordered(_request: Request) -> PlainTextResponse:
        logger.info("ordered")
        logger.info("for another", extra={"tenant_id": "acme"})
        return PlainTextResponse("")

    app = TenantMiddleware(Starlette(routes=[Route("/", ordered)]), cache=cache)
    await get(app, b"globex.testserver")
    logger.info("outside")
    assert lines == [
        "shop.orders globex Globex pro ordered",
        "shop.orders acme - - for another",
        "shop.orders - - - outside",
    ]


@pytest.mark.parametrize("hostile", ["a\nERROR forged", "a\r\nb", "a\x1b[2J", "a\u2028b", "a\u202eb"])
async def test_a_tenants_name_begins_no_log_line(cache: MemoryCache, lines: list[str], hostile: str) -> None:
    TenantTable(cache).add("globex", name=hostile, plan=hostile)
    logger = logging.getLogger("shop.orders")

    def ordered(_request: Request) -> PlainTextResponse:
        logger.info("ordered")
        logger.info("for another", extra={"tenant_id": hostile})
        return PlainTextResponse("")

    await get(TenantMiddleware(Starlette(routes=[Route("/", ordered)]), cache=cache), b"globex.testserver")
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


# A server.


@asynccontextmanager
async def serving(app: Any, **options: Any) -> AsyncIterator[int]:
    """Uvicorn in this event loop; gives the port."""
    port = free_port()
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, **options)
    server = uvicorn.Server(config)
    server.capture_signals = nullcontext  # type: ignore[method-assign,assignment]  # the test's are its own
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            assert not task.done(), task
            await asyncio.sleep(0.005)
        yield port
    finally:
        server.should_exit = True
        await task


# Before uvicorn 0.50 `websockets` was what `auto` chose. It says that it is deprecated, and so does what it imports.
@pytest.mark.parametrize("implementation", ["websockets", "websockets-sansio", "wsproto"])
@pytest.mark.filterwarnings("ignore:The `websockets` implementation is deprecated", "ignore::DeprecationWarning")
async def test_websockets_on_a_server(implementation: str) -> None:
    cache = MemoryCache()
    table = TenantTable(cache)
    table.add("acme", limit_per_minute=2)
    table.add("suspended", status="suspended")

    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        tenant = current_tenant()
        await websocket.send_text(f"{tenant and tenant.id} {await websocket.receive_text()}")
        await websocket.close()

    app = TenantMiddleware(Starlette(routes=[WebSocketRoute("/ws", echo)]), cache=cache)
    async with serving(app, ws=implementation) as port:

        async def open_as(host: str) -> Any:
            return await websockets.connect(f"ws://{host}/ws", host="127.0.0.1", port=port, proxy=None)

        for left in (1, 0):
            connection = await open_as("acme.testserver")
            assert connection.response.headers["ratelimit"].startswith(f'"minute";r={left};')
            await connection.send("hello")
            assert await connection.recv() == "acme hello"
            await connection.close()
        for host, status in {"acme": 429, "nobody": 404, "suspended": 403, "a.b": 404, "-": 400}.items():
            with pytest.raises(websockets.InvalidStatus) as refused:
                await open_as(f"{host}.testserver")
            response = refused.value.response
            assert response.status_code == status
            assert response.headers["content-type"] == "application/problem+json"
            assert json.loads(response.body)["status"] == status
            assert (response.headers.get("retry-after") == "60") == (status == 429)
    assert not cache.is_open, "the server's lifespan closed it"


async def test_access_logs_say_whose_request_it_was(lines: list[str]) -> None:
    cache = MemoryCache()
    TenantTable(cache).add("acme")
    app = TenantMiddleware(Starlette(routes=routes()), cache=cache)
    async with serving(app, http="h11", access_log=True) as port, httpx.AsyncClient(trust_env=False) as client:
        for host in ("acme.testserver", "acme.testserver", "testserver"):
            await client.get(f"http://127.0.0.1:{port}/who", headers={"host": host})
    assert [line.split()[:2] for line in lines] == [
        ["uvicorn.access", "acme"],
        ["uvicorn.access", "acme"],
        ["uvicorn.access", "-"],
    ]


@pytest.mark.parametrize("http", ["h11", "httptools"])
async def test_redirects_and_prefixes_on_a_server(http: str) -> None:
    cache = MemoryCache(redirect_to_primary=True)
    TenantTable(cache).add("acme", domains=["acme.io", "shop.acme.io"], primary_domain="shop.acme.io")

    async def tell(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"{request.state.tenant.id} {request.url.path} {request.path_params['rest']}")

    app = TenantMiddleware(
        Starlette(routes=[Route("/{rest:path}", tell, methods=["GET", "POST"])]),
        cache=cache,
        strategies=[PathPrefix("/t"), "host"],
    )
    async with serving(app, http=http) as port, httpx.AsyncClient(trust_env=False) as client:

        async def ask(host: str, target: str, method: str = "GET") -> httpx.Response:
            return await client.request(method, f"http://127.0.0.1:{port}{target}", headers={"host": host})

        for method in ("GET", "HEAD", "POST"):
            answer = await ask("acme.io:8443", "/a%20b/%2F?q=%C3%BC", method)
            assert (answer.status_code, answer.text) == (308, "")
            assert answer.headers["location"] == "http://shop.acme.io:8443/a%20b/%2F?q=%C3%BC"
        answer = await ask("shop.acme.io", "/a%20b")
        assert (answer.status_code, answer.text) == (200, "acme /a b a b")
        answer = await ask("testserver", "/t/acme/a%20b")
        assert (answer.status_code, answer.text) == (200, "acme /t/acme/a b a b"), "what a path names stays where it is"


@pytest.mark.parametrize("http", ["h11", "httptools"])
async def test_a_pipelined_request_that_bypasses_has_no_tenant_of_the_one_before(http: str) -> None:
    cache = MemoryCache()
    TenantTable(cache).add("acme")

    async def tell(_request: Request) -> PlainTextResponse:
        tenant = current_tenant()
        return PlainTextResponse(f"<{tenant and tenant.id}>")

    app = TenantMiddleware(Starlette(routes=[Route("/{rest:path}", tell)]), cache=cache)
    async with serving(app, http=http) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        requests = [b"GET %b HTTP/1.1\r\nhost: acme.testserver\r\n" % path for path in (b"/", b"/health") * 2]
        writer.write(b"\r\n".join(requests) + b"connection: close\r\n\r\n")
        answers = (await reader.read()).decode()
        writer.close()
    assert re.findall("<(.+?)>", answers) == ["acme", "None", "acme", "None"]
