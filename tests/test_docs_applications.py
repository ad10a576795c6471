"""The examples of docs/applications.md run."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tenantcache import Settings, TenantCache
from tenantcache.testing import MemoryCache, TenantTable
from tests.asgi import get

TEXT = (Path(__file__).parents[1] / "docs" / "applications.md").read_text(encoding="utf-8")


@pytest.fixture
def names() -> Iterator[dict[str, Any]]:
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
