"""The dashboard on real servers: who may see it, what it sends, what it costs, and what it shows of other processes."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from html import unescape
from typing import Any

import asyncpg
import httpx
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount
from starlette.types import ASGIApp, Message

from tenantcache import ConfigurationError, Settings, TenantCache, TenantMiddleware
from tenantcache.freshness import housekeeping
from tenantcache.web.auth import Auth
from tenantcache.web.dashboard import Dashboard, from_this_machine, stream
from tenantcache.web.drain import Drain
from tests.asgi import http_scope, websocket_scope
from tests.fakes import until
from tests.servers.billing import BilledCommands

pytestmark = pytest.mark.usefixtures("patience")

SOON = 30.0
"""Seconds that a loaded machine may take for what takes none."""

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
STRANGE_ID = "a/b?c=d&e#f%20g \u202eh"

TENANTS = """
    insert into tenantcache.tenants (id, name, subdomain, plan) values
        ('t1', 'Acme', 'acme', 'pro'), ('t2', 'Globex', 'globex', null)
"""


def allow(request: Request) -> bool:
    return True


async def run(url: str, sql: str, *args: object) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql, *args) if args else await connection.execute(sql)
    finally:
        await connection.close()


@pytest.fixture
async def url(database_url: str) -> str:
    await run(database_url, TENANTS)
    return database_url


@pytest.fixture
async def cache(url: str, redis_url: str) -> AsyncIterator[TenantCache]:
    async with TenantCache(Settings(database_url=url, redis_url=redis_url, warm_up=False)) as cache:
        await cache.sync()
        yield cache


def client(app: ASGIApp, **options: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, **options)
    return httpx.AsyncClient(transport=transport, base_url="http://ops.example.com")


async def get(app: ASGIApp, path: str = "/", **headers: str) -> httpx.Response:
    async with client(app) as browser:
        return await browser.get(path, headers=headers)


class TestAuth:
    def test_without_one_there_is_no_dashboard(self, url: str) -> None:
        cache = TenantCache(Settings(database_url=url))
        for auth in (None, True, "secret"):
            with pytest.raises(ConfigurationError, match="give auth"):
                Dashboard(cache, auth)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "path", ["/", "/static/dashboard.css", "/stream", "/tenants?search=a", "/tenant?id=t1", "/x"]
    )
    async def test_nothing_is_sent_to_those_who_may_not(self, cache: TenantCache, path: str) -> None:
        async def no(request: Request) -> bool:
            return False

        assert (await get(Dashboard(cache, no), path)).status_code == 403

    async def test_only_true_is_a_yes(self, cache: TenantCache) -> None:
        async def later(request: Request) -> bool:
            await asyncio.sleep(0)
            return True

        def login(request: Request) -> Response:
            return RedirectResponse("/login")

        def challenge(request: Request) -> bool:
            raise HTTPException(401, "Who are you?", {"WWW-Authenticate": "Basic"})

        def fails(request: Request) -> bool:
            raise RuntimeError("the directory of users is at ldap://secret")

        cases: list[tuple[Any, int]] = [
            (allow, 200),
            (later, 200),
            (lambda request: "yes", 403),
            (lambda request: 1, 403),
            (lambda request: None, 403),
            (login, 307),
            (challenge, 401),
            (fails, 500),
        ]
        for auth, status in cases:
            answer = await get(Dashboard(cache, auth))
            assert (answer.status_code, answer.headers["cache-control"]) == (status, "no-store")
            assert "secret" not in answer.text
            assert ("www-authenticate" in answer.headers) is (status == 401)

    async def test_this_machine_is_meant_by_its_address_and_its_name(self, cache: TenantCache) -> None:
        here, there = ("127.0.0.1", 1), ("10.0.0.7", 1)
        for host, address, headers, status in (
            ("localhost:8000", here, {}, 200),
            ("acme.localhost", here, {}, 200),
            ("[::1]:8000", ("::1", 1), {}, 200),
            ("evil.example.com", here, {}, 403),  # its name leads to this machine, and its page runs in the browser
            ("localhost", there, {}, 403),
            ("localhost", here, {"X-Forwarded-For": "10.0.0.7"}, 403),
        ):
            async with client(Dashboard(cache, from_this_machine), client=address) as browser:
                assert (await browser.get("/", headers={"Host": host, **headers})).status_code == status
        old = {**http_scope(b"localhost", "/"), "client": here, "http_version": "1.0"}  # as nginx asks by default
        assert [from_this_machine(Request({**old, "http_version": version})) for version in ("1.0", "1.1")] == [
            False,
            True,
        ]


class TestPages:
    async def test_it_says_that_jinja2_is_missing(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "tenantcache.web.dashboard.pages", raising=False)
        monkeypatch.setitem(sys.modules, "jinja2", None)
        with pytest.raises(ConfigurationError, match=r"pip install 'tenantcache\[dashboard\]'"):
            Dashboard(TenantCache(Settings(database_url=url)), allow)

    @pytest.mark.parametrize("path", ["/", "/tenants?search=a", "/tenant?id=t1", "/tenant?id=none"])
    async def test_no_script_and_no_style_but_ours_may_run(self, cache: TenantCache, path: str) -> None:
        page = await get(Dashboard(cache, allow), path)
        policy = dict(part.strip().partition(" ")[::2] for part in page.headers["content-security-policy"].split(";"))
        nonce = policy["script-src"]
        assert re.fullmatch(r"'nonce-[\w-]{22}'", nonce)
        assert policy == {
            "default-src": "'none'",
            "script-src": nonce,
            "style-src": nonce,
            "connect-src": "'self'",
            "form-action": "'self'",
            "base-uri": "'none'",
            "frame-ancestors": "'none'",
        }
        assert not re.search(r"<style|<script(?![^>]* src=)|\sstyle=|\son\w+=|https?://", page.text)
        assert page.headers["cache-control"] == "no-store"
        again = await get(Dashboard(cache, allow), path)
        assert nonce not in again.headers["content-security-policy"]

    async def test_head_and_what_is_not_there(self, cache: TenantCache) -> None:
        app = Dashboard(cache, allow)
        async with client(app) as browser:
            assert (await browser.head("/")).status_code == 200
            assert (await browser.head("/stream")).headers["content-type"].startswith("text/event-stream")
            for method, path, status in (
                ("GET", "/static/dashboard.js", 200),
                ("GET", "/static/../app.py", 404),
                ("GET", "/static/%2e%2e/app.py", 404),
                ("GET", "/nothing", 404),
                ("POST", "/", 405),
                ("DELETE", "/stream", 405),
                ("GET", "/tenant/suspend", 405),
                ("GET", "/tenant?id=%00", 404),
                ("GET", "/tenants?search=%00", 200),
            ):
                assert (await browser.request(method, path)).status_code == status, path

    async def test_links_lead_below_the_prefix(self, cache: TenantCache) -> None:
        app = Starlette(routes=[Mount("/ops/fleet", Dashboard(cache, allow))])
        for root_path in ("", "/behind/a proxy"):
            async with client(app, root_path=root_path) as browser:
                page = await browser.get(f"{root_path}/ops/fleet/")
                targets = re.findall(r'(?:href|src|action|data-stream)="([^#"]*)"', page.text)
                assert len(targets) > 5
                prefix = root_path.replace(" ", "%20") + "/ops/fleet/"
                assert [target for target in targets if not target.startswith(prefix)] == []
                bare = await browser.get(f"{root_path}/ops/fleet")
                assert bare.status_code == 307
                assert bare.headers["location"].endswith("/ops/fleet/")
                assert (await browser.get(f"{root_path}/ops/fleet/tenant?id=t1")).status_code == 200

    async def test_a_tenants_host_has_no_dashboard(self, cache: TenantCache) -> None:
        app = Starlette(
            routes=[Mount("/ops", Dashboard(cache, allow))], middleware=[Middleware(TenantMiddleware, cache=cache)]
        )
        assert (await get(app, "/ops/", Host="acme.localhost")).status_code == 404
        assert (await get(app, "/ops/", Host="localhost")).status_code == 200

    async def test_a_websocket_is_refused(self, cache: TenantCache) -> None:
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "websocket.connect"}

        async def send(message: Message) -> None:
            sent.append(message)

        await Dashboard(cache, allow)(websocket_scope(b"localhost"), receive, send)
        assert [message["type"] for message in sent] == ["websocket.close"]

    async def test_what_tenants_are_called_is_text(self, cache: TenantCache, url: str) -> None:
        sql = "insert into tenantcache.tenants (id, name, subdomain, plan) values ($1, $2, 'evil', $2) returning 1"
        await run(url, sql, STRANGE_ID, HOSTILE)
        await cache.sync()
        assert await cache.resolve("evil.localhost")
        await run(url, "insert into tenantcache.usage values ($1, current_date, 7, now()) returning 1", STRANGE_ID)
        await run(url, "insert into tenantcache.process_reports values (gen_random_uuid(), $1, 1, $1, now(), '{}')"
                  " returning 1", HOSTILE)  # fmt: skip
        app = Dashboard(cache, allow)
        for path in ("/", "/tenants?search=script", f"/tenants?search={HOSTILE}"):
            page = await get(app, path)
            assert page.status_code == 200
            assert "alert(1)" in page.text
            assert not re.search(r"<script>|<img", page.text)
        [link] = re.findall(r'<a href="/(tenant\?[^"]*)">[^<]*&lt;script', (await get(app)).text)[:1]
        page = await get(app, "/" + unescape(link))
        assert page.status_code == 200
        assert not re.search(r"<script>|<img", page.text)

    async def test_a_name_of_blanks_is_told_by_its_id(self, cache: TenantCache, url: str) -> None:
        await run(url, "update tenantcache.tenants set name = ' ' where id = 't1'")
        await cache.sync()
        await cache.resolve("acme.localhost")
        for path in ("/", "/tenants?search=acme", "/tenant?id=t1"):
            assert re.search(">t1<", (await get(Dashboard(cache, allow), path)).text), path

    async def test_no_page_has_a_password(self, url: str, redis_url: str) -> None:
        settings = Settings(
            database_url=url.replace("postgres@", "postgres:hunter2@"), redis_url="redis://user:hunter2@127.0.0.1:1/0"
        )
        async with TenantCache(settings) as cache:
            app = Dashboard(cache, allow)
            await until(lambda: "'redis': 'answering'" not in str(cache.stats()["limits"]["counters"]))
            for path in ("/", "/tenant?id=t1", "/tenants?search=a"):
                page = await get(app, path)
                assert page.status_code == 200
                assert "hunter2" not in page.text
            assert "Redis" in (await get(app)).text


class TestActions:
    @pytest.fixture
    def app(self, cache: TenantCache) -> Dashboard:
        return Dashboard(cache, allow)

    async def form(self, browser: httpx.AsyncClient, action: str, tenant_id: str = "t1") -> dict[str, str]:
        page = await browser.get("/tenant", params={"id": tenant_id})
        [form] = re.findall(rf'action="/tenant/{action}">(.*?)</form>', page.text, re.DOTALL)
        return dict(re.findall(r'name="(\w+)" value="([^"]*)"', form))

    async def test_a_tenant_is_suspended_and_served_again_and_reset(self, app: Dashboard, cache: TenantCache) -> None:
        own = {"Origin": "http://ops.example.com"}
        async with client(app) as browser:
            for action, status in (("suspend", "suspended"), ("resume", "active"), ("reset", "active")):
                fields = await self.form(browser, action)
                answer = await browser.post(f"/tenant/{action}", data=fields, headers=own)
                assert answer.status_code == 303, answer.text
                page = await browser.get(answer.headers["location"])
                assert page.status_code == 200
                assert "The tenant is" in page.text
                tenant = await cache.tenants.get("t1")
                assert tenant is not None
                assert tenant.status == status

    async def test_only_our_own_forms_count(self, app: Dashboard, cache: TenantCache) -> None:
        same, foreign = {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "same-site"}
        async with client(app) as browser, client(app) as another:
            right = await self.form(browser, "suspend")
            assert (await self.form(another, "suspend"))["token"] != right["token"]
            wrong: list[tuple[httpx.AsyncClient, dict[str, str], dict[str, str]]] = [
                (browser, right, {}),
                (browser, right, foreign),
                (browser, right, {"Origin": "http://acme.example.com"}),
                (browser, right, {"Origin": "null"}),
                (browser, {**right, "token": ""}, same),
                (browser, {**right, "token": "\u00e9"}, same),
                (browser, {**right, "id": "t2"}, same),
                (browser, {**right, "token": (await self.form(browser, "reset"))["token"]}, same),
                (another, right, same),
            ]
            for sender, fields, headers in wrong:
                answer = await sender.post("/tenant/suspend", data=fields, headers=headers)
                assert answer.status_code == 403
            answer = await browser.post("/tenant/suspend", json=right, headers=same)
            assert answer.status_code == 403
            answer = await browser.post("/tenant/suspend", data={**right, "more": "x" * 10_000}, headers=same)
            assert answer.status_code == 403
            tenant = await cache.tenants.get("t1")
            assert tenant is not None
            assert tenant.status == "active"
            assert (await browser.post("/tenant/suspend", data=right, headers=same)).status_code == 303

    async def test_the_cookie_goes_to_this_host_alone(self, app: Dashboard) -> None:
        async with client(app) as browser:
            plain = (await browser.get("/tenant?id=t1")).headers["set-cookie"]
            again = await browser.get("/tenant?id=t1")
            secure = (await browser.get("https://ops.example.com/tenant?id=t1")).headers["set-cookie"]
        assert "HttpOnly; Path=/; SameSite=strict" in plain
        assert "set-cookie" not in again.headers
        assert secure.startswith("__Host-")
        assert "Secure" in secure

    async def test_the_counters_are_asked_what_is_left_of_a_minute(
        self, app: Dashboard, cache: TenantCache, billed_commands: BilledCommands
    ) -> None:
        await cache.tenants.update("t1", limit_per_minute=100)
        async with client(app) as browser:
            before = await browser.get("/tenant?id=t1")
            assert "not known here" in before.text
            fields, billed = await self.form(browser, "ask"), billed_commands.total()
            page = await browser.post("/tenant/ask", data=fields, headers={"Sec-Fetch-Site": "same-origin"})
            assert 1 <= billed_commands.total() - billed <= 2
        assert "as the counters said at" in page.text
        assert "at least 100<" in page.text
        assert (await get(app, "/tenant/ask")).status_code == 405

    async def test_what_cannot_be_done_is_said(self, app: Dashboard, cache: TenantCache) -> None:
        async with client(app) as browser:
            fields = await self.form(browser, "suspend", "t2")
            await cache.tenants.delete("t2")
            answer = await browser.post("/tenant/suspend", data=fields, headers={"Sec-Fetch-Site": "same-origin"})
        assert answer.status_code == 409
        assert "Nothing was done" in answer.text


class TestCost:
    async def test_a_refresh_costs_no_redis_command_and_two_queries_at_100_000_tenants(
        self, cache: TenantCache, url: str, billed_commands: BilledCommands
    ) -> None:
        await run(
            url,
            "insert into tenantcache.usage select 'tenant-' || n, current_date - d, n % 1000, now()"
            " from generate_series(1, 100000) n, generate_series(0, 1) d; analyze tenantcache.usage",
        )
        app = Dashboard(cache, allow)
        reader = app._reader
        await until(lambda: cache.stats()["limits"]["counters"] is not None)
        billed, queries = billed_commands.total(), cache.stats()["postgres"]["queries"]
        for number in range(5):
            reader.looked_at = float("-inf")
            page = await get(app)
            assert page.status_code == 200
            assert reader.queries == 3 + 2 * number  # the third is the sum of today's usage, once a minute
        assert billed_commands.total() == billed
        # The engine's own are among them: usage, reports.
        assert cache.stats()["postgres"]["queries"] - queries < 11 + 6
        assert "tenant-99999" in page.text or "999" in page.text

    async def test_many_pages_at_once_share_one_look(self, cache: TenantCache) -> None:
        app = Dashboard(cache, allow)
        await asyncio.gather(*(get(app) for _ in range(20)))
        assert app._reader.queries == 3

    async def test_a_tenants_page_costs_no_redis_command(
        self, cache: TenantCache, billed_commands: BilledCommands
    ) -> None:
        app = Dashboard(cache, allow)
        billed = billed_commands.total()
        for path in ("/tenant?id=t1", "/tenant?id=t2", "/tenants?search=a"):
            assert (await get(app, path)).status_code == 200
        assert billed_commands.total() == billed

    async def test_a_thousand_processes_that_were_killed(self, cache: TenantCache, url: str) -> None:
        await run(
            url,
            "insert into tenantcache.process_reports select gen_random_uuid(), 'host' || n, n, '1',"
            " now() - interval '20 minutes', '{}' from generate_series(1, 1000) n;"
            "insert into tenantcache.process_reports select gen_random_uuid(), 'old' || n, n, '1',"
            " now() - interval '2 hours', '{}' from generate_series(1, 10) n",
        )
        app = Dashboard(cache, allow)
        while await run(url, "select count(*) from tenantcache.process_reports where host like $1", "old%"):
            await asyncio.sleep(0.02)  # until the first report has removed those that are too old
        page = await get(app)
        assert len(page.text) < 30_000
        assert "1,000 silent in the last hour" in page.text
        assert "All is well" in page.text


class TestFleet:
    async def test_other_processes_report_while_a_dashboard_is_mounted(
        self, cache: TenantCache, url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(housekeeping, "BEAT_INTERVAL", 0.05)
        async with TenantCache(Settings(database_url=url, redis_url=redis_url)) as worker:
            tenant = await worker.resolve("acme.localhost")
            assert tenant is not None
            reported = "select count(*) from tenantcache.process_reports where $1"
            assert await run(url, reported, True) == 0
            app = Dashboard(cache, allow)
            while await run(url, reported, True) < 2:
                worker.follower.wake()
                await asyncio.sleep(0.05)
            app._reader.looked_at = float("-inf")
            fleet = await app._reader.look()
            assert len(fleet.live) == 2
            assert "2 processes follow the log" in (await get(app)).text
            # The dashboard is not there any more, and a minute has passed.
            await cache.close()
            await run(url, "update tenantcache.counter_store set watched_at = now() - interval '61 seconds'")
            while await run(url, reported, True) > 0:
                worker.follower.wake()
                await asyncio.sleep(0.05)

    async def test_a_report_of_a_time_to_come_hides_no_other(self, cache: TenantCache, url: str) -> None:
        """The clock of Postgres was set back, and a process that has ended since has reported before."""
        report = (
            "insert into tenantcache.process_reports values (gen_random_uuid(), 'h', {0}, '1', now() + '{1}', '{{}}')"
        )
        await run(url, report.format(1, "1 hour"))
        await run(url, report.format(2, "0 s"))
        reader = Dashboard(cache, allow)._reader
        await reader.look()
        told = '{"stats": {"memory": {"tenants": 22}}}'
        await run(url, f"update tenantcache.process_reports set at = now(), report = '{told}' where pid = 2")
        reader.looked_at = float("-inf")
        fleet = await reader.look()
        assert [process.tenants for process in fleet.others if process.identity.pid == 2] == [22]

    async def test_a_change_of_state_is_reported_at_once(self, cache: TenantCache, url: str) -> None:
        app = Dashboard(cache, allow)
        await until(lambda: cache.reports._slot is not None)
        await run(url, "update tenantcache.counter_store set band = 'thrift', band_version = 1, band_period = now()")
        cache.follower.wake()
        await until(lambda: len(cache.reports.document()["events"]) > 0)
        assert "The Redis budget is in the band “thrift”" in (await get(app)).text

    async def test_a_schema_of_before(self, url: str, redis_url: str) -> None:
        await run(
            url,
            "drop table tenantcache.process_reports; alter table tenantcache.counter_store drop column watched_at",
        )
        async with TenantCache(Settings(database_url=url, redis_url=redis_url)) as cache:
            page = await get(Dashboard(cache, allow))
            assert page.status_code == 200
            assert "tenantcache init" in page.text
            assert await run(url, "select count(*) from tenantcache.processes where $1", True) == 1
            tenant = await cache.resolve("acme.localhost")
            assert tenant is not None
            assert (await cache.check(tenant)).allowed

    async def test_refused_tenants_are_named(self, cache: TenantCache) -> None:
        await cache.tenants.update("t2", limit_per_minute=1)
        tenant = await cache.resolve("globex.localhost")
        assert tenant is not None
        app = Dashboard(cache, allow)
        await until(lambda: cache.reports._slot is not None)
        assert [(await cache.check(tenant)).allowed for _ in range(3)].count(False) >= 1
        cache.reports._slot = -1  # the next ten seconds have begun
        await until(lambda: len(cache.reports.document()["refused"]) > 0)
        assert cache.reports.document()["refused"][0][0] == "t2"
        assert re.search(r"Most refused.*Globex", (await get(app)).text, re.DOTALL)


class Reader:
    """A browser's end of a stream. It reads `at_most` messages, and then no more."""

    def __init__(self, app: ASGIApp, at_most: int = 1_000) -> None:
        self.status = 0
        self.parts: list[dict[str, str]] = []
        self.leave = asyncio.Event()
        self._at_most = at_most
        self.task = asyncio.create_task(self._run(app))

    async def _run(self, app: ASGIApp) -> None:
        await app(http_scope(b"localhost", "/stream"), self._receive, self._send)

    async def _receive(self) -> Message:
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.status = message.get("status", self.status)
        if len(self.parts) >= self._at_most:
            await asyncio.sleep(3600)
        for data in re.findall(r"^data: (.*)$", message.get("body", b"").decode(), re.MULTILINE):
            self.parts.append(json.loads(data))


class Server:
    """As uvicorn's: its handler of signals is a method of it."""

    should_exit = False

    def handle_exit(self, _number: int, _frame: object) -> None:
        self.should_exit = True


class TestStream:
    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stream, "INTERVAL", 0.02)
        monkeypatch.setattr(stream, "STEP", 0.01)

    async def test_all_parts_and_then_those_that_have_changed(self, cache: TenantCache) -> None:
        reader = Reader(Dashboard(cache, allow))
        await until(lambda: len(reader.parts) > 3)
        assert set(reader.parts[0]) == {
            *("notices", "traffic", "answers", "budget", "tenants", "processes", "events", "changes")
        }
        assert set(reader.parts[-1]) <= {"processes", "budget"}
        reader.leave.set()
        await asyncio.wait_for(reader.task, SOON)

    async def test_it_ends_with_the_engine_and_with_the_server(
        self, cache: TenantCache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app = Dashboard(cache, allow)
        first = Reader(app)
        await until(lambda: len(first.parts) > 0)
        monkeypatch.setattr(stream, "is_stopping", lambda: True)
        await asyncio.wait_for(first.task, SOON)
        monkeypatch.undo()
        second = Reader(app)
        await until(lambda: len(second.parts) > 0)
        await cache.close()
        await asyncio.wait_for(second.task, SOON)

    async def test_it_ends_with_a_server_that_drains(self) -> None:
        server, drain = Server(), Drain(0.01)
        before = signal.signal(signal.SIGTERM, server.handle_exit)
        try:
            drain.install()
            signal.raise_signal(signal.SIGTERM)
            assert drain.is_draining
            assert not stream.is_stopping()
            await until(lambda: server.should_exit)
            assert stream.is_stopping()
        finally:
            signal.signal(signal.SIGTERM, before)

    async def test_it_ends_by_itself(self, cache: TenantCache, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stream, "LIFE", 0.05)
        reader = Reader(Dashboard(cache, allow))
        await asyncio.wait_for(reader.task, SOON)
        assert len(reader.parts) >= 1

    async def test_there_is_a_bounded_number(self, cache: TenantCache, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stream, "MAX_STREAMS", 2)
        app = Dashboard(cache, allow)
        readers = [Reader(app) for _ in range(2)]
        await until(lambda: all(reader.parts for reader in readers))
        assert (await get(app, "/stream")).status_code == 503
        for reader in readers:
            reader.leave.set()
        await asyncio.gather(*(reader.task for reader in readers))
        assert app._streams.running == 0

    async def test_a_client_that_does_not_read_is_left(
        self, cache: TenantCache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stream, "SEND_TIMEOUT", 0.05)
        app = Dashboard(cache, allow)
        slow, quick = Reader(app, at_most=1), Reader(app)
        await asyncio.wait_for(slow.task, SOON)
        before = len(quick.parts)
        await until(lambda: len(quick.parts) > before)
        quick.leave.set()
        await quick.task


async def test_it_tells_of_an_outage_of_postgres_and_goes_on_afterwards(
    postgres_factory: Callable[..., Any], redis_url: str
) -> None:
    from tenantcache.schema import install as schema

    server = postgres_factory()
    connection = await asyncpg.connect(server.url)
    await schema.install(connection)
    await connection.execute(TENANTS)
    await connection.close()
    async with TenantCache(Settings(database_url=server.url, redis_url=redis_url)) as cache:
        app = Dashboard(cache, allow)
        assert "All is well" in (await get(app)).text
        server.stop()
        app._reader.looked_at = float("-inf")
        page = await get(app)
        assert page.status_code == 200
        assert "Postgres does not answer" in page.text
        assert (await get(app, "/tenant?id=t1")).status_code == 503
        assert (await get(app, "/tenants?search=a")).status_code == 200
        server.start()

        while "All is well" not in (await get(app)).text:
            await asyncio.sleep(0.05)


def test_an_auth_has_a_type() -> None:
    auths: list[Auth] = [allow, from_this_machine]
    assert all(map(callable, auths))
