"""The examples of docs/values.md run, and its tables are the code's."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient

from tenantcache import Settings
from tenantcache.values.core.kind import KINDS, KindOptions, read_kinds

PAGE = (Path(__file__).parents[1] / "docs" / "values.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


class Database:
    """Stands in for a pool of asyncpg, with one profile and one theme."""

    def __init__(self) -> None:
        self.name = "Ann"
        self.reads = 0

    async def fetchrow(self, query: str, user_id: str) -> dict[str, str] | None:
        self.reads += 1
        return {"name": self.name, "plan": "pro"} if user_id == "7" else None

    async def execute(self, query: str, user_id: str, name: str) -> None:
        self.name = name

    async def fetch(self, query: str) -> list[tuple[str, str]]:
        self.reads += 1
        return [("colour", "red")]


@pytest.fixture
async def names(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, patience: None
) -> AsyncIterator[dict[str, Any]]:
    """What the examples define, with the engine open."""
    for name, value in (("DATABASE_URL", database_url), ("REDIS_URL", redis_url)):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TENANTCACHE_BASE_DOMAINS", "example.com")
    found: dict[str, Any] = {"database": Database(), "__name__": __name__}
    for example in EXAMPLES:
        exec(example, found)
    async with found["cache"] as cache:
        await cache.tenants.create("Acme", id="acme", subdomain="acme")
        yield found


async def test_the_application(names: dict[str, Any]) -> None:
    transport = ASGITransport(names["app"])
    async with AsyncClient(transport=transport, base_url="http://acme.example.com") as client:
        for _ in range(2):
            assert (await client.get("/profiles/7")).json() == {"name": "Ann", "plan": "pro"}
            assert (await client.get("/profiles/8")).json() is None
        assert names["database"].reads == 2
        assert (await client.put("/profiles/7?name=Bea")).status_code == 200
        assert (await client.get("/profiles/7")).json()["name"] == "Bea"


async def test_without_a_decorator(names: dict[str, Any]) -> None:
    for reads in (1, 2):
        for _ in range(2):
            assert await names["theme"]("acme") == {"colour": "red"}
            assert names["database"].reads == reads
        await names["plan_changed"]("acme")


def test_the_kinds() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) s \| (?:(\d+) s )?\|", PAGE, re.MULTILINE)
    told = {name: (float(fresh), float(stale or 0)) for name, fresh, stale in rows}
    assert told == {name: (kind.lifetime(0).fresh, kind.lifetime(0).stale) for name, kind in read_kinds(KINDS).items()}


def test_the_variable() -> None:
    [given] = re.findall(r"TENANTCACHE_VALUES_KINDS='(.*?)'", PAGE)
    found = Settings({"DATABASE_URL": "postgresql://localhost/app", "TENANTCACHE_VALUES_KINDS": given}).values_kinds
    assert found == {**KINDS, **json.loads(given)}


def test_the_parts_of_a_kind() -> None:
    [table] = re.findall(r"\| argument \| meaning \|\n(.*?)\n\n", PAGE, re.DOTALL)
    cells = [line.split("|")[1] for line in table.splitlines()[1:]]
    assert re.findall(r"`(\w+)`", " ".join(cells)) == list(KindOptions.__annotations__)
