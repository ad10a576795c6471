"""The commands that read and write tenants, on real servers, as a shell runs them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from tenantcache.cli.main import main


@dataclass(frozen=True)
class Ran:
    """What a command gave: its exit status, what it printed, and what that is as JSON."""

    status: int
    out: str
    errors: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]
Sql = Callable[..., list[asyncpg.Record]]


def unfolded(text: str) -> str:
    """What a box of typer's holds, as one line."""
    return re.sub(r"[│\s]+", " ", text)


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    commands: None,
    database_url: str,
    redis_url: str,
) -> Run:
    """Run a command on the test's Postgres and Redis; `environ` sets further variables."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("TENANTCACHE_BASE_DOMAINS", "example.com")

    def run(*arguments: str, **environ: str) -> Ran:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as raised:
            main(arguments)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Ran(int(raised.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def sql(database_url: str) -> Sql:
    """Run one statement on the test's database."""

    def sql(query: str, *arguments: object) -> list[asyncpg.Record]:
        async def fetch() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(database_url)
            try:
                rows: list[asyncpg.Record] = await connection.fetch(query, *arguments)
                return rows
            finally:
                await connection.close()

        return asyncio.run(fetch())

    return sql
