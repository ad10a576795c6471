"""The examples of docs/applications.md run."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import asyncpg
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from tenantcache import Settings, TenantCache
from tenantcache.testing import MemoryCache, TenantTable
from tests.asgi import Lifespan, get

pytestmark = pytest.mark.usefixtures("patience")

TEXT = (Path(__file__).parents[1] / "docs" / "applications.md").read_text(encoding="utf-8")


async def like_django(scope: Scope, _receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise ValueError("Django can only handle ASGI/HTTP connections")
    await PlainTextResponse("hello")(scope, _receive, send)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    django = ModuleType("django.core.asgi")
    django.get_asgi_application = lambda: like_django  # type: ignore[attr-defined]
    for name in ("django", "django.core"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "django.core.asgi", django)
    url = "postgresql://h/d"
    if "database_url" in request.fixturenames:
        url = request.getfixturevalue("database_url")
    monkeypatch.setenv("TENANTCACHE_DATABASE_URL", url)
    found: dict[str, Any] = {"__name__": __name__}
    root = logging.getLogger()
    before = list(root.handlers)
    for example in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(example, found)
    yield found
    root.handlers[:] = before


async def test_the_applications(tenants: TenantTable, tenant_cache: MemoryCache, names: dict[str, Any]) -> None:
    tenants.add("acme", name="Acme", plan="pro")
    tenants.add("globex", plan="free")
    expected = {"fastapi_app": b'{"reports of":"Acme"}', "starlette_app": b"reports of Acme"}
    for app, body in expected.items():
        assert (await get(names[app], b"acme.testserver", "/reports")).body == body
        assert (await get(names[app], b"globex.testserver", "/reports")).status == 403
    assert (await get(names["fastapi_app"], b"acme.testserver")).body == b'{"hello":"Acme"}'
    assert (await get(names["litestar_app"], b"acme.testserver")).body == b"hello Acme"
    await tenant_cache.close()


def test_the_log_handler(names: dict[str, Any]) -> None:
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "well", (), None)
    handler = names["handler"]
    assert handler.filter(record)
    assert handler.format(record) == "INFO [-] well"


async def test_the_life_of_a_tenant(names: dict[str, Any], database_url: str) -> None:
    async with TenantCache(Settings(database_url=database_url)) as cache:
        await names["life_of_a_tenant"](cache)
        assert await cache.resolve("acme.localhost") is None


async def test_django_has_a_life(names: dict[str, Any], database_url: str) -> None:
    application = names["application"]
    async with Lifespan(application) as lifespan:
        assert application.cache.is_open
        assert (await get(application, b"nobody.localhost")).status == 404
    assert lifespan.types == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert not application.cache.is_open


async def write(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(
        "insert into tenantcache.tenants (id, name, subdomain, limit_per_minute) values ('acme', 'Acme', 'acme', 2)"
    )
    await connection.close()


async def read(url: str, query: str) -> Any:
    connection = await asyncpg.connect(url)
    found = await connection.fetchval(query)
    await connection.close()
    return found


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_a_worker_with_a_loop_for_each_task(names: dict[str, Any], database_url: str) -> None:
    asyncio.run(write(database_url))
    for name in ("One", "Two"):
        names["rename_task"]("acme", name)
        assert asyncio.run(read(database_url, "select name from tenantcache.tenants")) == name
        assert not names["job_cache"].is_open


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_a_worker_with_one_loop(names: dict[str, Any], database_url: str) -> None:
    asyncio.run(write(database_url))
    worker = names["worker"]
    worker.start()
    assert [names["count_task"]("acme.localhost") for _ in range(3)] == [True, True, False]
    assert not names["count_task"]("nobody.localhost")
    worker.stop()
    assert asyncio.run(read(database_url, "select sum(requests) from tenantcache.usage")) == 2
    assert asyncio.run(read(database_url, "select count(*) from tenantcache.processes")) == 0
