"""What the README says is true: its examples run, and its settings and those of docs/settings.md are the code's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from starlette.testclient import TestClient

from tenantcache.settings.model import variables

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
async def seeded(database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("TENANTCACHE_BASE_DOMAINS", "example.com")
    connection = await asyncpg.connect(database_url)
    for statements in examples("sql"):
        await connection.execute(statements)
    await connection.close()


@pytest.mark.parametrize(
    ("number", "base"),
    [
        pytest.param(0, 404, id="FastAPI, for tenants alone"),
        pytest.param(1, 200, id="Starlette, for the base domain too"),
    ],
)
def test_apps_of_the_readme_greet_their_tenant(number: int, base: int, seeded: None) -> None:
    names: dict[str, Any] = {}
    exec(examples("python")[number], names)
    with TestClient(names["app"], base_url="http://acme.example.com") as client:
        assert "Acme" in client.get("/").text
        assert "Acme" in client.get("/", headers={"host": "shop.acme.io"}).text
        assert client.get("/", headers={"host": "nobody.example.com"}).status_code == 404
        at_the_base = client.get("/", headers={"host": "example.com"})
        assert (at_the_base.status_code, "Acme" in at_the_base.text) == (base, False)


async def test_engine_of_the_readme_runs(seeded: None, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(examples("python")[2], names)
    await names["main"]()
    assert capsys.readouterr().out.startswith("Acme True {")


def settings_in(path: Path) -> dict[str, tuple[str, str]]:
    rows = re.findall(r"^\| `(TENANTCACHE_\w+)` \| (.*?) \| (.*) \|$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: (default, meaning) for name, default, meaning in rows}


def settings_of_the_code() -> dict[str, tuple[str, str]]:
    return {
        row.name: (row.default if row.default in ("required", "none") else f"`{row.default}`", row.meaning)
        for row in variables()
    }


def test_table_of_settings_is_complete_and_right() -> None:
    assert settings_in(ROOT / "docs" / "settings.md") == settings_of_the_code()


def test_settings_of_the_readme_are_right() -> None:
    assert settings_in(README).items() <= settings_of_the_code().items()
    assert len(settings_in(README)) == 7


def test_links_lead_somewhere() -> None:
    pages = [README, *(ROOT / "docs").glob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "example_app" / "README.md"]
    for page in pages:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_contributing_names_files_that_exist() -> None:
    named = re.findall(r"`((?:\w+/)+\w+\.(?:py|sql)|\w+\.py)`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).exists() and not (ROOT / "tenantcache" / name).exists()] == []


def test_the_plan_shows_every_folder_of_the_package() -> None:
    drawn = (ROOT / "docs" / "plan.svg").read_text(encoding="utf-8")
    folders = [path.parent.name for path in (ROOT / "tenantcache").glob("*/__init__.py")]
    assert len(folders) > 10
    assert [name for name in folders if f"{name}/" not in drawn] == []
