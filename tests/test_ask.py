"""Which names a TLS front may get certificates for, and what the question costs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount

from tenantcache import ConfigurationError, Settings, TenantCache, TenantMiddleware
from tenantcache.web.ask import AskApp
from tests.asgi import Answer, Lifespan, connect, http_scope, request
from tests.fakes import FakeClock, FakeDatabase, make_cache, row
from tests.servers.billing import BilledCommands

pytestmark = pytest.mark.usefixtures("patience")

LOOPBACK = ("127.0.0.1", 40_000)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def database(clock: FakeClock) -> FakeDatabase:
    return FakeDatabase(
        clock,
        row("acme", domains=["shop.acme.io", "xn--bcher-kva.example"]),
        row("globex", domains=["globex.io"], status="suspended"),
        row("oceanic", domains=["oceanic.io"], status="maintenance"),
    )


@pytest.fixture
async def cache(database: FakeDatabase, clock: FakeClock) -> AsyncIterator[TenantCache]:
    async with make_cache(database, clock) as cache:
        yield cache


async def ask(
    app: AskApp,
    query: str | bytes,
    *,
    client: tuple[str, int] | None = LOOPBACK,
    method: str = "GET",
    headers: Any = (),
) -> Answer:
    scope = http_scope(b"127.0.0.1:8000", "/ask", client=client, headers=headers)
    scope |= {"query_string": query if isinstance(query, bytes) else query.encode(), "method": method}
    return await request(app, scope)


class TestNames:
    @pytest.mark.parametrize(
        ("name", "status"),
        [
            ("shop.acme.io", 200),
            ("SHOP.Acme.io", 200),
            ("shop.acme.io.", 200),
            ("xn--bcher-kva.example", 200),
            ("%73hop.acme.io", 200),
            ("globex.io", 404),
            ("oceanic.io", 404),
            ("nobody.io", 404),
            ("www.shop.acme.io", 404),
        ],
    )
    async def test_only_domains_of_active_tenants(self, cache: TenantCache, name: str, status: int) -> None:
        assert (await ask(AskApp(cache), f"domain={name}")).status == status

    @pytest.mark.parametrize(
        "name",
        [
            "127.0.0.1",
            "[::1]",
            "::1",
            "1.2.3.4.5",
            "0x7f.1",
            "localhost",
            "example.com",
            "www.example.com",
            "acme.example.com",
            "deep.acme.example.com",
            "shop.acme.io:443",
            "shop..acme.io",
            "-a.io",
            "b%C3%BCcher.example",
            "%FF%FE.io",
            "shop.acme.io%00",
            "shop.acme.io%0a",
            "+shop.acme.io",
            "a" * 254,
            "",
        ],
    )
    async def test_what_can_be_nobodys_domain_costs_no_look_up(
        self, cache: TenantCache, database: FakeDatabase, name: str
    ) -> None:
        cache.indexer.flush()
        answer = await ask(AskApp(cache), f"domain={name}")
        assert answer.status == 404
        assert database.reads == []

    async def test_subdomains_count_where_there_is_no_wildcard_certificate(self, cache: TenantCache) -> None:
        app = AskApp(cache, subdomains=True)
        names = ("acme.example.com", "globex.example.com", "nobody.example.com", "www.example.com", "shop.acme.io")
        assert [(await ask(app, f"domain={name}")).status for name in names] == [200, 404, 404, 404, 200]

    @pytest.mark.parametrize(
        "query",
        ["", "name=shop.acme.io", "domain=shop.acme.io&domain=shop.acme.io", "domain", b"domain=\xff", "d" * 2000],
    )
    async def test_a_question_without_one_name(self, cache: TenantCache, query: str | bytes) -> None:
        answer = await ask(AskApp(cache), query)
        assert answer.status == (404 if query == "domain" else 400)

    async def test_a_change_is_followed(self, cache: TenantCache, database: FakeDatabase) -> None:
        app = AskApp(cache)
        assert (await ask(app, "domain=shop.acme.io")).status == 200
        database.put(row("acme", domains=["new.acme.io"]))
        await cache.sync()
        assert (await ask(app, "domain=shop.acme.io")).status == 404
        assert (await ask(app, "domain=new.acme.io")).status == 200


class TestAnswers:
    @pytest.mark.parametrize("query", ["domain=secret-name.io", "domain=globex.io", "domain=1.2.3.4", "x=secret-name"])
    async def test_never_repeat_the_name(self, cache: TenantCache, query: str) -> None:
        answer = await ask(AskApp(cache), query)
        name = query.partition("=")[2].encode()
        assert name not in answer.body
        assert not any(name in value for _, value in answer.headers)
        assert answer.header("cache-control") == "no-store"

    async def test_a_yes_is_not_stored_either(self, cache: TenantCache) -> None:
        answer = await ask(AskApp(cache), "domain=shop.acme.io")
        assert (answer.body, answer.header("cache-control")) == (b"", "no-store")

    async def test_nobody_can_say(self, cache: TenantCache, database: FakeDatabase) -> None:
        cache.indexer.flush()
        database.failing = True
        answer = await ask(AskApp(cache), "domain=shop.acme.io")
        assert (answer.status, answer.header("retry-after")) == (503, "1")

    async def test_a_known_name_is_answered_while_postgres_is_away(
        self, cache: TenantCache, database: FakeDatabase
    ) -> None:
        assert (await ask(AskApp(cache), "domain=shop.acme.io")).status == 200
        database.failing = True
        assert (await ask(AskApp(cache), "domain=shop.acme.io")).status == 200

    async def test_an_engine_that_cannot_be_opened(
        self, database: FakeDatabase, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tenantcache.lifecycle.OPEN_TIMEOUT", 0.05)
        database.failing = True
        answer = await ask(AskApp(make_cache(database, clock)), "domain=shop.acme.io")
        assert (answer.status, answer.header("retry-after")) == (503, "1")

    @pytest.mark.parametrize("method", ["POST", "PUT", "OPTIONS"])
    async def test_only_get_and_head(self, cache: TenantCache, method: str) -> None:
        answer = await ask(AskApp(cache), "domain=shop.acme.io", method=method)
        assert (answer.status, answer.header("allow")) == (405, "GET, HEAD")
        assert (await ask(AskApp(cache), "domain=shop.acme.io", method="HEAD")).status == 200

    async def test_a_websocket_is_refused(self, cache: TenantCache) -> None:
        [message] = await connect(AskApp(cache))
        assert message["type"] == "websocket.close"


class TestCallers:
    @pytest.mark.parametrize(
        ("address", "status"),
        [
            ("127.0.0.1", 200),
            ("127.9.9.9", 200),
            ("::1", 200),
            ("::ffff:127.0.0.1", 200),
            ("10.0.0.1", 403),
            ("::ffff:10.0.0.1", 403),
            ("fe80::1%eth0", 403),
            ("", 403),
            ("/run/caddy.sock", 403),
        ],
    )
    async def test_only_loopback_unless_told_otherwise(self, cache: TenantCache, address: str, status: int) -> None:
        answer = await ask(AskApp(cache), "domain=shop.acme.io", client=(address, 1))
        assert answer.status == status

    async def test_who_has_no_address_may_not(self, cache: TenantCache) -> None:
        assert (await ask(AskApp(cache), "domain=shop.acme.io", client=None)).status == 403

    async def test_networks_can_be_given(self, cache: TenantCache) -> None:
        app = AskApp(cache, callers=["10.1.0.0/16", "2001:db8::/32"])
        clients = ("10.1.2.3", "10.2.0.1", "2001:db8::5", "127.0.0.1")
        assert [(await ask(app, "domain=shop.acme.io", client=(c, 1))).status for c in clients] == [200, 403, 200, 403]

    @pytest.mark.parametrize("header", [b"x-forwarded-for", b"forwarded", b"via"])
    async def test_what_the_front_passes_on_is_not_its_own_question(self, cache: TenantCache, header: bytes) -> None:
        answer = await ask(AskApp(cache), "domain=shop.acme.io", headers=[(header, b"203.0.113.9")])
        assert answer.status == 403

    async def test_refused_callers_cost_no_look_up(self, cache: TenantCache, database: FakeDatabase) -> None:
        cache.indexer.flush()
        await ask(AskApp(cache), "domain=shop.acme.io", client=("10.0.0.1", 1))
        assert database.reads == []

    @pytest.mark.parametrize("callers", ["10.0.0.0/8", ["10.0.0.1/8"], ["caddy"]])
    def test_networks_that_are_none(self, database: FakeDatabase, clock: FakeClock, callers: Any) -> None:
        with pytest.raises(ConfigurationError, match="callers"):
            AskApp(make_cache(database, clock), callers=callers)


class TestServing:
    async def test_mounted_on_a_path_that_bypasses(self, database: FakeDatabase, clock: FakeClock) -> None:
        cache = make_cache(database, clock, bypass_paths=["/health", "/tls"])
        app = Starlette(routes=[Mount("/tls", AskApp(cache))], middleware=[Middleware(TenantMiddleware, cache=cache)])
        async with Lifespan(app) as lifespan:
            assert lifespan.types == ["lifespan.startup.complete"]
            for name, status in (("shop.acme.io", 200), ("nobody.io", 404)):
                scope = http_scope(b"127.0.0.1:8000", "/tls/ask", client=LOOPBACK)
                answer = await request(app, scope | {"query_string": f"domain={name}".encode()})
                assert answer.status == status

    async def test_by_itself(self, database: FakeDatabase, clock: FakeClock) -> None:
        cache = make_cache(database, clock)
        app = AskApp(cache)
        async with Lifespan(app) as lifespan:
            assert cache.is_open
            assert (await ask(app, "domain=shop.acme.io")).status == 200
        assert lifespan.types == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        assert not cache.is_open


async def test_redis_is_asked_before_postgres(
    database_url: str, redis_url: str, billed_commands: BilledCommands
) -> None:
    settings = Settings(database_url=database_url, redis_url=redis_url)
    async with TenantCache(settings) as first:
        await first.tenants.create("Acme", domains=["shop.acme.io"])
    billed_commands.reset()
    async with TenantCache(settings.model_copy(update={"warm_up": False})) as second:
        app = AskApp(second)
        for _ in range(5):
            assert (await ask(app, "domain=shop.acme.io")).status == 200
        assert second.stats()["lookups"]["redis_hits"] == 1
        assert billed_commands.by_command() == {"get": 1}
