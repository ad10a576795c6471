"""The pytest plugin: its documentation runs, it costs nothing until used, and its engine behaves as the real one."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from tenantcache import ConfigurationError, TenantMiddleware, current_tenant
from tenantcache.errors import InvalidTenantError, NameTakenError, UnknownDomainError, UnknownTenantError
from tenantcache.freshness.core.servertime import ServerTime
from tenantcache.testing import FakeClock, MemoryCache, TenantTable
from tests.asgi import get
from tests.pytestplugins import without_plugins

DOCS = Path(__file__).parents[1] / "docs" / "testing.md"
PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", *without_plugins())


def run_python(*arguments: str, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_examples_run(tmp_path: Path) -> None:
    app, tests, clients, conftest, engine, values, value_tests, script = re.findall(
        r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL
    )
    files = {"app.py": app, "test_app.py": tests, "test_clients.py": clients, "test_engine.py": engine}
    files |= {"values.py": values, "test_values.py": value_tests}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    other = tmp_path / "other"
    other.mkdir()
    (other / "conftest.py").write_text(conftest, encoding="utf-8")
    test = "def test(tenant_cache):\n    assert tenant_cache.settings.base_domains == ('example.com',)\n"
    (other / "test_settings.py").write_text(test, encoding="utf-8")
    output = run_python(*PYTEST, "-W", "error::RuntimeWarning", cwd=tmp_path)
    assert "16 passed" in output
    run_python("-c", script, cwd=tmp_path)


def test_nothing_is_imported_until_a_fixture_is_used(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import sys\n"
        "FOREIGN = ('tenantcache', 'asyncpg', 'redis', 'starlette', 'pydantic')\n"
        "def test_before():\n"
        "    assert 'pytest_tenantcache' in sys.modules\n"
        "    assert [name for name in FOREIGN if name in sys.modules] == []\n"
        "def test_after(tenant_cache):\n"
        "    assert 'tenantcache.engine' in sys.modules\n",
        encoding="utf-8",
    )
    assert "2 passed" in run_python(*PYTEST, cwd=tmp_path)


async def home(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.state.tenant.name)


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(websocket.state.tenant.name)
    await websocket.close()


def make_app(**options: Any) -> Starlette:
    app = Starlette(routes=[Route("/", home), WebSocketRoute("/ws", socket)])
    app.add_middleware(TenantMiddleware, **options)
    return app


AsTenant = Callable[..., Any]


@pytest.mark.parametrize("entered", [False, True], ids=["a loop for each request", "one loop"])
def test_a_limit_is_as_large_as_it_is(as_tenant: AsTenant, tenant_clock: FakeClock, entered: bool) -> None:
    """Though test clients run each request in an event loop of its own, unless they are entered."""
    client = TestClient(make_app())
    if entered:
        client.__enter__()
    with as_tenant("acme", client, limit_per_minute=50, limit_per_day=75):
        for expected in (50, 25, 0):
            statuses = [client.get("/").status_code for _ in range(60)]
            assert statuses == [200] * expected + [429] * (60 - expected)
            tenant_clock.advance(60)
        tenant_clock.advance(86_400)
        assert client.get("/").status_code == 200
    if entered:
        client.__exit__(None, None, None)


def test_a_change_is_seen_by_the_next_request(tenants: TenantTable) -> None:
    tenants.add("acme", name="one", domains=["shop.acme.io"])
    for client in (TestClient(make_app()), TestClient(make_app())):
        with client:
            for number in range(50):
                tenants.update("acme", name=f"name {number}")
                assert client.get("http://acme.testserver/").text == f"name {number}"
                assert client.get("http://shop.acme.io/").text == f"name {number}"
    tenants.delete("acme")
    assert client.get("http://acme.testserver/").status_code == 404
    tenants.add("acme", name="back")
    assert client.get("http://acme.testserver/").text == "back"


async def test_a_change_from_within_the_loop_is_seen_too(tenants: TenantTable, tenant_cache: MemoryCache) -> None:
    tenants.add("acme", name="one")
    app = make_app()
    for number in range(50):
        tenants.update("acme", name=f"name {number}")
        assert (await get(app, b"acme.testserver")).body.decode() == f"name {number}"
    await tenant_cache.close()


def test_time_stands_still(tenant_cache: MemoryCache, tenant_clock: FakeClock) -> None:
    async def use() -> float:
        async with tenant_cache:
            await asyncio.sleep(0.01)
            return tenant_cache.server_now()

    before = asyncio.run(use())
    assert before == asyncio.run(use()) == tenant_clock.now.timestamp()
    tenant_clock.advance(90)
    assert asyncio.run(use()) == before + 90
    with pytest.raises(ValueError, match="does not go back"):
        tenant_clock.advance(-1)


def test_a_clock_may_begin_on_another_date() -> None:
    cache = MemoryCache(FakeClock(datetime(2026, 3, 29, 0, 30, tzinfo=UTC)))
    cache.fake_clock.advance(90)
    assert cache.fake_clock() == 90
    assert (
        cache.server_now()
        == cache.fake_clock.now.timestamp()
        == datetime(2026, 3, 29, 0, 31, 30, tzinfo=UTC).timestamp()
    )


async def test_memory_warms_up_from_memory(tenant_clock: FakeClock) -> None:
    cache = MemoryCache(tenant_clock, warm_up=True)
    for tenant_id in ("acme", "globex"):
        TenantTable(cache).add(tenant_id)
    async with cache:
        await cache.warm_up.wait()
        assert cache.stats()["lookups"]["warmed_up"] == 2
        assert await cache.resolve("acme.testserver") is not None
        assert cache.stats()["lookups"]["loads"] == 0


def test_it_outlives_an_event_loop(tenant_cache: MemoryCache) -> None:
    async def use(name: str) -> None:
        await tenant_cache.open()
        async with asyncio.timeout(1):
            await tenant_cache.sync()
            await tenant_cache.tenants.create(name, subdomain=name)
        assert await tenant_cache.resolve(f"{name}.testserver") is not None

    for name in ("one", "two"):
        asyncio.run(use(name))


def test_middlewares_get_their_own_engine_back(tmp_path: Path) -> None:
    """Those that were there before, and those that came while another stood in."""
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "from starlette.responses import PlainTextResponse\n"
        "from starlette.testclient import TestClient\n"
        "from tenantcache import ConfigurationError, Settings, TenantCache, TenantMiddleware\n"
        "own = TenantCache(Settings(database_url='postgresql://h/d', base_domains=['own.example']))\n"
        "before, late = TenantMiddleware(PlainTextResponse(''), cache=own), []\n"
        "def statuses(host):\n"
        "    return [TestClient(each).get(f'http://{host}/').status_code for each in (before, *late)]\n"
        "def test_one(tenants):\n"
        "    late.append(TenantMiddleware(PlainTextResponse(''), cache=own))\n"
        "    late.append(TenantMiddleware(PlainTextResponse('')))\n"
        "    tenants.add('acme', limit_per_minute=6)\n"
        "    assert statuses('acme.testserver') == statuses('acme.testserver') == [200] * 3\n"
        "    assert statuses('acme.testserver') == [429] * 3\n"
        "    assert statuses('own.example') == [404] * 3\n"
        "def test_two():\n"
        "    assert before.cache is late[0].cache is own\n"
        "    faulty = late.pop()\n"
        "    assert statuses('own.example') == [200] * 2\n"
        "    late.append(faulty)\n"
        "    with pytest.raises(ConfigurationError, match='TENANTCACHE_DATABASE_URL'):\n"
        "        TestClient(faulty).get('http://own.example/')\n"
        "def test_three(tenants):\n"
        "    tenants.add('acme')\n"
        "    assert statuses('acme.testserver') == [200] * 3\n",
        encoding="utf-8",
    )
    assert "3 passed" in run_python(*PYTEST, cwd=tmp_path)


def test_websockets(as_tenant: AsTenant) -> None:
    client = TestClient(make_app())
    with as_tenant("acme", name="Acme") as acme, client.websocket_connect(acme.ws_url + "/ws") as websocket:
        assert websocket.receive_text() == "Acme"


def test_the_client_is_left_as_it_was_found(as_tenant: AsTenant) -> None:
    client = httpx.Client(base_url="http://elsewhere.example")
    with pytest.raises(RuntimeError), as_tenant("acme", client) as acme:
        assert current_tenant() is acme.tenant
        with as_tenant("globex"):
            assert current_tenant().id == "globex"  # type: ignore[union-attr]
        assert client.base_url.host == "acme.testserver"
        raise RuntimeError
    assert client.base_url.host == "elsewhere.example"
    assert current_tenant() is None


def test_a_tenant_is_reached_where_it_can_be(as_tenant: AsTenant) -> None:
    with as_tenant("a", subdomain=None, domains=["b.example", "a.example"]) as acting:
        assert acting.headers == {"host": "a.example"}
    with as_tenant("b", domains=["c.example"], primary_domain="c.example") as acting:
        assert acting.base_url == "http://c.example"
    with pytest.raises(Exception, match="neither a subdomain nor a domain"), as_tenant("c", subdomain=None):
        pass


def test_mistakes_are_told_as_by_the_real_thing(tenants: TenantTable) -> None:
    tenants.add("acme", domains=["acme.io"])
    with pytest.raises(NameTakenError, match="id 'acme' is taken"):
        tenants.add("acme")
    with pytest.raises(NameTakenError, match=r"domain 'acme\.io' is taken"):
        tenants.add("other", domains=["ACME.io"])
    with pytest.raises(NameTakenError, match="subdomain 'acme' is taken"):
        tenants.add("other", subdomain="acme")
    with pytest.raises(InvalidTenantError, match=r"(?s)subdomain 'www' is reserved.*status is 'gone'"):
        tenants.add("other", subdomain="www", status="gone")  # type: ignore[arg-type]
    with pytest.raises(UnknownTenantError, match="'nobody'"):
        tenants.suspend("nobody")
    with pytest.raises(TypeError, match="a tenant has no 'colour'"):
        tenants.update("acme", colour="red")  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="max_staleness"):
        MemoryCache(max_staleness="soon")  # type: ignore[arg-type]


async def test_tenants_and_domains_are_written_in_memory(tenant_cache: MemoryCache) -> None:
    class Zone:
        values: tuple[str, ...] = ()

        async def txt(self, name: str) -> list[str]:
            return list(self.values)

    async with tenant_cache as cache:
        cache.domains.dns = zone = Zone()
        acme = await cache.tenants.create("Acme", id="acme", subdomain="acme")
        await cache.tenants.create("Globex", id="globex", subdomain="globex")
        challenge = await cache.domains.add("acme", "shop.acme.io")
        assert await cache.domains.add("acme", "shop.acme.io") == challenge
        assert (await cache.domains.verify("shop.acme.io")).outcome == "failed"
        zone.values = (challenge.record_value,)
        assert (await cache.domains.verify("shop.acme.io")).outcome == "verified"
        await cache.domains.set_primary("acme", "shop.acme.io")
        found = await cache.resolve("shop.acme.io")
        assert found is not None
        assert (found.id, found.primary_domain) == (acme.id, "shop.acme.io")
        with pytest.raises(NameTakenError):
            await cache.domains.add("globex", "shop.acme.io")
        zone.values = ()
        assert [check.removed for check in await cache.domains.recheck(grace=10)] == [False]
        cache.fake_clock.advance(11)
        assert [check.removed for check in await cache.domains.recheck(grace=10)] == [True]
        assert await cache.resolve("shop.acme.io") is None
        await cache.domains.remove("acme", "shop.acme.io")
        with pytest.raises(UnknownDomainError):
            await cache.domains.remove("acme", "shop.acme.io")
        assert (await cache.tenants.suspend("acme")).status == "suspended"
        await cache.tenants.delete("acme")
        assert await cache.resolve("acme.testserver") is None
        assert list(await cache.get_many(["acme", "globex"])) == ["globex"]


async def test_usage_is_counted_in_memory(tenant_cache: MemoryCache, tenants: TenantTable) -> None:
    tenants.add("acme")
    app = make_app()
    for _ in range(3):
        await get(app, b"acme.testserver")
    tenant_cache.fake_clock.advance(86_400)
    await get(app, b"acme.testserver")
    await tenant_cache.usage.flush()
    assert [day.requests for day in await tenant_cache.usage.read("acme")] == [3, 1]
    assert await tenant_cache.usage.last_seen(["acme", "nobody"]) == {"acme": tenant_cache.fake_clock.now}
    await tenant_cache.close()


def test_the_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTCACHE_LIMIT_PER_MINUTE", "1")
    assert MemoryCache().settings.limit_per_minute == 600
    assert isinstance(MemoryCache().server_time, ServerTime)
