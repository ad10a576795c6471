"""Takes the pictures of docs/dashboard.md: a fleet of two processes as it should be, without Postgres, without Redis.

    python -m benchmarks.dashboard_pictures

It starts the servers and the example app, sends requests, and stops the one server and then the other. Chromium is the
system's own, or the one that $CHROMIUM names. It takes some seven minutes, most of which fill the curves.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import httpx
from playwright.async_api import Browser, async_playwright

from tenantcache.cli.demo import Website
from tenantcache.cli.seeds import PLANS, seed
from tenantcache.devservers import PostgresServer, RedisServer
from tenantcache.schema import install as schema

IMAGES = Path(__file__).parents[1] / "docs" / "images"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
WIDTH, HEIGHT = 1280, 880

NORMAL_FOR = 180.0
"""Seconds of requests before the first picture."""

PER_SECOND = 40
ZIPF = 0.9


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)  # Postgres runs as another account if this one is root
        with PostgresServer(Path(directory) / "postgres", durable=True) as postgres, RedisServer() as redis:
            hosts = await _prepare(postgres.url)
            with Website("example_app.main:app", 8321, 2, _environment(postgres.url, redis.url)) as website:
                async with _requests(website.port, hosts), _browser() as browser:
                    await _take_all(browser, f"http://localhost:{website.port}/dashboard/", postgres, redis)


async def _take_all(browser: Browser, url: str, postgres: PostgresServer, redis: RedisServer) -> None:
    await asyncio.sleep(NORMAL_FOR)
    await _take(browser, url, "dashboard", "All is well")
    await _take(browser, url, "dashboard-dark", "All is well", dark=True)
    await _take(browser, url, "dashboard-phone", "All is well", width=360)
    postgres.stop()
    await asyncio.sleep(25)
    await _take(browser, url, "dashboard-no-postgres", "Postgres does not answer", whole=True)
    postgres.start()
    await asyncio.sleep(30)
    redis.stop()
    await _take(browser, url, "dashboard-no-redis", "Limits are counted in Postgres since", wait=60, whole=True)


async def _take(
    browser: Browser,
    url: str,
    name: str,
    awaited: str,
    *,
    dark: bool = False,
    width: int = WIDTH,
    wait: float = 0.0,
    whole: bool = False,
) -> None:
    """A picture of the page as soon as it has the `awaited` text, and `wait` seconds later."""
    page = await browser.new_page(viewport={"width": width, "height": HEIGHT}, color_scheme="dark" if dark else "light")
    await page.goto(url)
    await page.get_by_text(awaited).first.wait_for(timeout=120_000)
    await asyncio.sleep(wait + 3)
    await page.screenshot(path=IMAGES / f"{name}.png", full_page=whole)
    await page.close()
    print(name, file=sys.stderr)


@asynccontextmanager
async def _browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


@asynccontextmanager
async def _requests(port: int, hosts: Sequence[str]) -> AsyncIterator[None]:
    """Send requests meanwhile, most of them of a few tenants."""
    task = asyncio.create_task(_send_requests(port, hosts))
    yield
    task.cancel()


async def _send_requests(port: int, hosts: Sequence[str]) -> None:
    weights = [1 / (place + 1) ** ZIPF for place in range(len(hosts))]
    sent: set[asyncio.Task[None]] = set()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        while True:
            [host] = random.choices(hosts, weights)
            sent = {task for task in sent if not task.done()} | {asyncio.create_task(_send(client, host))}
            await asyncio.sleep(random.expovariate(PER_SECOND))


async def _send(client: httpx.AsyncClient, host: str) -> None:
    # A connection belongs to one worker, so each request has one of its own.
    with suppress(httpx.HTTPError):  # the page tells of it
        await client.get("/api/whoami?reconnect=1", headers={"Host": host})


def _environment(database_url: str, redis_url: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TENANTCACHE_")}
    return kept | {
        "TENANTCACHE_DATABASE_URL": database_url,
        "TENANTCACHE_REDIS_URL": redis_url,
        "TENANTCACHE_BASE_DOMAINS": "localhost",
        "TENANTCACHE_PLANS": json.dumps(PLANS),
        "TENANTCACHE_REDIS_MONTHLY_BUDGET": "500000",
    }


async def _prepare(database_url: str) -> list[str]:
    """Make the tables and the demo's tenants; return a host of each tenant that has one."""
    connection = await asyncpg.connect(database_url)
    await schema.install(connection)
    await seed(connection)
    rows = await connection.fetch("select subdomain from tenantcache.tenants where subdomain <> '' order by md5(id)")
    await connection.close()
    return [f"{row['subdomain']}.localhost" for row in rows]


if __name__ == "__main__":
    asyncio.run(main())
