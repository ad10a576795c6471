"""SIGTERM to a real server: it is not ready any more, serves on for a while, and then stops as always."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tenantcache.devservers import free_port, spawn
from tenantcache.web.drain import Drain

APP = """
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from tenantcache import Settings, TenantCache
from tenantcache.web.health import HealthApp

cache = TenantCache(Settings())

@asynccontextmanager
async def lifespan(app):
    async with cache:
        yield


app = Starlette(lifespan=lifespan, routes=[
    Route("/", lambda request: PlainTextResponse("served")),
    Mount("/health", HealthApp(cache, drain=1.5)),
])
"""


@pytest.fixture
def server(tmp_path: Path, database_url: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    (tmp_path / "drained.py").write_text(APP, encoding="utf-8")
    port = free_port()
    words = ["-m", "uvicorn", "drained:app", "--port", str(port), "--app-dir", str(tmp_path), "--log-level", "error"]
    process = spawn([sys.executable, *words], env=os.environ | {"DATABASE_URL": database_url})
    yield process, f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()


def wait_for(url: str, status: int, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if httpx.get(url).status_code == status:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"{url} does not answer {status}")


def test_a_server_serves_on_after_sigterm(server: tuple[subprocess.Popen[bytes], str]) -> None:
    process, url = server
    wait_for(f"{url}/health/readyz", 200)
    process.send_signal(signal.SIGTERM)
    wait_for(f"{url}/health/readyz", 503)
    assert httpx.get(url).text == "served"
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)  # impatience
    assert process.wait(10) in (0, -signal.SIGTERM)


async def test_the_servers_own_handler_is_called_after_the_drain() -> None:
    called = asyncio.Event()
    before = signal.signal(signal.SIGTERM, lambda number, frame: called.set())
    try:
        drain = Drain(0.01)
        drain.install()
        drain.install()
        signal.raise_signal(signal.SIGTERM)
        assert drain.is_draining
        assert not called.is_set()
        await asyncio.wait_for(called.wait(), 5)
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_a_handler_of_the_event_loop_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    called = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, called.set)
    try:
        drain = Drain(5)
        with caplog.at_level(logging.WARNING):
            drain.install()
            drain.install()
        signal.raise_signal(signal.SIGTERM)
        await asyncio.wait_for(called.wait(), 5)
        assert not drain.is_draining
        assert len(caplog.records) == 1
        assert "preStop" in caplog.text
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def test_without_a_handler_it_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        Drain(5).install()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert "preStop" in caplog.text
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_seconds_that_are_none(seconds: float) -> None:
    with pytest.raises(ValueError, match="give seconds, from 0"):
        Drain(seconds)
