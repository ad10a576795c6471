"""What a metric is: its name, what it means, how it is read, and how those of several processes become one.

Names are those of Prometheus' conventions (prometheus.io/docs/practices/naming): base units, with the unit at the end,
and `_total` behind what only grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from tenantcache.budget.core.budget import Budget
from tenantcache.stats import Stats

Labels = tuple[str, ...]
"""Values of a metric's labels, in their order."""

Rows = dict[Labels, float]
"""The values of one metric. In those of a histogram the last label is a bound of a bucket, or `SUM_ROW`."""

Found = float | Mapping[str, float] | Mapping[tuple[str, str], float] | Mapping[Labels, float] | None
"""One value, one for each value of the only label, one for each values of all labels; None: not known."""

SUM_ROW = "sum"

UNITS = ("seconds", "bytes", "ratio", "dollars")

WORKER = "worker"
"""The label of what each process has of its own: its process id."""


class Kind(Enum):
    """What a value does in the course of time."""

    COUNTER = "counter"
    """It grows, until the process ends."""
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    """Counts of what was at most each bound, and a sum. They grow."""


class Merge(Enum):
    """How values of several processes become one."""

    SUM = "sum"
    LEAST = "minimum"
    MOST = "maximum"
    EACH = "one for each process"


@dataclass(frozen=True, slots=True)
class Reading:
    """What one process knows of itself at one time. `budget` None: it has no Redis.

    `loop_lag`: seconds by which its event loop was late, as the rows of a histogram. `tenants`: requests by tenant.
    """

    stats: Stats
    budget: Budget | None = None
    version: str = ""
    limits: str = ""
    loop_lag: Mapping[str, float] = field(default_factory=dict)
    tenants: Mapping[str, float] = field(default_factory=dict)
    snapshot_failures: int = 0


@dataclass(frozen=True, slots=True)
class Metric:
    """`name` is without `_total`. `find` gives its values, and `merge` says what those of several processes become."""

    name: str
    kind: Kind
    help: str
    find: Callable[[Reading], Found]
    labels: tuple[str, ...] = ()
    merge: Merge = Merge.SUM

    @property
    def unit(self) -> str:
        last = self.name.rpartition("_")[2]
        return last if last in UNITS else ""

    @property
    def series(self) -> str:
        """The name that queries use."""
        suffix = {Kind.COUNTER: "_total", Kind.HISTOGRAM: "_bucket", Kind.GAUGE: ""}
        return self.name + suffix[self.kind]

    @property
    def all_labels(self) -> tuple[str, ...]:
        """As they are exported."""
        return (*self.labels, WORKER) if self.merge is Merge.EACH else self.labels

    def read(self, reading: Reading) -> Rows:
        found = self.find(reading)
        if found is None:
            return {}
        if isinstance(found, Mapping):
            return {(key,) if isinstance(key, str) else tuple(key): float(value) for key, value in found.items()}
        return {(): float(found)}

    def merged(self, processes: Iterable[tuple[str, Rows]]) -> Rows:
        """Those of several processes, each with its id."""
        found: Rows = {}
        for worker, rows in processes:
            for labels, value in rows.items():
                if self.merge is Merge.EACH:
                    found[(*labels, worker)] = value
                elif labels not in found:
                    found[labels] = value
                elif self.merge is Merge.SUM:
                    found[labels] += value
                else:
                    found[labels] = (min if self.merge is Merge.LEAST else max)(found[labels], value)
        return found


@dataclass(frozen=True, slots=True)
class Section:
    """Metrics that belong together, in docs and on dashboards."""

    title: str
    metrics: tuple[Metric, ...]


def counter(name: str, help: str, find: Callable[[Reading], Found], *labels: str) -> Metric:
    return Metric(name, Kind.COUNTER, help, find, labels)


def gauge(name: str, help: str, find: Callable[[Reading], Found], *labels: str, merge: Merge = Merge.SUM) -> Metric:
    return Metric(name, Kind.GAUGE, help, find, labels, merge)


def one_of(states: Sequence[str], present: str | None) -> dict[str, float]:
    """1 for the state that is present, and 0 for the others, so that each has a series."""
    return {state: float(state == present) for state in states}
