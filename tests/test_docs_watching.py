"""The examples of docs/watching-tables.md run."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tenantcache import Change, Settings, TenantCache
from tenantcache.cli.main import main
from tenantcache.schema.watching import TableWatch, watched
from tests.fakes import until

pytestmark = pytest.mark.usefixtures("patience")

PAGE = (Path(__file__).parents[1] / "docs" / "watching-tables.md").read_text(encoding="utf-8")


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def names() -> dict[str, Any]:
    """What the examples define."""
    found: dict[str, Any] = {
        "TenantCache": TenantCache,
        "asyncpg": asyncpg,
        "Callable": Callable,
        "Awaitable": Awaitable,
        "Change": Change,
    }
    for example in examples("python"):
        exec(example, found)
    return found


async def test_a_watched_table_invalidates_and_tells(
    names: dict[str, Any], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    table, logging = examples("sql")
    [command] = examples("sh")
    told = list[str]()

    async def push(message: str) -> None:
        told.append(message)

    async with asyncpg.create_pool(database_url, min_size=1, max_size=2) as pool:
        await pool.execute(table)
        with pytest.raises(SystemExit) as raised:
            await asyncio.to_thread(main, shlex.split(command)[1:])
        assert not raised.value.code
        async with pool.acquire() as connection:
            assert await watched(connection) == [TableWatch("public.settings", "tenant_id", ("settings",))]
        async with TenantCache(Settings(base_domains=["example.com"])) as cache:
            names["follow"](cache, push)
            assert await names["colour"](cache, pool, "acme") == "none"
            await pool.execute("insert into settings values ('acme', 'colour', 'red')")
            await cache.sync()
            assert await names["colour"](cache, pool, "acme") == "red"
            await pool.execute("update settings set value = 'green'")
            await cache.sync()
            assert await names["colour"](cache, pool, "acme") == "green"
            await pool.execute(logging)
            await until(lambda: told == ["settings of acme has changed"] * 3)


def test_the_page_has_the_options_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["watch-table", "--help"])
    offered = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    assert offered == {option for option in offered if f"`{option}" in PAGE}
    assert {"--tenant", "--key", "--key-column", "--tag", "--tag-column", "--only", "--dry-run", "--remove"} <= offered
