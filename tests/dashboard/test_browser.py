"""The dashboard in a real Chromium, served by a thread: what a person sees, and reaches by keyboard."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount

from example_app.site import create_app
from tenantcache import Settings, TenantCache, TenantMiddleware
from tenantcache.devservers.server import free_port
from tenantcache.web.dashboard import Dashboard, fleetreader, from_this_machine, stream
from tests.servers.databases import Databases

pytestmark = pytest.mark.slow

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")

expect.set_options(timeout=30_000)  # milliseconds; a loaded machine takes longer than the 5 s of the default

TENANTS = r"""
    insert into tenantcache.tenants (id, name, subdomain) values
        ('t1', 'Acme', 'acme'), (E't\n2', '<b onmouseover=alert(1)>Bold</b>', 'bold');
    insert into tenantcache.usage values ('t1', current_date, 70, now()), (E't\n2', current_date, 7, now())
"""


def dashboard(url: str, redis_url: str) -> Starlette:
    """As an application mounts it."""
    cache = TenantCache(Settings(database_url=url, redis_url=redis_url))
    return Starlette(
        routes=[Mount("/ops/fleet", Dashboard(cache, from_this_machine))],
        middleware=[Middleware(TenantMiddleware, cache=cache)],
    )


@contextmanager
def served(app: Starlette) -> Iterator[int]:
    """The port of a uvicorn in a thread."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        threading.Event().wait(0.01)
    try:
        yield port
    finally:
        server.should_exit = server.force_exit = True
        thread.join()


@pytest.fixture(scope="module")
def quick() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def site(databases: Databases, redis_server: Any, quick: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    url = elsewhere(databases.create)
    execute(url, TENANTS)
    quick.setattr(stream, "INTERVAL", 0.2)
    quick.setattr(fleetreader, "MIN_AGE", 0.1)
    with served(dashboard(url, redis_server.url)) as port:
        address = f"http://localhost:{port}/ops/fleet/"
        yield SimpleNamespace(url=address, database_url=url, redis_url=redis_server.url)
    elsewhere(databases.drop, url)


def elsewhere(call: Callable[..., Any], *args: Any) -> Any:
    """Call it in another thread: in this one playwright's event loop runs."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(call, *args).result()


def execute(url: str, sql: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(sql)
        await connection.close()

    elsewhere(asyncio.run, run())


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        if os.environ.get("REQUIRE_SERVERS") == "1":
            pytest.fail("there is no Chromium, and REQUIRE_SERVERS=1 wants one: apt-get install chromium")
        pytest.skip("there is no Chromium; set CHROMIUM to its path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of 320 by 640 pixels in which nothing may go wrong, blocked scripts included."""
    context = browser.new_context(viewport={"width": 320, "height": 640})
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("dialog", lambda dialog: faults.append(dialog.message))
    yield page
    context.close()
    assert faults == []


def violations(page: Page) -> list[str]:
    return [found["id"] for found in Axe().run(page).response["violations"]]


WIDE = """
    [...document.querySelectorAll("body *")]
        .filter((each) => each.getBoundingClientRect().right > innerWidth && !each.closest(".scroll"))
        .map((each) => each.outerHTML.slice(0, 80))
"""


@pytest.mark.parametrize("path", ["", "tenant?id=t1", "tenants?search=t"])
def test_axe_finds_nothing_and_nothing_is_cut_off(page: Page, site: SimpleNamespace, path: str) -> None:
    page.emulate_media(color_scheme="light")
    page.goto(site.url + path)
    assert violations(page) == []
    page.emulate_media(color_scheme="dark")
    assert violations(page) == []
    assert page.evaluate(WIDE) == []


def test_axe_finds_nothing_in_the_example_app(page: Page, site: SimpleNamespace) -> None:
    settings = Settings(database_url=site.database_url, redis_url=site.redis_url, base_domains=["localhost"])
    with served(create_app(settings)) as port:
        for host in ("localhost", "acme.localhost"):
            page.goto(f"http://{host}:{port}/")
            assert violations(page) == []
        page.goto("about:blank")  # it asks no more


def test_a_change_comes_without_a_reload(page: Page, site: SimpleNamespace) -> None:
    page.goto(site.url)
    expect(page.get_by_role("status")).to_have_text("Live")
    changes = page.locator("[data-part=changes] a", has_text="Acme")
    expect(changes.first).to_be_visible()
    before = changes.count()
    execute(site.database_url, "update tenantcache.tenants set plan = coalesce(plan, '') || 'x' where id = 't1'")
    expect(changes).to_have_count(before + 1)  # among the last eight
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("status")).to_have_text("Paused")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("status")).to_have_text("Live")


def test_it_says_so_if_something_holds_back_what_comes(page: Page, site: SimpleNamespace) -> None:
    page.clock.install()
    page.route("**/stream", lambda route: None)
    page.goto(site.url)
    expect(page.get_by_role("status")).to_have_text("As of this moment")
    page.clock.run_for(10_000)
    expect(page.get_by_role("status")).to_have_text("Not live, trying again")


def test_a_name_is_text_also_when_it_comes_live(page: Page, site: SimpleNamespace) -> None:
    page.goto(site.url)
    expect(page.get_by_role("status")).to_have_text("Live")
    bold = page.locator("[data-part=tenants] a", has_text="<b onmouseover=alert(1)>Bold</b>")
    bold.hover()
    expect(bold).to_be_visible()


def test_what_has_the_focus_keeps_it(page: Page, site: SimpleNamespace) -> None:
    page.goto(site.url)
    expect(page.get_by_role("status")).to_have_text("Live")
    page.evaluate("window.held = document.querySelector('[data-part=changes] a')")
    page.locator("[data-part=changes] a").first.focus()
    where = page.evaluate("document.activeElement.getAttribute('href')")
    execute(site.database_url, "update tenantcache.tenants set plan = coalesce(plan, '') || 'y' where id = 't1'")
    while page.evaluate("window.held.isConnected"):
        page.wait_for_timeout(50)
    assert page.evaluate("document.activeElement.getAttribute('href')") == where


def test_a_tenant_is_suspended_by_keyboard(page: Page, site: SimpleNamespace) -> None:
    page.goto(site.url)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.get_by_label("Find a tenant").focus()
    page.keyboard.type("Bold")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Bold").press("Enter")
    page.get_by_text("Suspend…").press("Enter")
    page.get_by_role("button", name="Suspend").press("Enter")
    expect(page.get_by_role("status")).to_contain_text("The tenant is suspended")
    page.get_by_text("Resume…").press("Enter")
    page.get_by_role("button", name="Resume").press("Enter")
    expect(page.get_by_role("status")).to_contain_text("The tenant is active again")


def test_without_script_it_is_the_same_page_and_stands_still(browser: Browser, site: SimpleNamespace) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(site.url)
    expect(page.get_by_text("All is well")).to_be_visible()
    expect(page.get_by_role("button", name="Pause")).to_be_hidden()
    page.get_by_role("link", name="Reload").click()
    expect(page.get_by_role("heading", name="Processes")).to_be_visible()
    context.close()


def test_postgres_goes_and_comes_while_the_page_is_open(
    page: Page, site: SimpleNamespace, databases: Databases
) -> None:
    name = site.database_url.rpartition("/")[2]
    page.goto(site.url)
    expect(page.get_by_text("All is well")).to_be_visible()
    elsewhere(databases.execute, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    elsewhere(databases.execute, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    expect(page.get_by_text("Postgres does not answer").first).to_be_visible()
    elsewhere(databases.execute, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    expect(page.get_by_text("All is well")).to_be_visible()
