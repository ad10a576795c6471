"""One engine and several event loops: what works, and what a caller is told at once about what cannot."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

import asyncpg
import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from tenantcache import NotOpenError, Settings, Tenant, TenantCache, TenantMiddleware
from tenantcache.freshness.log import OnChange
from tests.asgi import Lifespan, get
from tests.fakes import FakeClock, FakeCounters, FakeDatabase, make_cache, row

ACME = b"acme.example.com"
NEVER = 3600.0

# Loops that are closed by hand leave sockets behind that nothing can close; Python tells of them when it collects them.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")

SEEDS = """
    insert into tenantcache.tenants (id, name, subdomain, limit_per_minute, limit_per_day)
    values ('acme', 'Acme', 'acme', 100, 0)
"""


async def query(url: str, statement: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


@pytest.fixture
def cache(database_url: str, redis_url: str) -> TenantCache:
    asyncio.run(query(database_url, SEEDS))
    return make(database_url, redis_url)


def make(database_url: str, redis_url: str | None, **settings: Any) -> TenantCache:
    values: dict[str, Any] = {"base_domains": ["example.com"], "usage_interval": NEVER} | settings
    return TenantCache(Settings(database_url=database_url, redis_url=redis_url, **values))


async def spend(cache: TenantCache) -> str:
    tenant = await cache.resolve("acme.example.com")
    assert tenant is not None
    assert (await cache.check(tenant)).allowed
    await cache.sync()
    return tenant.name


async def open_and_spend(cache: TenantCache) -> str:
    await cache.open()
    return await spend(cache)


left_behind: list[asyncio.Task[Any]] = []


@pytest.fixture(autouse=True)
def _clean_up() -> Iterator[None]:
    """End what `run_and_close_loop` has left, before the interpreter does, and complains."""
    yield
    for task in left_behind:
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # there is no other way to say that it is known
        with suppress(RuntimeError):
            task.get_coro().close()
    left_behind.clear()


def run_and_close_loop(coroutine: Any) -> Any:
    """As `asyncio.run`, without a word to the tasks that are left: their loop is gone under them."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        left_behind.extend(asyncio.all_tasks(loop))
        loop.close()


@contextmanager
def loop_in_thread() -> Iterator[Callable[[Any], Any]]:
    """A loop that goes on; gives the function that runs a coroutine in it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result(20)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


CALLS: dict[str, Callable[[TenantCache], Awaitable[Any]]] = {
    "resolve": lambda cache: cache.resolve("acme.example.com"),
    "get_many": lambda cache: cache.get_many(["acme"]),
    "check": lambda cache: cache.check(Tenant("acme", "Acme")),
    "peek": lambda cache: cache.peek(Tenant("acme", "Acme")),
    "sync": lambda cache: cache.sync(),
    "invalidate": lambda cache: cache.invalidate("acme"),
    "reset": lambda cache: cache.reset("acme"),
    "create": lambda cache: cache.tenants.create("New"),
    "add a domain": lambda cache: cache.domains.add("acme", "acme.io"),
    "read usage": lambda cache: cache.usage.read("acme"),
    "flush usage": lambda cache: cache.usage.flush(),
    "open": lambda cache: cache.open(),
    "close": lambda cache: cache.close(),
}


@pytest.mark.filterwarnings("error::ResourceWarning")  # of connections that were not closed, for one
def test_open_and_close_around_each_run(cache: TenantCache, database_url: str) -> None:
    async def use() -> str:
        async with cache:
            return await spend(cache)

    assert [asyncio.run(use()) for _ in range(3)] == ["Acme"] * 3
    assert asyncio.run(query(database_url, "select sum(requests) from tenantcache.usage")) == 3


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_an_engine_that_is_left_open_is_closed_with_its_loop(cache: TenantCache, database_url: str) -> None:
    for number in (1, 2, 3):
        assert asyncio.run(open_and_spend(cache)) == "Acme"
        assert not cache.is_open
        assert asyncio.run(query(database_url, "select sum(requests) from tenantcache.usage")) == number
        assert asyncio.run(query(database_url, "select count(*) from tenantcache.processes")) == 0, "it has signed off"
    for call in ("resolve", "check", "sync"):
        with pytest.raises(NotOpenError, match=r"open the TenantCache first.*each event loop"):
            asyncio.run(_call(call, cache))


async def _call(name: str, cache: TenantCache) -> Any:
    return await CALLS[name](cache)


@pytest.mark.parametrize("name", [name for name in CALLS if name not in ("open", "close")])
def test_a_call_says_at_once_that_the_loop_was_closed(name: str, cache: TenantCache) -> None:
    run_and_close_loop(open_and_spend(cache))
    with pytest.raises(NotOpenError, match=r"has ended without closing it.*`async with cache`.*docs/applications\.md"):
        asyncio.run(_call(name, cache))
    asyncio.run(cache.close())


@pytest.mark.parametrize("name", CALLS)
def test_a_call_says_at_once_that_another_loop_has_it(name: str, cache: TenantCache) -> None:
    with loop_in_thread() as run_there:
        run_there(open_and_spend(cache))
        with pytest.raises(NotOpenError, match=r"open in another event loop.*run_coroutine_threadsafe"):
            asyncio.run(_call(name, cache))
        assert run_there(spend(cache)) == "Acme", "and does it no harm"
        run_there(cache.close())


@pytest.mark.parametrize("redis", [True, False])
def test_opened_anew_after_its_loop_was_closed(
    redis: bool, cache: TenantCache, database_url: str, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache = cache if redis else make(database_url, None)
    run_and_close_loop(open_and_spend(cache))

    async def use() -> int:
        async with cache:
            for _ in range(2):
                await spend(cache)
            [minute] = [quota for quota in await cache.peek(Tenant("acme", "Acme")) if quota.name == "minute"]
            return minute.remaining

    with caplog.at_level(logging.WARNING, "tenantcache"):
        asyncio.run(use())
    assert [record.getMessage() for record in caplog.records if record.name == "tenantcache.lifecycle"] == [
        "the event loop in which this TenantCache was opened has ended without closing it: open it in each event loop,"
        ' and close it before the loop ends, as `async with cache` does (docs/applications.md, "Workers and scripts")'
    ]
    assert asyncio.run(query(database_url, "select sum(requests) from tenantcache.usage")) == 3, "none is forgotten"


def test_closed_after_its_loop_was_it_writes_what_it_has_counted(cache: TenantCache, database_url: str) -> None:
    run_and_close_loop(open_and_spend(cache))
    asyncio.run(cache.close())
    assert not cache.is_open
    assert asyncio.run(query(database_url, "select sum(requests) from tenantcache.usage")) == 1
    asyncio.run(cache.close())


def test_closed_after_its_loop_and_its_database_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenantcache.lifecycle.OPEN_TIMEOUT", 0.1)
    clock = FakeClock()
    database = FakeDatabase(clock, row("acme"))
    cache = make_cache(database, clock)
    run_and_close_loop(open_and_spend(cache))
    database.failing = True
    asyncio.run(cache.close())
    assert not cache.is_open


def test_a_take_that_was_never_answered_does_not_block_the_tenant() -> None:
    clock, counters = FakeClock(), FakeCounters()
    cache = make_cache(FakeDatabase(clock, row("acme", limit_per_minute=10, limit_per_day=0)), clock, counters=counters)

    async def ask_in_vain() -> None:
        await cache.open()
        counters.gate.clear()
        tenant = await cache.resolve("acme.example.com")
        assert tenant is not None
        asking = asyncio.create_task(cache.check(tenant))
        while not counters.takes:
            await asyncio.sleep(0)
        del asking

    async def ask() -> bool:
        counters.gate = asyncio.Event()
        counters.gate.set()
        async with asyncio.timeout(5), cache:
            tenant = await cache.resolve("acme.example.com")
            assert tenant is not None
            return (await cache.check(tenant)).allowed

    run_and_close_loop(ask_in_vain())
    assert asyncio.run(ask())


async def test_opening_twice_at_once_in_two_loops() -> None:
    """The second is refused while the first is under way, and has done it no harm."""
    clock = FakeClock()
    database = FakeDatabase(clock, row("acme"))
    cache = make_cache(database, clock)
    goes_on = threading.Event()
    told: Future[BaseException] = Future()
    original = database.open

    async def open_slowly(on_change: OnChange) -> None:
        await original(on_change)
        await asyncio.to_thread(goes_on.wait)

    database.open = open_slowly  # type: ignore[method-assign]

    def elsewhere() -> None:
        try:
            asyncio.run(cache.open())
        except BaseException as error:
            told.set_result(error)
        goes_on.set()

    opening = asyncio.create_task(cache.open())
    await asyncio.sleep(0.01)
    await asyncio.to_thread(elsewhere)
    await opening
    assert isinstance(told.result(), NotOpenError)
    assert await cache.resolve("acme.example.com") is not None
    await cache.close()


# The middleware.


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_a_client_with_a_loop_for_each_request(cache: TenantCache, database_url: str) -> None:
    """`TestClient(app)` that was not entered: slow, since each request opens and closes, but never stale."""
    client = TestClient(TenantMiddleware(PlainTextResponse("hello"), cache=cache), base_url="http://acme.example.com")
    left = []
    for _ in range(3):
        answer = client.get("/")
        assert answer.status_code == 200
        left.append(answer.headers["ratelimit"].split(";t=")[0].removeprefix('"minute";r='))
    assert " ".join(left) in ("99 98 97", "99 98 99", "99 99 98"), "a minute may begin"
    asyncio.run(query(database_url, "update tenantcache.tenants set status = 'suspended'"))
    assert client.get("/").status_code == 403
    assert asyncio.run(query(database_url, "select sum(requests) from tenantcache.usage")) == 3


class Stand:
    """A middleware on stand-ins, made hot in a loop of a thread that goes on."""

    def __init__(self, **settings: Any) -> None:
        self.clock = FakeClock()
        self.database = FakeDatabase(self.clock, row("acme", limit_per_minute=100), row("globex"))
        self.cache = make_cache(self.database, self.clock, **settings)
        self.app = TenantMiddleware(PlainTextResponse("hello"), cache=self.cache)

    async def warm(self) -> None:
        await self.cache.open()
        for _ in range(3):
            assert (await get(self.app, ACME)).status == 200


@pytest.mark.parametrize("headers", [True, False])
def test_a_hot_request_in_another_loop_is_found_out_when_it_needs_tokens_again(headers: bool) -> None:
    stand = Stand(rate_limit_headers=headers)
    with loop_in_thread() as run_there:
        run_there(stand.warm())
        with pytest.raises(NotOpenError, match="open in another event loop"):
            asyncio.run(get(stand.app, b"globex.example.com"))  # one that is not hot: at once
        stand.clock.advance(0.9 if headers else 2.9)
        assert asyncio.run(get(stand.app, ACME)).status == 200, "the lease of the loop that goes on"
        stand.clock.advance(0.2)
        run_there(stand.cache.sync())  # memory stays valid
        with pytest.raises(NotOpenError, match="open in another event loop"):
            asyncio.run(get(stand.app, ACME))
        assert run_there(get(stand.app, ACME)).status == 200
        run_there(stand.cache.close())


def test_a_hot_request_after_its_loop_was_closed_is_found_out_within_max_staleness() -> None:
    stand = Stand(rate_limit_headers=False)
    run_and_close_loop(stand.warm())
    stand.clock.advance(2.9)
    assert asyncio.run(get(stand.app, ACME)).status == 200, "proven to be true by the last pull"
    stand.clock.advance(0.2)
    with pytest.raises(NotOpenError, match="has ended without closing it"):
        asyncio.run(get(stand.app, ACME))


def test_a_second_server_in_a_thread_does_not_start() -> None:
    stand = Stand()

    async def start() -> list[dict[str, Any]]:
        async with Lifespan(stand.app) as lifespan:
            pass
        return [dict(message) for message in lifespan.sent]

    with loop_in_thread() as run_there:
        run_there(stand.warm())
        [failed] = asyncio.run(start())
        assert failed["type"] == "lifespan.startup.failed"
        assert "open in another event loop" in failed["message"]
        assert run_there(get(stand.app, ACME)).status == 200, "and does the first no harm"
        run_there(stand.cache.close())
