"""The example of docs/dashboard.md runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

DOCS = Path(__file__).parents[1] / "docs"
PAGE, OUTAGES = ((DOCS / f"{name}.md").read_text(encoding="utf-8") for name in ("dashboard", "outages"))


def test_the_example_lets_operators_in_and_no_one_else(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENANTCACHE_DATABASE_URL", database_url)
    monkeypatch.setenv("TENANTCACHE_REDIS_URL", redis_url)
    [example] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    found: dict[str, Any] = {}
    exec(example, found)
    with TestClient(found["app"], "http://localhost") as client:
        assert client.get("/ops/fleet/").status_code == 403
        client.cookies.set("operator", "yes")
        assert "All is well" in client.get("/ops/fleet/").text
        assert client.get("/ops/fleet/", headers={"Host": "acme.localhost"}).status_code == 404


def test_its_pictures_are_there_and_those_of_an_outage() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\((images/[^)]+)\)", PAGE + OUTAGES)
    assert len(pictures) == 4
    assert max((DOCS / name).stat().st_size for name in pictures) < 600_000
