"""What docs/resolution.md says is true: its examples run, and its tables are those in the code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException

from tenantcache import TenantMiddleware
from tenantcache.settings.checks import REASONS
from tenantcache.testing import MemoryCache, TenantTable, acting_as
from tenantcache.web.problems import problems_of
from tenantcache.web.strategies import PathPrefix, make_strategies
from tests.asgi import get, http_scope, request

TEXT = (Path(__file__).parents[1] / "docs" / "resolution.md").read_text(encoding="utf-8")


def run_examples() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for example in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(example, found)
    return found


def cells(after: str) -> list[list[str]]:
    """The rows of the first table after some text."""
    rows = re.findall(r"^\| (.+) \|$", TEXT.partition(after)[2].partition("\n\n## ")[0], re.MULTILINE)
    return [[cell.strip(" |") for cell in row.split(" | ")] for row in rows if not row.startswith("--")][1:]


async def test_reply_and_strategies(tenants: TenantTable, tenant_cache: MemoryCache) -> None:
    tenants.add("acme")
    names = run_examples()
    app = names["app"]
    by_query = http_scope(b"testserver") | {"query_string": b"tenant=acme"}
    assert (await request(app, by_query)).header("ratelimit") is not None
    assert (await get(app, b"testserver", "/t/acme/x")).header("ratelimit") is not None
    assert (await get(app, b"testserver", "/x")).header("ratelimit") is None
    replying = TenantMiddleware(app, cache=tenant_cache, reply=names["reply"])
    answer = await get(replying, b"nobody.testserver")
    assert (answer.status, answer.header("location")) == (303, "https://example.com/sign-up")
    await tenant_cache.close()


@pytest.mark.parametrize("names", [row[0] for row in cells("## By host")])
async def test_the_table_of_hosts(tenants: TenantTable, tenant_cache: MemoryCache, names: str) -> None:
    tenants.add("acme", domains=["shop.acme.io"])
    app = TenantMiddleware(run_examples()["app"], cache=tenant_cache, strategies=["host"])
    nobody = ("deep.acme.example.com", "www.acme.io", "10.0.0.7", "[::1]")
    tenantless = ("example.com", "app.example.com", "www.example.com")
    for name in re.findall(r"`([^`]+)`", names):
        answer = await get(app, name.encode())
        if name in nobody:
            assert answer.status == 404
        else:
            assert answer.status == 404 and answer.header("content-type") != "application/problem+json"  # the app's own
            assert (answer.header("ratelimit") is None) == (name in tenantless)
    await tenant_cache.close()


async def test_two_levels(tenants: TenantTable, tenant_cache: MemoryCache) -> None:
    team_of_organisation = run_examples()["team_of_organisation"]
    organisation = tenants.add("acme", kind="organisation", subdomain="acme")
    tenants.add("1", kind="team", slugs=["sales"], attributes={"organisation": "acme"}, old_slugs=["sellers"])
    tenants.add("2", kind="team", slugs=["labs"], attributes={"organisation": "globex"})
    tenants.add("3", kind="team", slugs=["gone"], attributes={"organisation": "acme"}, status="suspended")
    async with tenant_cache as cache:
        with pytest.raises(HTTPException, match="404"):
            await team_of_organisation(cache, "sales")
        with acting_as(organisation, "testserver"):
            assert [(await team_of_organisation(cache, slug)).key for slug in ("sales", "Sellers")] == ["1", "1"]
            for slug, status in {"labs": "404", "nobody": "404", "acme": "404", "gone": "403"}.items():
                with pytest.raises(HTTPException, match=status):
                    await team_of_organisation(cache, slug)


def test_what_is_written_is_what_code_says() -> None:
    rows = [row for row in cells("What the name is") if row[0].startswith("`path")]
    assert len(rows) == 6
    settings = MemoryCache().settings
    for written, code, *_ in rows:
        [strategy] = make_strategies([written.strip("`")], settings)
        assert strategy == eval(code.strip("`"), {"PathPrefix": PathPrefix})
    for row in cells("## By other means"):
        if row[0].startswith("`path"):
            assert make_strategies([row[0].strip("`")], settings)
    texts = [text for text in re.findall(r"TENANTCACHE_STRATEGIES=([^`\s]+)", TEXT) if "path" in text]
    assert [len(make_strategies(None, MemoryCache(strategies=text).settings)) for text in texts] == [2, 2]


@pytest.fixture
def tenant_settings() -> dict[str, Any]:
    return {"base_domains": re.findall(r"TENANTCACHE_BASE_DOMAINS=(\S+?)`", TEXT)[0]}


def test_the_table_of_statuses() -> None:
    table = {row[0].strip("`"): int(row[1]) for row in cells("## What is refused")}
    assert table == {reason: problem.status for reason, problem in problems_of({}).items()}
    assert tuple(table) == REASONS
    [codes] = re.findall(r"TENANTCACHE_STATUS_CODES='(.*)'", TEXT)
    assert MemoryCache(status_codes=codes).settings.status_codes == json.loads(codes)
