"""The examples of docs/limits.md run."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.testclient import TestClient

from tenantcache import Settings, TenantCache, TenantMiddleware
from tenantcache.settings.model import variables

pytestmark = pytest.mark.usefixtures("patience")

TEXT = (Path(__file__).parents[1] / "docs" / "limits.md").read_text(encoding="utf-8")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch, database_url: str, redis_url: str) -> dict[str, Any]:
    """What the examples define, run one after the other; there is a tenant acme with 30 requests a minute."""

    async def add_tenant() -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute("""
            insert into tenantcache.tenants (id, name, subdomain, limit_per_minute) values ('acme', 'Acme', 'acme', 30)
        """)
        await connection.close()

    asyncio.run(add_tenant())
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("TENANTCACHE_BASE_DOMAINS", "example.com")
    monkeypatch.setenv("TENANTCACHE_LIMIT_PER_DAY", "5000")
    found: dict[str, Any] = {"__name__": __name__}
    for example in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(example, found)
    return found


def wait_for_most_of_a_minute() -> None:
    """So that what follows happens within one minute of the server's."""
    while time.time() % 60 > 50:
        time.sleep(0.2)


def test_routes_have_limits_of_their_own(names: dict[str, Any]) -> None:
    with TestClient(names["fastapi_app"], base_url="http://acme.example.com") as client:
        wait_for_most_of_a_minute()
        answers = [client.post("/exports") for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        assert answers[5].json()["violated-policies"] == ["exports-minute"]
        assert answers[0].headers.get_list("ratelimit-policy") == [
            '"exports-minute";q=5;w=60, "exports-day";q=100;w=86400',
            '"minute";q=30;w=60, "day";q=5000;w=86400',
        ]
        assert [client.get("/search").status_code for _ in range(3)] == [200, 200, 429]


def test_decorated_routes_have_them_too(names: dict[str, Any]) -> None:
    with TestClient(names["starlette_app"], base_url="http://acme.example.com") as client:
        wait_for_most_of_a_minute()
        assert [client.get("/imports").status_code for _ in range(6)] == [200] * 5 + [429]
        assert [client.get("/find").status_code for _ in range(3)] == [200, 200, 429]


def test_the_outermost_middleware_brings_headers_to_500(names: dict[str, Any]) -> None:
    app = FastAPI()

    @app.get("/")
    async def fail() -> None:
        raise LookupError

    client = TestClient(names["outermost"](app), base_url="http://acme.example.com", raise_server_exceptions=False)
    with client:
        answers = [client.get("/") for _ in range(2)]
        assert [answer.status_code for answer in answers] == [500, 500]
        assert [answer.headers["ratelimit-policy"] for answer in answers] == [
            '"minute";q=30;w=60, "day";q=5000;w=86400'
        ] * 2


def test_a_page_of_another_origin_reads_answers_and_preflights_cost_nothing(names: dict[str, Any]) -> None:
    asked = {"origin": "https://page.example", "access-control-request-method": "GET"}
    inside = FastAPI()
    inside.add_middleware(CORSMiddleware, allow_origins=["https://page.example"])
    inside.add_middleware(TenantMiddleware, reply=names["readable"])
    for app in (names["browser_app"], inside):
        with TestClient(app, base_url="http://acme.example.com") as client:
            wait_for_most_of_a_minute()
            for _ in range(31):
                assert client.options("/", headers=asked).status_code == 200
            statuses = [client.get("/").status_code for _ in range(31)]
            assert statuses[-1] == 429
            refused = client.get("/", headers={"origin": "https://page.example"})
            assert refused.status_code == 429
            assert refused.headers["access-control-allow-origin"] == "https://page.example"
            assert "RateLimit" in refused.headers["access-control-expose-headers"]


def test_code_spends_refunds_and_resets(names: dict[str, Any]) -> None:
    async def run() -> None:
        async with TenantCache(Settings()) as cache:
            while cache.server_now() % 60 > 50:
                await asyncio.sleep(0.2)
            tenant = await cache.resolve("acme.example.com")
            assert tenant is not None
            assert await names["render"](cache, tenant, 3) == "3 pages"
            assert await names["render"](cache, tenant, 20) == "the printer is out of paper"
            for _ in range(100):  # what a refill has debited, and was not answered yet, is not among what is left
                if (left := await names["support"](cache, tenant)) == 27:
                    break
                await asyncio.sleep(0.02)
            assert left == 27, "what was not printed was given back"
            assert (await cache.check(tenant, cost=27)).allowed
            assert re.fullmatch(r"minute limit: come back in \d+ s", await names["render"](cache, tenant, 2))
            assert await names["support"](cache, tenant) == 0
            assert await names["render"](cache, tenant, 2) == "2 pages", "it has begun anew"
            await names["upgrade"](cache, "acme")
            changed = await cache.resolve("acme.example.com")
            assert changed is not None
            assert (changed.plan, changed.limits.per_minute, changed.time_zone) == ("pro", 1200, "Europe/Berlin")

    asyncio.run(run())


@pytest.mark.parametrize("name", re.findall(r"`(TENANTCACHE_\w+)(?:=\w+)?`", TEXT))
def test_its_variables_exist(name: str) -> None:
    assert name in {variable.name for variable in variables()}
