"""What the reports of all processes come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import add

from tenantcache.budget.core.budget import Budget
from tenantcache.fleet.core.events import Event
from tenantcache.fleet.core.history import COUNTS, SLOT, SLOTS, Count
from tenantcache.fleet.reportstore import BusyTenant, LoggedChange
from tenantcache.ratelimit.meter import NAME_SEPARATOR
from tenantcache.web.dashboard.processview import ProcessView

MINUTE_SLOTS = 60 // SLOT
SAME_EVENT = 15.0
"""Seconds within which processes see one change of the fleet's state."""

MAX_EVENTS = 12
MAX_REFUSED = 8


@dataclass(frozen=True, slots=True)
class FleetEvent:
    """A change of state, and how many `processes` have seen it."""

    event: Event
    processes: int


@dataclass(frozen=True, slots=True)
class Tiers:
    """Lookups by the tier that answered them. Those that the index of known hosts rules out are not among them."""

    memory: int
    redis: int
    postgres: int

    @property
    def all(self) -> int:
        return self.memory + self.redis + self.postgres


@dataclass(frozen=True)
class FleetView:
    """`now` is server time. `own` is the process that shows the page, `others` the rest, live and silent. `fault` says
    why Postgres could not be read, since `fault_since`. `is_schema_old`: because it lacks the tables for that.
    `read_at` is when it could. `busiest` are today's, `busiest_at` when they were read."""

    now: float
    own: ProcessView
    others: Sequence[ProcessView]
    budget: Budget
    changes: Sequence[LoggedChange] = ()
    busiest: Sequence[BusyTenant] = ()
    busiest_at: float | None = None
    fault: str | None = None
    fault_since: float | None = None
    is_schema_old: bool = False
    read_at: float | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def processes(self) -> Sequence[ProcessView]:
        """This one first, then by name."""
        return [self.own, *sorted(self.others, key=lambda process: process.name)]

    @cached_property
    def live(self) -> Sequence[ProcessView]:
        """Those that report. While Postgres is not read, those that did when it was."""
        asof = self.now if self.fault is None or self.read_at is None else self.read_at
        return [process for process in self.processes if process is self.own or not process.is_silent(asof)]

    @cached_property
    def silent(self) -> Sequence[ProcessView]:
        live = {id(process) for process in self.live}
        return [process for process in self.processes if id(process) not in live]

    @property
    def _window(self) -> range:
        """The slots of the last quarter of an hour, up to the one that all live processes have told of: reports are up
        to a slot late."""
        last = int(self.now // SLOT) - 2
        return range(last - SLOTS + 1, last + 1)

    @cached_property
    def _known(self) -> range:
        """Those of the window since the first report."""
        first = min((process.first_slot for process in self.processes if process.counts), default=self._window.stop)
        return range(min(max(first, self._window.start), self._window.stop), self._window.stop)

    @cached_property
    def _sums(self) -> Mapping[Count, Sequence[int]]:
        """What all processes have counted in each slot of the window, and of the two after it."""
        window = range(self._window.start, self._window.stop + 2)
        telling = [process for process in self.processes if process.known_slots().stop > window.start]
        sums: dict[Count, Sequence[int]] = {}
        for name in COUNTS:
            column: Sequence[int] = [0] * len(window)
            for process in telling:
                column = list(map(add, column, process.counted(name, window)))
            sums[name] = column
        return sums

    def series(self, *names: Count) -> list[float]:
        """By the second, slot by slot, of the last quarter of an hour; slots before the first report are left out."""
        skipped, length = self._known.start - self._window.start, len(self._window)
        columns = [self._sums[name][skipped:length] for name in names]
        return [sum(values) / SLOT for values in zip(*columns, strict=True)]

    def per_second(self, *names: Count) -> float:
        """In the last minute."""
        last = self.series(*names)[-MINUTE_SLOTS:]
        return sum(last) / len(last) if last else 0.0

    @property
    def covered(self) -> float:
        """Seconds of which the history tells: a quarter of an hour at most."""
        return len(self._known) * SLOT

    def total(self, *names: Count) -> int:
        """In the last quarter of an hour."""
        return sum(sum(self._sums[name]) for name in names)

    def per_second_of(self, process: ProcessView, name: Count) -> float:
        """In the last minute, of one process."""
        minute, known = self._window[-MINUTE_SLOTS:], process.known_slots()
        told = range(max(minute.start, known.start), min(minute.stop, known.stop))
        return sum(process.counted(name, told)) / (len(told) * SLOT) if told else 0.0

    @cached_property
    def tiers(self) -> Tiers:
        return Tiers(self.total("in_memory"), self.total("in_redis"), self.total("in_postgres"))

    @property
    def outage_since(self) -> float | None:
        """When Postgres was last heard of, as far as it is known here; None: it answers."""
        if self.fault is None or self.fault_since is None:
            return None
        lost = [event.at for event in self.own.events if event.what == "log" and event.after == "lost"]
        return min([self.fault_since, *([] if self.own.is_following else lost[-1:])])

    @property
    def head(self) -> int:
        """The newest entry of the log that is known."""
        return max([process.applied for process in self.live] + [change.seq for change in self.changes[:1]])

    def lag(self, process: ProcessView) -> int:
        """Entries that a process had not applied when it reported; those that came later do not count."""
        later = sum(1 for change in self.changes if change.at > process.at)
        return max(0, self.head - later - process.applied)

    @cached_property
    def refused(self) -> Sequence[tuple[str, int]]:
        """The tenants that were refused most in the last quarter of an hour, named limits included."""
        sums: Counter[str] = Counter()
        for process in self.processes:
            told = process.refused if process.age(self.now) < SLOT * SLOTS else {}
            for owner, number in told.items():
                sums[owner.partition(NAME_SEPARATOR)[0]] += number
        return sums.most_common(MAX_REFUSED)

    @property
    def shown_tenants(self) -> set[str]:
        """The ids of all tenants that the page names."""
        changed = {change.tenant_id for change in self.changes if change.tenant_id}
        return {total.tenant_id for total in self.busiest} | {owner for owner, _ in self.refused} | changed

    @cached_property
    def events(self) -> Sequence[FleetEvent]:
        """The last changes of state, newest first. What several processes saw is told once."""
        return list(_grouped(self.processes))[:MAX_EVENTS]


def _grouped(processes: Sequence[ProcessView]) -> Iterator[FleetEvent]:
    told = sorted((event for process in processes for event in process.events), reverse=True)
    while told:
        first = told[0]
        same = [event for event in told if event[1:4] == first[1:4] and first.at - event.at <= SAME_EVENT]
        yield FleetEvent(min(same), len(same))
        told = [event for event in told if event not in same]
