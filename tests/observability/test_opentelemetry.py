"""Spans of real I/O, by the conventions' names, and none for a request that memory answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tenantcache import Settings, TenantCache, TenantMiddleware
from tenantcache.budget.core.meter import Purpose
from tenantcache.errors import StoreError
from tenantcache.observability.metrics import METRICS
from tenantcache.observability.opentelemetry import TenantSpan, instrument, uninstrument
from tests.asgi import get
from tests.fakes import until

pytestmark = pytest.mark.usefixtures("patience")


class Telemetry:
    def __init__(self) -> None:
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers, self.meters = TracerProvider(), MeterProvider([self.reader])
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))

    def spans(self) -> list[ReadableSpan]:
        """What has ended since the last call, without the pulls of the background."""
        found = [span for span in self.exporter.get_finished_spans() if span.name != "tenantcache pull"]
        self.exporter.clear()
        return found

    def durations(self) -> list[Any]:
        data = self.reader.get_metrics_data()
        if data is None:
            return []
        found = [one for resource in data.resource_metrics for scope in resource.scope_metrics for one in scope.metrics]
        return [point for one in found if one.name == "db.client.operation.duration" for point in one.data.data_points]


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    made = Telemetry()
    yield made
    made.tracers.shutdown()
    made.meters.shutdown()


@pytest.fixture
async def cache(database_url: str, redis_url: str, telemetry: Telemetry) -> AsyncIterator[TenantCache]:
    connection = await asyncpg.connect(database_url)
    await connection.execute("insert into tenantcache.tenants (id, name, subdomain) values ('acme', 'Acme', 'acme')")
    await connection.close()
    # No index, no warm-up and no usage: no I/O but that of a request.
    settings = Settings(database_url=database_url, redis_url=redis_url, warm_up=False, host_index_max_hosts=0)
    made = TenantCache(settings)
    instrument(made, tracer_provider=telemetry.tracers, meter_provider=telemetry.meters)
    async with made:
        await until(lambda: made.state == "ready")
        telemetry.spans()
        yield made


def named(spans: list[ReadableSpan], name: str) -> ReadableSpan:
    [found] = [span for span in spans if span.name == name]
    return found


async def test_a_first_request_is_told_by_its_io(cache: TenantCache, telemetry: Telemetry, redis_url: str) -> None:
    tenant = await cache.resolve("acme.localhost")
    assert tenant is not None
    await cache.check(tenant)
    spans = telemetry.spans()
    lookup, read, take = named(spans, "tenantcache lookup"), named(spans, "GET"), named(spans, "tenantcache take")
    assert (lookup.kind, dict(lookup.attributes or {})) == (SpanKind.INTERNAL, {"tenantcache.lookup.names": 1})
    host, _, port = redis_url.removeprefix("redis://").removesuffix("/0").rpartition(":")
    where = {"db.system.name": "redis", "server.address": host, "server.port": int(port)}
    assert (read.kind, dict(read.attributes or {})) == (SpanKind.CLIENT, {"db.operation.name": "GET", **where})
    assert read.parent is not None
    assert lookup.context is not None
    assert read.parent.span_id == lookup.context.span_id
    assert (take.attributes or {})["tenantcache.take.accounts"] == 1


async def test_a_request_that_memory_answers_has_no_span(cache: TenantCache, telemetry: Telemetry) -> None:
    tenant = await cache.resolve("acme.localhost")
    assert tenant is not None
    await cache.check(tenant)
    telemetry.spans()
    for _ in range(20):
        assert await cache.resolve("acme.localhost") is tenant
    assert [span.name for span in telemetry.spans() if span.name == "tenantcache lookup"] == []


async def test_round_trips_are_measured_and_no_metric_names_a_tenant(cache: TenantCache, telemetry: Telemetry) -> None:
    await cache.resolve("acme.localhost")
    points = telemetry.durations()
    assert {point.attributes["db.operation.name"] for point in points} >= {"GET"}
    assert all(point.count >= 1 and point.sum > 0 for point in points)
    assert not any("tenant" in f"{point.attributes}" or "acme" in f"{point.attributes}" for point in points)


@pytest.mark.parametrize("words", [("GET",), ("NOSUCH", "acme"), ("EVAL", "nonsense", 0)])
async def test_what_redis_refuses_is_an_error_without_its_text(
    cache: TenantCache, telemetry: Telemetry, words: tuple[str, ...]
) -> None:

    link = cache._parts.stores.link
    assert link is not None
    with pytest.raises(StoreError):
        await link.run(Purpose.PROBE, *words)
    span = named(telemetry.spans(), words[0])
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description is None
    assert (span.attributes or {})["error.type"] == "ResponseError"
    assert list(span.events) == []


async def test_a_redis_that_does_not_answer_is_an_error(cache: TenantCache, telemetry: Telemetry) -> None:

    link = cache._parts.stores.link
    assert link is not None
    with pytest.raises(StoreError):
        await link.run(Purpose.PROBE, "BLPOP", "nothing", 0, timeout=0.02)
    assert (named(telemetry.spans(), "BLPOP").attributes or {})["error.type"] == "TimeoutError"
    failed = [point for point in telemetry.durations() if "error.type" in point.attributes]
    assert [point.count for point in failed] == [1]


async def test_uninstrument(cache: TenantCache, telemetry: Telemetry) -> None:
    uninstrument(cache)
    await cache.resolve("acme.localhost")
    assert telemetry.spans() == []


async def test_the_requests_span_has_its_tenant(cache: TenantCache, telemetry: Telemetry) -> None:
    tracer = telemetry.tracers.get_tracer("server")

    def hello(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    app = Starlette(routes=[Route("/", hello), Route("/health", hello)])
    app.add_middleware(TenantSpan)
    app.add_middleware(TenantMiddleware, cache=cache)
    for path in ("/", "/health"):
        with tracer.start_as_current_span(path):
            assert (await get(app, b"acme.localhost", path)).status == 200
    spans = telemetry.spans()
    assert dict(named(spans, "/").attributes or {}) == {"tenant.id": "acme"}
    assert dict(named(spans, "/health").attributes or {}) == {}


async def test_pulls_are_told_of(cache: TenantCache, telemetry: Telemetry) -> None:
    await cache.sync()
    assert "tenantcache pull" in [span.name for span in telemetry.exporter.get_finished_spans()]


async def test_each_metric_is_an_instrument_and_none_names_a_tenant(cache: TenantCache, telemetry: Telemetry) -> None:
    tenant = await cache.resolve("acme.localhost")
    assert tenant is not None
    await cache.check(tenant)
    data = telemetry.reader.get_metrics_data()
    assert data is not None
    found = {
        one.name: {
            tuple(sorted((point.attributes or {}).items())): point.value
            for point in one.data.data_points
            if isinstance(point, NumberDataPoint)
        }
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for one in scope.metrics
        if one.name.startswith("tenantcache.")
    }
    assert found["tenantcache.lookups"][("result", "found"), ("tier", "postgres")] == 1
    assert found["tenantcache.limit_decisions"][("limit", "tenant"), ("result", "admitted")] == 1
    assert found["tenantcache.state"][(("state", "ready"),)] == 1
    assert not any("acme" in repr(attributes) for points in found.values() for attributes in points)
    known = {metric.name.replace("_", ".", 1) for metric in METRICS}
    assert found.keys() <= known
    assert len(found) > 50
