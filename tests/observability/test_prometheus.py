"""What a scrape answers, and what it costs."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from tenantcache import TenantCache, TenantMiddleware
from tenantcache.observability.metric import Kind
from tenantcache.observability.metrics import METRICS
from tenantcache.observability.prometheus import Collector, MetricsApp
from tenantcache.web.auth import Auth
from tests.asgi import Answer, Lifespan, connect, http_scope, request
from tests.fakes import FakeClock, FakeCounters, FakeDatabase, make_cache, row
from tests.observability.samples import families, openmetrics, values
from tests.regressions.counting import count_instructions

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"


class Bench:
    """An engine on stand-ins, and an application whose limits and metrics are its own."""

    def __init__(self, cache: TenantCache, database: FakeDatabase, counters: FakeCounters, clock: FakeClock) -> None:
        self.cache, self.database, self.counters, self.clock = cache, database, counters, clock
        self.app = TenantMiddleware(PlainTextResponse("hello"), cache=cache)

    async def send(self, host: bytes, requests: int = 1) -> list[int]:
        return [(await request(self.app, http_scope(host))).status for _ in range(requests)]

    async def collect_fast(self) -> None:
        """As usage does every 10 s."""
        for _ in self.cache.limiter.drain():
            pass


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    clock = FakeClock()
    rows = [row("acme"), row("few", limit_per_minute=2), row("away", status="suspended")]
    database, counters = FakeDatabase(clock, *rows), FakeCounters()
    async with make_cache(database, clock, counters=counters, limit_per_minute=1_000, limit_per_day=0) as cache:
        yield Bench(cache, database, counters, clock)


async def scrape(app: MetricsApp, method: str = "GET", **headers: str) -> Answer:
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return await request(app, http_scope(headers=lines) | {"method": method})


# What it answers.


async def test_what_was_served_and_refused_is_counted(bench: Bench) -> None:
    app = MetricsApp(bench.cache)
    assert set(await bench.send(b"acme.example.com", 100)) == {200}
    assert await bench.send(b"few.example.com", 5) == [200, 200, 429, 429, 429]
    assert await bench.send(b"away.example.com") == [403]
    assert await bench.send(b"none.example.com", 2) == [404, 404]
    assert await bench.send(b"none.example.net") == [404]
    assert await bench.send(b"_.example.com:x") == [400]
    await bench.collect_fast()
    found = values((await scrape(app)).body)
    lookups = {name: value for name, value in found.items() if name.startswith("tenantcache_lookups_total") and value}
    assert lookups == {
        "tenantcache_lookups_total{result=found,tier=postgres}": 3,
        # 99 and 4: all requests of the two but the first, those that a limit refused included.
        "tenantcache_lookups_total{result=found,tier=memory}": 103,
        "tenantcache_lookups_total{result=unknown,tier=index}": 3,
    }
    refusals = {name: value for name, value in found.items() if name.startswith("tenantcache_refusals") and value}
    assert refusals == {
        "tenantcache_refusals_total{reason=limit}": 3,
        "tenantcache_refusals_total{reason=suspended}": 1,
        "tenantcache_refusals_total{reason=unknown}": 2,
        "tenantcache_refusals_total{reason=foreign}": 1,
        "tenantcache_refusals_total{reason=malformed}": 1,
    }
    assert found["tenantcache_limit_decisions_total{limit=tenant,result=admitted}"] == 102
    assert found["tenantcache_limit_decisions_total{limit=tenant,result=denied}"] == 3
    assert found["tenantcache_limit_violations_total{policy=minute}"] == 3
    assert found["tenantcache_memory_entries{kind=tenants}"] == 3
    assert found["tenantcache_workers"] == 1


async def test_stores_that_do_not_answer_are_counted(bench: Bench) -> None:
    app = MetricsApp(bench.cache)
    bench.counters.failing = bench.database.failing = True
    assert await bench.send(b"acme.example.com") == [503]
    found = values((await scrape(app)).body)
    assert found["tenantcache_refusals_total{reason=lookup_unavailable}"] == 1
    assert found["tenantcache_lookup_failures_total"] == 1
    assert found["tenantcache_lookups_total{result=found,tier=postgres}"] == 0


async def test_the_text_format_is_the_default(bench: Bench) -> None:
    answer = await scrape(MetricsApp(bench.cache))
    assert answer.status == 200
    assert answer.header("content-type") == PLAIN
    assert answer.header("cache-control") == "no-store"
    names = {family.name for family in families(answer.body)}
    assert names == {metric.name for metric in METRICS if metric.name != "tenantcache_tenant_requests"}


async def test_openmetrics_is_sent_if_it_is_asked_for(bench: Bench) -> None:
    accepted = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    answer = await scrape(MetricsApp(bench.cache), accept=accepted)
    assert (answer.header("content-type") or "").startswith(OPENMETRICS)
    assert answer.body.endswith(b"# EOF\n")
    found = {family.name: family for family in openmetrics(answer.body)}
    for metric in METRICS:
        if metric.name in found:
            family = found[metric.name]
            assert (family.type, family.unit, family.documentation) == (metric.kind.value, metric.unit, metric.help)
    assert len(found) == len(METRICS) - 1


async def test_head_is_answered_without_a_body(bench: Bench) -> None:
    app = MetricsApp(bench.cache)
    whole, head = await scrape(app), await scrape(app, "HEAD")
    assert head.status == 200
    assert head.body == b""
    assert abs(int(head.header("content-length") or 0) - len(whole.body)) < 50
    assert head.header("content-type") == PLAIN


@pytest.mark.parametrize("accepted", ["gzip", "deflate, gzip;q=0.5", "*", "GZIP;q=1.0"])
async def test_it_is_compressed_if_that_is_asked_for(bench: Bench, accepted: str) -> None:
    answer = await scrape(MetricsApp(bench.cache), accept_encoding=accepted)
    assert answer.header("content-encoding") == "gzip"
    assert gzip.decompress(answer.body).startswith(b"# HELP tenantcache_lookups_total ")
    assert len(answer.body) < len(gzip.decompress(answer.body)) / 4


@pytest.mark.parametrize("accepted", ["", "identity", "gzip;q=0", "br", "gzip;q=0.0"])
async def test_else_it_is_not(bench: Bench, accepted: str) -> None:
    answer = await scrape(MetricsApp(bench.cache), accept_encoding=accepted)
    assert answer.header("content-encoding") is None
    assert answer.body.startswith(b"# HELP ")


async def test_other_methods_and_protocols_are_refused(bench: Bench) -> None:
    app = MetricsApp(bench.cache)
    answer = await scrape(app, "POST")
    assert (answer.status, answer.header("allow")) == (405, "GET, HEAD")
    assert (await connect(app))[0]["type"] == "websocket.close"


async def test_it_may_be_served_by_itself(bench: Bench) -> None:
    await bench.cache.close()
    async with Lifespan(MetricsApp(bench.cache)):
        assert bench.cache.is_open
    assert not bench.cache.is_open


@pytest.mark.parametrize(("route", "path"), [(Mount, "/metrics/"), (Route, "/metrics")])
async def test_it_is_served_on_a_path_that_bypasses(route: Any, path: str) -> None:
    clock = FakeClock()
    async with make_cache(FakeDatabase(clock), clock, bypass_paths=["/health", "/metrics"]) as cache:
        routes = [route("/metrics", MetricsApp(cache)), Route("/", PlainTextResponse("hello"))]
        app = Starlette(routes=routes, middleware=[Middleware(TenantMiddleware, cache=cache)])
        answer = await request(app, http_scope(b"10.0.0.7:8000", path))
    assert answer.status == 200
    assert values(answer.body)["tenantcache_workers"] == 1


# Who may have it.


async def yes(request: Request) -> bool:
    return request.headers.get("authorization") == "Bearer token"


async def challenge(_request: Request) -> bool:
    raise HTTPException(401, "Who are you?", {"WWW-Authenticate": "Basic"})


def broken(_request: Request) -> bool:
    raise RuntimeError("no session")


@pytest.mark.parametrize(
    ("auth", "status"),
    [
        (yes, 200),
        (lambda _: True, 200),
        (lambda _: False, 403),
        (lambda _: None, 403),
        (lambda _: 1, 403),
        (lambda _: Response("log in", 401), 401),
        (challenge, 401),
        (broken, 500),
    ],
)
async def test_only_those_who_may_get_it(bench: Bench, auth: Any, status: int) -> None:
    checked: Auth = auth
    answer = await scrape(MetricsApp(bench.cache, auth=checked), authorization="Bearer token")
    assert answer.status == status
    assert (b"tenantcache_lookups" in answer.body) == (status == 200)


# What it costs.


async def test_a_scrape_waits_for_nothing_and_asks_no_store(bench: Bench) -> None:
    app = MetricsApp(bench.cache)
    await bench.send(b"acme.example.com", 3)
    asked = len(bench.counters.batches), len(bench.database.reads), list(bench.database.calls)

    async def receive() -> Any:
        raise AssertionError("the body is not read")

    async def send(_message: Any) -> None:
        pass

    steps, _, _ = count_instructions(lambda: app(http_scope(), receive, send))
    assert steps == 1
    assert (len(bench.counters.batches), len(bench.database.reads), list(bench.database.calls)) == asked


async def test_its_work_does_not_grow_with_the_tenants(bench: Bench) -> None:
    app = MetricsApp(bench.cache)

    async def receive() -> Any: ...

    async def send(_message: Any) -> None: ...

    def instructions() -> int:
        return count_instructions(lambda: app(http_scope(), receive, send))[1]

    await bench.send(b"acme.example.com")
    few = instructions()
    for number in range(300):
        bench.database.put(row(f"t{number}"))
    await bench.cache.sync()
    for number in range(300):
        await bench.send(b"t%d.example.com" % number)
    assert instructions() < few * 1.05


async def test_nothing_is_counted_or_timed_before_it_is_asked_for(bench: Bench) -> None:
    assert bench.cache.companions == []
    assert bench.cache.usage.on_spent is None


async def test_an_engine_has_one_watch_however_often_it_is_exported(bench: Bench) -> None:
    for _ in range(3):
        MetricsApp(bench.cache)
        Collector(bench.cache)
    assert len(bench.cache.companions) == 1


# A registry of one's own.


async def test_a_registry_of_ones_own_gets_the_same(bench: Bench) -> None:
    await bench.send(b"acme.example.com", 2)
    registry = CollectorRegistry()
    registry.register(Collector(bench.cache))
    assert registry.get_sample_value("tenantcache_memory_entries", {"kind": "tenants"}) == 1
    assert registry.get_sample_value("tenantcache_lookups_total", {"tier": "postgres", "result": "found"}) == 1
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(Collector(bench.cache))


# Tenants.


async def test_no_label_names_a_tenant_or_a_host_unless_it_is_asked_for(bench: Bench) -> None:
    await bench.send(b"acme.example.com", 3)
    await bench.send(b"few.example.com", 3)
    await bench.send(b"none.example.com")
    await bench.collect_fast()
    body = (await scrape(MetricsApp(bench.cache))).body
    assert b"acme" not in body
    assert b"few" not in body
    assert b"none.example" not in body
    assert b"tenant=" not in body


async def test_the_busiest_tenants_are_named_if_it_is_asked_for(bench: Bench) -> None:
    app = MetricsApp(bench.cache, top_tenants=1)

    async def found() -> dict[str, float]:
        await bench.cache.usage._collect()
        kept = values((await scrape(app)).body).items()
        return {name.partition("tenant=")[2].split(",")[0]: value for name, value in kept if "{tenant=" in name}

    assert await found() == {"other": 0}
    await bench.send(b"acme.example.com", 50)
    await bench.send(b"few.example.com", 2)
    assert await found() == {"acme": 0, "other": 52}, "it counts from when it came in"
    await bench.send(b"acme.example.com", 30)
    await bench.send(b"few.example.com", 1)
    assert await found() == {"acme": 30, "other": 52}


# Counters.


async def test_counters_never_fall_whatever_happens(bench: Bench) -> None:
    app = MetricsApp(bench.cache)
    growing = {metric.series for metric in METRICS if metric.kind is Kind.COUNTER}
    before: dict[str, float] = {}

    async def look() -> None:
        nonlocal before
        now = {name: value for name, value in values((await scrape(app)).body).items() if name.split("{")[0] in growing}
        fallen = {name: (value, now.get(name)) for name, value in before.items() if now.get(name, -1) < value}
        assert fallen == {}
        before = now

    await look()
    await bench.send(b"acme.example.com", 20)
    await look()
    [tenant] = (await bench.cache.get_many(["acme"])).values()
    bench.cache.refund(tenant, 2)
    await bench.collect_fast()
    await look()
    bench.clock.advance(61)
    await bench.send(b"few.example.com", 5)
    await look()
    bench.database.failing = bench.counters.failing = True
    bench.clock.advance(30)
    await bench.send(b"acme.example.com", 3)
    await look()
    bench.database.failing = bench.counters.failing = False
    await bench.cache.close()
    await look()
    await bench.cache.open()
    await bench.send(b"acme.example.com", 3)
    await look()
    bench.clock.advance(3_000)
    await bench.send(b"few.example.com", 3)
    await look()
    assert sum(before.values()) > 40
