"""The table of metrics as instruments of OpenTelemetry: the same figures, by names with dots.

An instrument reads when the SDK asks, so nothing is measured on the way of a request. There are no conventions for
caches and limits yet: names and units are those of docs/metrics.md, with `tenantcache.` in front. Each process reports
its own figures, and the SDK's resource tells them apart. No instrument names a tenant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from tenantcache.observability.metric import Kind, Metric, Reading
from tenantcache.observability.metrics import METRICS, TENANT_REQUESTS
from tenantcache.runtime.clock import Clock

UNITS = {"seconds": "s", "bytes": "By", "dollars": "{USD}"}
"""As UCUM writes them, which OpenTelemetry asks for; "1" for the others."""

REUSE_FOR = 0.2
"""Seconds. The SDK asks one instrument after the other, and a reading has the values of all."""


class Instruments:
    """One for each metric of the table, but histograms, which need each value as it comes. The SDK asks them in a
    thread of its own."""

    def __init__(self, meter: Meter, read: Callable[[], Reading], clock: Clock) -> None:
        self._read, self._clock = read, clock
        self._reading: Reading | None = None
        self._read_at = 0.0
        for metric in METRICS:
            if metric is not TENANT_REQUESTS:
                self._add(meter, metric)

    def _add(self, meter: Meter, metric: Metric) -> None:
        def observe(_options: CallbackOptions) -> Iterator[Observation]:
            for labels, value in metric.read(self._newest()).items():
                yield Observation(value, dict(zip(metric.labels, labels, strict=True)))

        create = {Kind.COUNTER: meter.create_observable_counter, Kind.GAUGE: meter.create_observable_gauge}
        if metric.kind in create:
            callbacks: list[Callable[[CallbackOptions], Iterable[Observation]]] = [observe]
            name = metric.name.replace("tenantcache_", "tenantcache.", 1)
            create[metric.kind](name, callbacks, UNITS.get(metric.unit, "1"), metric.help)

    def _newest(self) -> Reading:
        now = self._clock()
        if self._reading is None or now - self._read_at > REUSE_FOR:
            self._reading, self._read_at = self._read(), now
        return self._reading
