"""The examples of docs/domains.md and docs/proxies.md run.

nginx reads those of docs/proxies.md in tests/end_to_end/test_proxies.py.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from tenantcache import Settings, TenantCache, TenantMiddleware, UnknownDomainError
from tenantcache.web.ask import AskApp

pytestmark = pytest.mark.usefixtures("patience")

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch, database_url: str, redis_url: str) -> dict[str, Any]:
    """What the examples define, run one after the other."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    found: dict[str, Any] = {}
    for example in re.findall(r"```python\n(.*?)```", (DOCS / "domains.md").read_text(encoding="utf-8"), re.DOTALL):
        exec(example, found)
    return found


async def test_a_tenant_signs_up_and_connects_a_domain(names: dict[str, Any]) -> None:
    async with TenantCache(Settings()) as cache:
        tenant_id = await names["sign_up"](cache, "Acme", "acme")
        assert await names["sign_up"](cache, "Other", "acme") == "choose another name"
        told = await names["connect_domain"](cache, tenant_id, "Shop.Acme.io")
        [(name, value)] = re.findall(r"^Create a TXT record (\S+) with the value (\S+)$", told)

        class Zone:
            values: tuple[str, ...] = ()

            async def txt(self, asked: str) -> list[str]:
                return list(self.values) if asked == name else []

        cache.domains.dns = zone = Zone()
        assert (await names["check_domain"](cache, tenant_id, "shop.acme.io")).startswith("Not yet: ")
        zone.values = (value,)
        assert await names["check_domain"](cache, tenant_id, "shop.acme.io") == "Your domain is served."
        tenant = await cache.resolve("shop.acme.io")
        assert tenant is not None and tenant.limits.per_minute == 1200
        await names["make_primary"](cache, tenant_id, "shop.acme.io")
        assert await names["nightly"](cache) == []

        other_id = await names["sign_up"](cache, "Other", "other")
        for call in (names["make_primary"], names["disconnect_domain"], names["check_domain"]):
            with pytest.raises(UnknownDomainError):
                await call(cache, other_id, "shop.acme.io")
        assert await cache.resolve("shop.acme.io") is not None
        await names["disconnect_domain"](cache, tenant_id, "shop.acme.io")
        assert await cache.resolve("shop.acme.io") is None
        await names["connect_domain"](cache, tenant_id, "shop.acme.io")
        await names["take_down"](cache, "shop.acme.io")
        assert await cache.domains.challenges(tenant_id) == []


def test_the_app_answers_the_front(names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with TestClient(names["app"], base_url="http://127.0.0.1:8000", client=("127.0.0.1", 40000)) as client:
        assert client.get("/tls/ask?domain=nobody.io").json()["detail"] == "This name is not served here."
    cache = TenantCache(Settings())
    forgotten = Starlette(routes=[Mount("/tls", AskApp(cache))], middleware=[Middleware(TenantMiddleware, cache=cache)])
    with TestClient(forgotten, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 40000)) as client:
        assert client.get("/tls/ask?domain=nobody.io").json()["detail"] == "There is no tenant at this address."


def test_each_example_of_the_front_brings_its_own_imports() -> None:
    text = (DOCS / "domains.md").read_text(encoding="utf-8")
    [example] = [part for part in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "AskApp" in part]
    compiled = ast.parse(example)
    imported = {alias.name for node in compiled.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    used = {node.id for node in ast.walk(compiled) if isinstance(node, ast.Name) and node.id[0].isupper()}
    assert used <= imported


async def test_the_proxys_word_counts_and_the_application_sees_the_client(
    monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("insert into tenantcache.tenants (id, name, subdomain) values ('acme', 'Acme', 'acme')")
    await connection.close()
    monkeypatch.setenv("DATABASE_URL", database_url)
    text = (DOCS / "proxies.md").read_text(encoding="utf-8")
    [(name, value)] = re.findall(r"^export (\w+)=(\S+) ", text, re.MULTILINE)
    monkeypatch.setenv(name, value)
    found: dict[str, Any] = {}
    [example] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(example, found)

    async def tell(request: Request) -> PlainTextResponse:
        assert request.client is not None
        return PlainTextResponse(f"{request.state.tenant.id} {request.client.host}")

    found["app"].router.routes.append(Route("/", tell))
    headers = {"host": "app.internal", "x-forwarded-host": "acme.localhost", "x-forwarded-for": "203.0.113.7"}
    with TestClient(found["app"], client=(value, 40_000)) as client:
        assert client.get("/", headers=headers).text == "acme 203.0.113.7"
