"""OpenTelemetry: spans for what does I/O, and the tenant on the spans of its requests. It needs the extra
`opentelemetry`, which is the API alone; the application brings the SDK.

    app.add_middleware(TenantSpan)
    app.add_middleware(TenantMiddleware, cache=cache)
    instrument(cache)

A request that memory answers does no I/O, so it gets no span of ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Final

from opentelemetry import metrics, trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from starlette.types import ASGIApp, Receive, Scope, Send

from tenantcache.engine import TenantCache
from tenantcache.lookup.current import current_tenant
from tenantcache.observability.enginereading import read_engine
from tenantcache.observability.otelmetrics import Instruments
from tenantcache.runtime.tracing import Span, SpanName
from tenantcache.runtime.version import VERSION
from tenantcache.settings.urls import REDIS_PORT, address

__all__ = ["TenantSpan", "instrument", "uninstrument"]

TENANT_ID: Final = "tenant.id"
"""On spans, never on metrics: each tenant would be a time series of its own."""

SCOPE: Final = "tenantcache"

Attributes = dict[str, str | int]

SIZES: Final[dict[SpanName, str]] = {
    "lookup": "tenantcache.lookup.names",
    "take": "tenantcache.take.accounts",
    "pull": "tenantcache.pull.page",
    "redis": "db.operation.batch.size",
}

BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
"""Seconds: those that the conventions advise for `db.client.operation.duration`."""


class _Span:
    """What is under way: it goes on, and may fail."""

    def __init__(self, span: trace.Span) -> None:
        self.span = span
        self.error_type: str | None = None

    def fail(self, error: BaseException) -> None:
        self.error_type = type(error).__qualname__
        self.span.set_attribute("error.type", self.error_type)
        self.span.set_status(Status(StatusCode.ERROR))  # without the text: it may name a key


class _Tracer:
    """`Tracer` of an engine. `where` are the attributes of its Redis."""

    def __init__(self, tracer: trace.Tracer, meter: metrics.Meter, where: Attributes) -> None:
        self._tracer, self._where = tracer, where
        self._durations = meter.create_histogram(
            "db.client.operation.duration",
            unit="s",
            description="Duration of database client operations.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )

    @contextmanager
    def span(self, name: SpanName, operation: str, size: int) -> Iterator[Span]:
        is_redis = name == "redis"
        attributes: Attributes = {"db.operation.name": operation, **self._where} if is_redis else {}
        sizes: Attributes = {SIZES[name]: size} if not is_redis or size > 1 else {}
        started = perf_counter()
        with self._tracer.start_as_current_span(
            operation if is_redis else f"{SCOPE} {name}",
            kind=SpanKind.CLIENT if is_redis else SpanKind.INTERNAL,
            attributes=attributes | sizes,
            record_exception=False,
            set_status_on_exception=False,
        ) as current:
            span = _Span(current)
            try:
                yield span
            except BaseException as error:
                span.fail(error)
                raise
            finally:
                if is_redis:
                    failed: Attributes = {} if span.error_type is None else {"error.type": span.error_type}
                    self._durations.record(perf_counter() - started, attributes | failed)


def instrument(
    cache: TenantCache,
    *,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
) -> None:
    """Report each lookup, take, pull and round trip to Redis of `cache`, and its metrics. Without providers the global
    ones count.

    Before or after `open`; once for an engine. Without an SDK nothing is reported.
    """
    tracer = trace.get_tracer(SCOPE, VERSION, tracer_provider)
    meter = metrics.get_meter(SCOPE, VERSION, meter_provider)
    where: Attributes = {"db.system.name": "redis"}
    if cache.settings.redis_url is not None:
        found = address(cache.settings.redis_url, REDIS_PORT)
        host, _, port = found.rpartition(":")
        where |= {"server.address": host, "server.port": int(port)} if host else {"server.address": found}
    cache.tracing.tracer = _Tracer(tracer, meter, where)
    Instruments(meter, lambda: read_engine(cache), cache.clock)


def uninstrument(cache: TenantCache) -> None:
    """Report no more spans, and no more calls of Redis."""
    cache.tracing.tracer = None


class TenantSpan:
    """ASGI middleware that puts `tenant.id` on the request's span. It belongs inside of `TenantMiddleware`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        tenant = current_tenant()
        if tenant is not None:
            trace.get_current_span().set_attribute(TENANT_ID, tenant.id)
        await self._app(scope, receive, send)
