"""Commands that are run in the process of the test, and a client to prepare what they look at."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import pytest
import redis
import typer.main

from tenantcache.cli.main import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def commands() -> Iterator[None]:
    """Typer makes all commands anew for each call (30 ms), which a process does once. So does one of tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
        yield


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, commands: None) -> Run:
    """Run a command with some variables; return exit status, stdout and stderr."""

    def run(*arguments: str, **environ: str) -> tuple[int, str, str]:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as raised:
            main(arguments)
        captured = capsys.readouterr()
        return int(raised.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """Of the test's Redis."""
    with redis.Redis.from_url(redis_url, protocol=2, driver_info=None) as client:
        yield client
