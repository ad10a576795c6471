"""How an application starts and stops with its engine: in test clients, on servers, and without lifespan events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import asyncpg
import hypercorn
import hypercorn.asyncio
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from tenantcache import (
    ConfigurationError,
    SchemaMissingError,
    Settings,
    StoreUnavailableError,
    TenantCache,
    TenantMiddleware,
)
from tenantcache.devservers import free_port
from tenantcache.freshness.log import OnChange
from tenantcache.stores.changelog import PostgresLog
from tenantcache.web.ask import AskApp
from tests.asgi import Lifespan
from tests.fakes import FakeClock, FakeDatabase, make_cache, row

ACME = b"acme.example.com"
NEVER = 3600.0


async def like_django(scope: Scope, receive: Receive, send: Send) -> None:
    """What `django.core.handlers.asgi.ASGIHandler` does with a scope that is not HTTP."""
    if scope["type"] != "http":
        raise ValueError(f"Django can only handle ASGI/HTTP connections, not {scope['type']}.")
    await PlainTextResponse("hello")(scope, receive, send)


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await PlainTextResponse("hello")(scope, receive, send)


async def silent_after_the_start(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        return
    await silent(scope, receive, send)


async def hears_and_says_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        return
    await silent(scope, receive, send)


WITHOUT_LIFESPAN = [like_django, silent, silent_after_the_start, hears_and_says_nothing]


def stand_in() -> TenantCache:
    clock = FakeClock()
    return make_cache(FakeDatabase(clock, row("acme")), clock)


# A start that fails.


def faces(cache: TenantCache) -> list[ASGIApp]:
    around = Starlette()
    around.add_middleware(TenantMiddleware, cache=cache)
    return [
        around,
        TenantMiddleware(Starlette(), cache=cache),
        TenantMiddleware(like_django, cache=cache),
        AskApp(cache),
    ]


FACES = ["within Starlette", "around Starlette", "around an application without lifespan", "AskApp"]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("face", range(len(FACES)), ids=FACES)
def test_a_test_client_does_not_enter_what_could_not_start(face: int, empty_database_url: str) -> None:
    cache = TenantCache(Settings(database_url=empty_database_url))
    with pytest.raises(SchemaMissingError, match="tenantcache init"), TestClient(faces(cache)[face]):
        pytest.fail("it has not started")
    assert not cache.is_open


@pytest.mark.parametrize("face", range(len(FACES)), ids=FACES)
async def test_a_start_that_fails_is_told_and_raised(face: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenantcache.lifecycle.OPEN_TIMEOUT", 0.2)
    cache = TenantCache(Settings(database_url=f"postgresql://me:hunter2@127.0.0.1:{free_port()}/app"))
    async with Lifespan(faces(cache)[face]) as lifespan:
        pass
    assert lifespan.types == ["lifespan.startup.failed"]
    assert "TENANTCACHE_DATABASE_URL" in lifespan.sent[0]["message"]
    assert "hunter2" not in lifespan.sent[0]["message"]
    assert isinstance(lifespan.error, StoreUnavailableError)
    assert not cache.is_open


@pytest.mark.timeout(30)
def test_faults_in_the_settings_are_raised_too() -> None:
    with pytest.raises(ConfigurationError, match="TENANTCACHE_DATABASE_URL"), TestClient(TenantMiddleware(silent)):
        pytest.fail("it has not started")


async def test_trying_again_is_not_said_just_before_giving_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tenantcache.lifecycle.OPEN_TIMEOUT", 0.5)
    attempts = []
    open_log = PostgresLog.open

    async def counted(log: PostgresLog, on_change: OnChange) -> None:
        attempts.append(log)
        await open_log(log, on_change)

    monkeypatch.setattr(PostgresLog, "open", counted)
    cache = TenantCache(Settings(database_url=f"postgresql://me@127.0.0.1:{free_port()}/app"))
    with caplog.at_level(logging.DEBUG, "tenantcache"), pytest.raises(StoreUnavailableError):
        await cache.open()
    assert len(attempts) >= 2, "it has tried again"
    assert caplog.messages == []


async def test_it_is_said_of_a_log_that_was_followed(caplog: pytest.LogCaptureFixture) -> None:
    def said() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "tenantcache.freshness.follower"]

    clock = FakeClock()
    database = FakeDatabase(clock, row("acme"))
    database.failing = True
    cache = make_cache(database, clock)
    with caplog.at_level(logging.INFO, "tenantcache.freshness.follower"):
        opening = asyncio.create_task(cache.open())
        while cache.follower.last_error is None:
            await asyncio.sleep(0.001)
        database.failing = False
        await opening
        assert said() == [], "nothing was lost: it was not there yet"
        database.failing = True
        while not said():
            cache.follower.wake()
            await asyncio.sleep(0.001)
        database.failing = False
        await cache.sync()
        await cache.close()
    assert said() == [
        "the change log is lost, before: followed (the fake database is unavailable); trying again",
        "the change log is followed again, before: lost (the fake database is unavailable)",
    ]


# Applications without lifespan events.


@pytest.mark.parametrize("app", WITHOUT_LIFESPAN)
async def test_an_application_without_lifespan_is_answered_for(app: ASGIApp) -> None:
    cache = stand_in()
    async with Lifespan(TenantMiddleware(app, cache=cache)) as lifespan:
        assert lifespan.types == ["lifespan.startup.complete"]
        assert cache.is_open
    assert lifespan.types == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert lifespan.error is None
    assert not cache.is_open


async def test_what_fails_in_its_own_start_is_passed_on() -> None:
    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()
        raise RuntimeError("no configuration")

    cache = stand_in()
    async with Lifespan(TenantMiddleware(app, cache=cache)) as lifespan:
        pass
    assert isinstance(lifespan.error, RuntimeError)
    assert lifespan.sent == []
    assert not cache.is_open


@asynccontextmanager
async def on_uvicorn(app: Any, **options: Any) -> AsyncIterator[int]:
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, **options))
    server.capture_signals = nullcontext  # type: ignore[method-assign,assignment]  # the test's are its own
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done(), task
        await asyncio.sleep(0.005)
    yield port
    server.should_exit = True
    await task


@asynccontextmanager
async def on_hypercorn(app: Any) -> AsyncIterator[int]:
    port, stopped = free_port(), asyncio.Event()
    config = hypercorn.Config()
    config.bind = [f"127.0.0.1:{port}"]
    task = asyncio.create_task(hypercorn.asyncio.serve(app, config, shutdown_trigger=stopped.wait))
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            break
        except OSError:
            assert not task.done(), task
            await asyncio.sleep(0.005)
    writer.close()
    yield port
    stopped.set()
    await task


async def ask(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nhost: acme.example.com\r\nconnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer.split(b"\r\n")[0]


@pytest.mark.parametrize("server", [on_uvicorn, on_hypercorn])
@pytest.mark.parametrize("app", [like_django, silent])
async def test_an_orderly_stop_of_a_server_loses_no_usage(
    server: Callable[..., Any], app: ASGIApp, database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("insert into tenantcache.tenants (id, name, subdomain) values ('acme', 'Acme', 'acme')")
    settings = Settings(database_url=database_url, base_domains=["example.com"], usage_interval=NEVER)
    async with server(TenantMiddleware(app, settings=settings)) as port:
        for _ in range(5):
            assert b" 200 " in await ask(port) + b" "
    assert await connection.fetchval("select sum(requests) from tenantcache.usage") == 5
    assert await connection.fetchval("select count(*) from tenantcache.processes") == 0, "it has signed off"
    await connection.close()


@pytest.mark.parametrize("case", ["a server that sends no lifespan events", "a middleware that is not outermost"])
def test_what_gets_no_lifespan_events_is_closed_with_the_servers_loop(case: str, database_url: str) -> None:
    settings = Settings(database_url=database_url, base_domains=["example.com"], usage_interval=NEVER)
    app: ASGIApp = TenantMiddleware(like_django, settings=settings)
    if case == "a middleware that is not outermost":
        app = Starlette(routes=[Mount("/", app)])

    async def query(statement: str) -> Any:
        connection = await asyncpg.connect(database_url)
        found = await connection.fetchval(statement)
        await connection.close()
        return found

    async def serve() -> None:
        await query("insert into tenantcache.tenants (id, name, subdomain) values ('acme', 'Acme', 'acme')")
        async with on_uvicorn(app, lifespan="auto" if isinstance(app, Starlette) else "off") as port:
            for _ in range(5):
                assert b" 200 " in await ask(port) + b" "

    asyncio.run(serve())  # as uvicorn runs its own
    assert asyncio.run(query("select sum(requests) from tenantcache.usage")) == 5
    assert asyncio.run(query("select count(*) from tenantcache.processes")) == 0
