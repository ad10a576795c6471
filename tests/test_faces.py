"""One application, several faces: what is mounted in what, frameworks, tasks and threads, logs, plans."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from tenantcache import TenantMiddleware, current_tenant
from tenantcache.testing import MemoryCache, TenantTable
from tests.asgi import Lifespan, get


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
