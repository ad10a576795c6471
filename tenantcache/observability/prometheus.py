"""Metrics for Prometheus: an application to mount, or a collector for a registry of one's own. Needs the extra
`prometheus`.

    app.mount("/metrics", MetricsApp(cache))

The path has to bypass tenancy: TENANTCACHE_BYPASS_PATHS=/health,/metrics. docs/metrics.md lists all metrics.

A scrape sends nothing to Redis or Postgres: it reads what is counted anyway. No label names a tenant, unless
`top_tenants` asks for it.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import Metric as Family
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector as AnyCollector
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tenantcache.engine import TenantCache
from tenantcache.observability.metric import SUM_ROW, Kind, Metric, Rows
from tenantcache.observability.watch import Watch
from tenantcache.web.auth import Auth, refusal_of
from tenantcache.web.lifespan import answer, live
from tenantcache.web.problems import Problem

__all__ = ["Collector", "MetricsApp"]

WRONG_METHOD = Problem(405, "Method Not Allowed", "Ask with GET or HEAD.", headers=((b"allow", b"GET, HEAD"),))
NOT_HTTP = Problem(404, "Not Found", "Metrics are served over HTTP.")

LEAST_TO_COMPRESS = 1_000
"""Bytes; a full answer has some 10,000."""


class Collector(AnyCollector):
    """`registry.register(Collector(cache))` adds the metrics to a registry.

    `top_tenants`: so many of the busiest tenants get a series of their own, and all others one together. 0: no label
    names a tenant. With TENANTCACHE_METRICS_DIR, all workers of this machine are in it.
    """

    def __init__(self, cache: TenantCache, *, top_tenants: int = 0) -> None:
        self._watch = Watch.of(cache)
        if top_tenants:
            self._watch.count_tenants(top_tenants)

    def describe(self) -> Iterable[Family]:
        """All metrics, without values."""
        return _families(self._watch.metrics(), {})

    def collect(self) -> Iterable[Family]:
        """All metrics. Reads the files of the other workers, if there is a directory for them; no other I/O."""
        return _families(self._watch.metrics(), self._watch.collect())


class MetricsApp:
    """An ASGI application, to be mounted on a path that bypasses tenancy, or to be served by itself.

    It answers GET and HEAD, as text or OpenMetrics, as is asked for. `auth` is called with each
    `starlette.requests.Request`, and may be a coroutine function: only True lets it pass, a `Response` is sent in place
    of the metrics. `top_tenants` is that of `Collector`.
    """

    def __init__(self, cache: TenantCache, *, auth: Auth | None = None, top_tenants: int = 0) -> None:
        self._cache = cache
        self._auth = auth
        self._watch = Watch.of(cache)
        if top_tenants:
            self._watch.count_tenants(top_tenants)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await live(self._cache, answer, scope, receive, send)
        elif scope["type"] != "http":
            await NOT_HTTP(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD"):
            await WRONG_METHOD(scope, receive, send)
        else:
            refusal = (
                None if self._auth is None else await refusal_of(self._auth, Request(scope, receive), "the metrics")
            )
            await (refusal or await self._metrics(Headers(scope=scope)))(scope, receive, send)

    async def _metrics(self, asked: Headers) -> Response:
        encode, media_type = choose_encoder(",".join(asked.getlist("accept")))
        body = encode(_Collected(self._watch.metrics(), await self._watch.collect_aside()))
        headers = {"content-type": media_type, "cache-control": "no-store", "vary": "accept, accept-encoding"}
        if len(body) >= LEAST_TO_COMPRESS and _takes_gzip(asked.getlist("accept-encoding")):
            body, headers["content-encoding"] = gzip.compress(body, compresslevel=3), "gzip"
        return _Body(body, headers=headers)


class _Body(Response):
    """Without the body in answer to HEAD, but with its length."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            self.body = b""
        await super().__call__(scope, receive, send)


class _Collected(AnyCollector):
    """What was collected already, for an encoder."""

    def __init__(self, metrics: Iterable[Metric], values: dict[str, Rows]) -> None:
        self._metrics, self._values = metrics, values

    def collect(self) -> Iterable[Family]:
        return _families(self._metrics, self._values)


def _takes_gzip(accepted: Sequence[str]) -> bool:
    for each in ",".join(accepted).lower().split(","):
        coding, _, parameter = each.replace(" ", "").partition(";")
        if coding in ("gzip", "*"):
            return parameter.removeprefix("q=").strip("0.") != "" or not parameter
    return False


def _families(metrics: Iterable[Metric], values: dict[str, Rows]) -> Iterator[Family]:
    for metric in metrics:
        yield _family(metric, values.get(metric.name, {}))


def _family(metric: Metric, rows: Rows) -> Family:
    if metric.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.all_labels[:-1], unit=metric.unit)
        if rows:
            buckets = [(bound, value) for (bound,), value in rows.items() if bound != SUM_ROW]
            histogram.add_metric((), buckets, rows[SUM_ROW,])
        return histogram
    family: CounterMetricFamily | GaugeMetricFamily
    if metric.kind is Kind.COUNTER:
        family = CounterMetricFamily(metric.name, metric.help, labels=metric.all_labels, unit=metric.unit)
    else:
        family = GaugeMetricFamily(metric.name, metric.help, labels=metric.all_labels, unit=metric.unit)
    for labels, value in rows.items():
        family.add_metric(labels, value)
    return family
