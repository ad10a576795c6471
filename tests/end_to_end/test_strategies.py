"""The fast path of each strategy on a server and real stores: over HTTP, and to what becomes of the tenant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from tenantcache import Settings, TenantCache, TenantMiddleware, current_tenant
from tenantcache.web.strategies import Found, Header, Host, PathPrefix
from tests.test_faces import serving


async def who(scope: Scope, receive: Receive, send: Send) -> None:
    tenant = current_tenant()
    body = f"{tenant and tenant.id} {scope.get('root_path', '')}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


class Watched(TenantMiddleware):
    """Counts the requests that took the slow path."""

    slow = 0

    async def _serve_found(self, found: Found, receive: Receive, send: Send) -> None:
        self.slow += 1
        await super()._serve_found(found, receive, send)


async def by_query(scope: Scope) -> str | None:
    await asyncio.sleep(0)
    name = scope["query_string"].decode()
    return f"subdomain:{name}" if name else None


@asynccontextmanager
async def served(
    strategies: list[Any], database_url: str, redis_url: str
) -> AsyncIterator[tuple[Watched, httpx.AsyncClient]]:
    settings = Settings(
        database_url=database_url, redis_url=redis_url, base_domains=["example.com"], trusted_proxies=["127.0.0.1"]
    )
    async with TenantCache(settings) as cache:
        await cache.tenants.create("Acme", id="acme", subdomain="acme", limit_per_minute=10_000)
        app = Watched(who, cache=cache, strategies=strategies)
        async with (
            serving(app, http="httptools", loop="none", lifespan="off", proxy_headers=False) as port,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers={"host": "example.com"}) as client,
        ):
            yield app, client


@pytest.mark.parametrize(
    ("strategies", "path", "headers", "below"),
    [
        pytest.param([PathPrefix("/t"), Host()], "/t/acme/x", {}, "/t/acme", id="path"),
        pytest.param([PathPrefix("/t", "id", keep=True)], "/t/acme/x", {}, "", id="path, id"),
        pytest.param([Header("x-tenant"), Host()], "/x", {"x-tenant": "acme"}, "", id="header"),
        pytest.param([by_query, Host()], "/x?acme", {}, "", id="function"),
        pytest.param([by_query, Host()], "/x", {"host": "acme.example.com"}, "", id="host, after a function"),
    ],
)
async def test_on_a_server(
    strategies: list[Any], path: str, headers: dict[str, str], below: str, database_url: str, redis_url: str
) -> None:
    async with served(strategies, database_url, redis_url) as (app, client):
        for number in range(1, 21):
            answer = await client.get(path, headers=headers)
            assert (answer.status_code, answer.text) == (200, f"acme {below}")
            # Of the day: a minute may begin.
            assert f'"day";r={100_000 - number};' in answer.headers["ratelimit"]
        slow = app.slow
        assert slow < 10, "the first one, and those that had to wait for tokens"
        await app.cache.tenants.update("acme", status="suspended")
        assert (await client.get(path, headers=headers)).status_code == 403
        await app.cache.tenants.update("acme", status="active")
        assert (await client.get(path, headers=headers)).status_code == 200
        await app.cache.tenants.delete("acme")
        assert (await client.get(path, headers=headers)).status_code == 404
        assert app.slow == slow + 3
        assert app.cache.memory.hot == {}
