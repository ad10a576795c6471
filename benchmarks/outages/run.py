"""One run: the example app with two workers, requests, a Prometheus, and two outages one after the other."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import asyncpg
import httpx
from playwright.async_api import Browser, Page, async_playwright

from benchmarks.outages.prometheus import Prometheus
from benchmarks.outages.recording import LogLine, Outage, Recording
from tenantcache.cli.demo import Website
from tenantcache.cli.seeds import PLANS, seed
from tenantcache.devservers import HOST, PostgresServer, RedisServer
from tenantcache.devservers.server import free_port
from tenantcache.schema import install as schema

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
IMAGES = Path(__file__).parents[2] / "docs" / "images"

PER_SECOND = 40
ZIPF = 0.9

WIDTH, HEIGHT = 1280, 880
NARROW = 800
"""Pixels of the parts that are put into one picture."""

PARTS = {
    "notices": "ul.notices",
    "traffic": "section[aria-labelledby=h-traffic]",
    "events": "section[aria-labelledby=h-events]",
}


class Schedule(NamedTuple):
    """Seconds. `shot` is when a picture of the dashboard is taken, after the stop."""

    normal: float
    redis: float
    between: float
    postgres: float
    after: float
    shot: float


LONG = Schedule(normal=150, redis=16 * 60, between=180, postgres=8 * 60, after=90, shot=75)
"""Redis is away for longer than the slowest of its alerts waits. Between both outages all is well again."""

SHORT = Schedule(normal=40, redis=60, between=100, postgres=30, after=20, shot=25)
"""To see that it runs."""


async def run(schedule: Schedule, directory: Path) -> Recording:
    """Leaves the recording and the parts of the pictures in `directory`."""
    os.makedirs(directory, exist_ok=True)
    os.chmod(directory, 0o755)  # Postgres runs as another account if this one is root
    with ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer(directory / "postgres", durable=True))
        redis = stack.enter_context(RedisServer())
        hosts = await _prepare(postgres.url)
        environment = _environment(postgres.url, redis.url, directory)
        website = stack.enter_context(Website("benchmarks.outages.app:app", free_port(), 2, environment))
        prometheus = stack.enter_context(Prometheus(directory, website.port))
        begin, answers = time.time(), dict[int, Counter[str]]()
        async with _requests(website.port, hosts, answers), open_browser() as browser:
            camera = Camera(browser, f"http://localhost:{website.port}/dashboard/", directory)
            await asyncio.sleep(schedule.normal)
            await camera.take_healthy()
            outages = [await _outage("redis", redis, schedule.redis, schedule.shot, camera)]
            await asyncio.sleep(schedule.between)
            outages.append(await _outage("postgres", postgres, schedule.postgres, schedule.shot, camera))
            await asyncio.sleep(schedule.after)
        end = time.time()
        counted = {second: dict(counts) for second, counts in answers.items()}
        alerts = prometheus.alerts(begin, end)
        recording = Recording(begin, end, outages, _log(directory), alerts, counted, camera.taken_at)
    recording.save(directory)
    return recording


async def _outage(
    store: str, server: RedisServer | PostgresServer, seconds: float, shot: float, camera: Camera
) -> Outage:
    print(f"{store} is stopped", file=sys.stderr)
    begin = time.time()
    await asyncio.to_thread(server.stop)
    await asyncio.sleep(shot)
    await camera.take_parts(store)
    await asyncio.sleep(max(0.0, begin + seconds - time.time()))
    await asyncio.to_thread(server.start)
    return Outage(store, begin, time.time())


class Camera:
    def __init__(self, browser: Browser, url: str, directory: Path) -> None:
        self.taken_at: dict[str, float] = {}
        self._browser, self._url, self._directory = browser, url, directory

    async def take_healthy(self) -> None:
        """The pictures of docs/dashboard.md."""
        for name, width, is_dark in (("", WIDTH, False), ("-dark", WIDTH, True), ("-phone", 360, False)):
            page = await self._open(width, is_dark=is_dark)
            await page.get_by_text("All is well").first.wait_for(timeout=60_000)
            await page.screenshot(path=IMAGES / f"dashboard{name}.png")
            await page.close()

    async def take_parts(self, store: str) -> None:
        """What the page says while a store is stopped, part by part."""
        page = await self._open(NARROW, scale=1.5)
        self.taken_at[store] = time.time()
        for name, selector in PARTS.items():
            await page.locator(selector).screenshot(path=self._directory / f"{store}-{name}.png")
        await page.close()

    async def _open(self, width: int, *, is_dark: bool = False, scale: float = 1.0) -> Page:
        page = await self._browser.new_page(
            viewport={"width": width, "height": HEIGHT},
            color_scheme="dark" if is_dark else "light",
            device_scale_factor=scale,
        )
        await page.goto(self._url)
        await asyncio.sleep(3)  # until it is live
        return page


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


@asynccontextmanager
async def _requests(port: int, hosts: Sequence[str], answers: dict[int, Counter[str]]) -> AsyncIterator[None]:
    """Send requests meanwhile, most of them of a few tenants."""
    task = asyncio.create_task(_send_requests(port, hosts, answers))
    yield
    task.cancel()


async def _send_requests(port: int, hosts: Sequence[str], answers: dict[int, Counter[str]]) -> None:
    weights = [1 / (place + 1) ** ZIPF for place in range(len(hosts))]
    sent: set[asyncio.Task[None]] = set()
    async with httpx.AsyncClient(base_url=f"http://{HOST}:{port}", timeout=10) as client:
        while True:
            [host] = random.choices(hosts, weights)
            sent = {task for task in sent if not task.done()} | {asyncio.create_task(_send(client, host, answers))}
            await asyncio.sleep(random.expovariate(PER_SECOND))


async def _send(client: httpx.AsyncClient, host: str, answers: dict[int, Counter[str]]) -> None:
    # A connection belongs to one worker, so each request has one of its own.
    try:
        answer = await client.get("/api/whoami?reconnect=1", headers={"Host": host})
        became = {200: "served", 429: "limited"}.get(answer.status_code, "unavailable")
    except httpx.HTTPError:
        became = "unavailable"
    answers.setdefault(int(time.time()), Counter())[became] += 1


def _log(directory: Path) -> list[LogLine]:
    text = (directory / "log").read_text().replace(str(directory), "/run/app")
    lines = [line.split("\t", 3) for line in text.splitlines() if line.count("\t") >= 3]
    return [LogLine(float(at), int(process), level, text) for at, process, level, text in lines]


def _environment(database_url: str, redis_url: str, directory: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TENANTCACHE_")}
    return kept | {
        "TENANTCACHE_DATABASE_URL": database_url,
        "TENANTCACHE_REDIS_URL": redis_url,
        "TENANTCACHE_BASE_DOMAINS": "localhost",
        "TENANTCACHE_BYPASS_PATHS": "/health,/metrics",
        "TENANTCACHE_METRICS_DIR": str(directory / "metrics"),
        "TENANTCACHE_PLANS": json.dumps(PLANS),
        "TENANTCACHE_REDIS_MONTHLY_BUDGET": "500000",
        "OUTAGES_LOG": str(directory / "log"),
    }


async def _prepare(database_url: str) -> list[str]:
    """Make the tables and the demo's tenants; return a host of each active tenant that has one."""
    connection = await asyncpg.connect(database_url)
    await schema.install(connection)
    await seed(connection)
    query = "select subdomain from tenantcache.tenants where subdomain <> '' and status = 'active' order by md5(id)"
    rows = await connection.fetch(query)
    await connection.close()
    return [f"{row['subdomain']}.localhost" for row in rows]
