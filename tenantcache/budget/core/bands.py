"""The bands of a budget: how a fleet spares Redis as the budget is used up, and what takes it from band to band.

The theory
----------
The band stands in the row that the fleet agrees on (`tenantcache.counter_store`), and every pull of the log carries it.
All processes obey the row, those without a budget too. A process with a budget moves it: it knows what the fleet has
used (`Use`) and compares that with the edges. No promise rests on the figures. The bands before the last one change
what each process saves by itself, so it does not matter when each one hears of them. The last one is a planned
counter-store failover, and the rules of `ratelimit/core/failover.py` hold for it.

**Redis is never past 100 %** if the last band begins early enough. Let r be what the fleet sends a second. When a
process finds the edge passed, the others have sent for REPORT_AGE seconds what they have not reported. Then Redis is
billed until the fleet has left it, LEAVING seconds at most. The rate may grow meanwhile, by the factor SURGE. A process
that starts or stops in these minutes takes or returns tokens, PER_PROCESS commands. So the edge of the last band lies
below the budget by

    margin = SURGE * r * (REPORT_AGE + LEAVING) + PER_PROCESS * processes

or at 98 %, if that is less. Rule 2 keeps a fleet in the band before for DWELL seconds, so that one begins earlier by
SURGE * r * DWELL, or at 90 %. What remains: a rate that more than doubles within these minutes. Nothing but refusing
requests would help there.

Rules
-----
1. A change goes one band up, one band down, or back to NORMAL at the period's edge. It is made against the version of
   the row that the process knows. So of several processes that see the same, one makes it.
2. NO_REDIS follows NO_COPIES alone, DWELL seconds after that began. A process that has lost the log goes on in Redis
   while Redis answers it (rule 6 of `failover.py`), because an outage of Redis would reach it too. A planned move would
   not. So no process does that for longer than DWELL seconds after its last pull, and none once it knows of NO_COPIES.
   Those that the fleet cannot reach have left Redis by themselves when the move is announced.
3. A band is left downwards only if no process wants it. A process wants the band if it finds more used than HYSTERESIS
   below the edge. It says so every WANTED_INTERVAL seconds, and QUIET seconds must pass after that. So two totals, or
   two budgets during a deployment, do not take turns. What a process read long ago does not take it down either: it may
   have been stopped since (`is_current`).
4. The edge at which the band began stays its edge, for that budget and period. Otherwise a fleet that has left Redis
   would send nothing, need no margin, and return.
5. A new period begins with NORMAL, LATE seconds after its edge: the provider's clock may be late, and what is sent then
   would be billed to the period that is used up. Processes of other settings have periods that begin at other times. A
   band that was chosen after that second, or in a later period, is of such a process. It is weighed as one of another
   budget is.
6. If no process has wanted a band for LAPSE seconds, a process without a budget takes it back: there is none any more.
   It must have followed the log for as long. After an outage, those with a budget speak first.

Times are server time, in seconds since the Unix epoch. Use is in billed commands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import NamedTuple

from tenantcache.stats import BandName

REPORT_AGE = 60.0
"""Seconds from one report of a process to the next one, at most."""

LEAVING = 140.0
"""Seconds from the finding that Redis must be left to the last command there. A change of the counter store that is
under way ends first, at an edge 65 s away at most; the own one takes as long; a tick and a pull come before each."""

SURGE = 2.0
"""Factor by which the rate may grow while Redis is being left."""

PER_PROCESS = 20
"""Billed commands of a process that stops, and of the one in its place: docs/costs.md has them by fleet."""

LEAST_UNREPORTED = 10
"""Billed commands that a process may send before it reports them, however close an edge is."""

HYSTERESIS = 0.02
"""Share of the budget by which use must lie below an edge for the band to be left downwards."""

DWELL = 300.0
"""Seconds in NO_COPIES before NO_REDIS (rule 2). `schema.sql` has the same number. Known tenants are served for as long
without Postgres (TENANTCACHE_STALE_IF_ERROR), so by default nothing ends sooner because of it."""

WANTED_INTERVAL, QUIET = 10.0, 60.0
"""As REPORT_INTERVAL and QUIET of `failover.py`."""

LATE = 60.0

LAPSE = 300.0


class Band(Enum):
    """The value is how logs and the row name it."""

    _value_: BandName

    NORMAL = "normal"
    THRIFT = "thrift"
    """Larger reservations, longer TTLs, and no copy is written at a first miss."""
    NO_COPIES = "no copies"
    """The same, and lookups are answered by Postgres: copies are neither read nor written."""
    NO_REDIS = "no Redis"
    """The same, and Postgres counts the limits. What Redis is still sent is free: PING, and INFO at a start."""

    @property
    def is_thrifty(self) -> bool:
        """Whether commands are saved at the cost of memory and of what limits can be used."""
        return self is not Band.NORMAL

    @property
    def has_copies(self) -> bool:
        return self in (Band.NORMAL, Band.THRIFT)

    @property
    def may_count(self) -> bool:
        """Whether Redis may count limits, as far as the budget goes."""
        return self is not Band.NO_REDIS


class Cause(Enum):
    """What takes a fleet from one band to another. The value is how logs and diagrams name it."""

    RISES = "use has reached the next band's edge"
    FALLS = "use is below the band's edge again"
    NEW_PERIOD = "a new period has begun"
    LAPSED = "no process has a budget that asks for it any more"


CHANGES: Mapping[Band, Mapping[Cause, Band]] = {
    Band.NORMAL: {Cause.RISES: Band.THRIFT},
    Band.THRIFT: {
        Cause.RISES: Band.NO_COPIES,
        Cause.FALLS: Band.NORMAL,
        Cause.NEW_PERIOD: Band.NORMAL,
        Cause.LAPSED: Band.NORMAL,
    },
    Band.NO_COPIES: {
        Cause.RISES: Band.NO_REDIS,
        Cause.FALLS: Band.THRIFT,
        Cause.NEW_PERIOD: Band.NORMAL,
        Cause.LAPSED: Band.NORMAL,
    },
    Band.NO_REDIS: {Cause.FALLS: Band.NO_COPIES, Cause.NEW_PERIOD: Band.NORMAL, Cause.LAPSED: Band.NORMAL},
}
"""The band that each cause leads to (rule 1)."""

SHARES: Mapping[Band, float] = {Band.THRIFT: 0.70, Band.NO_COPIES: 0.90, Band.NO_REDIS: 0.98}
"""Share of the budget at which a band begins, unless the margin wants it to begin earlier."""


@dataclass(frozen=True, slots=True)
class BandChoice:
    """The fleet's band. Its fields are columns of the row, named `band`, `band_version` and so on.

    It was chosen in the `period` that began then, with `budget`, at the `edge`. `wanted_at` is when a process last said
    that it wants it. `told`: the version that the webhook was told of.
    """

    version: int = 0
    band: Band = Band.NORMAL
    period: float = -inf
    budget: int = 0
    edge: int = 0
    changed_at: float = 0.0
    wanted_at: float = -inf
    told: int = 0


FIRST_BAND = BandChoice()
"""Before any process has moved it."""


@dataclass(frozen=True, slots=True)
class Use:
    """What a process knows of the fleet's use in the `period` that began then.

    `used` is the sum of what all have reported, and of what this process has not. `rate` is in commands a second.
    `is_current`: what the others have reported was read within the last two reports.
    """

    period: float
    used: int
    budget: int
    rate: float
    processes: int
    is_current: bool = True

    @property
    def share(self) -> float:
        return self.used / self.budget


class BandProposal(NamedTuple):
    """A change to make against `version`: it is void if another one has been made meanwhile. The fields that follow
    are those of `BandChoice`."""

    version: int
    band: Band
    period: float
    budget: int
    edge: int
    cause: Cause


def edges_of(use: Use) -> dict[Band, int]:
    """The use at which each band begins; 0 at least."""
    budget, surge = use.budget, SURGE * use.rate
    margin = surge * (REPORT_AGE + LEAVING) + PER_PROCESS * use.processes
    last = min(SHARES[Band.NO_REDIS] * budget, budget - margin)
    before = min(SHARES[Band.NO_COPIES] * budget, last - surge * DWELL)
    first = min(SHARES[Band.THRIFT] * budget, before)
    edges = {Band.THRIFT: first, Band.NO_COPIES: before, Band.NO_REDIS: last}
    return {band: max(0, int(edge)) for band, edge in edges.items()}


def propose(row: BandChoice, use: Use | None, now: float) -> BandProposal | None:
    """The change to make now, if any. `use`: None if this process has no budget. One that has a budget, and does not
    know the fleet's use, has nothing to propose."""
    if use is None:
        has_lapsed = row.band is not Band.NORMAL and now >= max(row.wanted_at, row.changed_at) + LAPSE
        band = CHANGES[row.band].get(Cause.LAPSED, Band.NORMAL)
        return BandProposal(row.version, band, row.period, 0, 0, Cause.LAPSED) if has_lapsed else None
    cause = _cause(row, use, now)
    if cause is None:
        return None
    band = CHANGES[row.band][cause]
    edge = 0 if band is Band.NORMAL else _edge(row, use) if cause is Cause.FALLS else edges_of(use)[band]
    return BandProposal(row.version, band, use.period, use.budget, edge, cause)


def _cause(row: BandChoice, use: Use, now: float) -> Cause | None:
    if now < row.period <= now + LATE and row.band is not Band.NORMAL:
        return None  # the period that it is of has not begun here
    if _is_past(row, use) and row.band is not Band.NORMAL:
        return Cause.NEW_PERIOD if now >= use.period + LATE else None
    above = CHANGES[row.band].get(Cause.RISES)
    if above is not None and use.used >= edges_of(use)[above]:
        return Cause.RISES if above is not Band.NO_REDIS or now >= row.changed_at + DWELL else None
    if row.band is Band.NORMAL or not use.is_current or _wants(row, use):
        return None
    return Cause.FALLS if now >= max(row.wanted_at, row.changed_at) + QUIET else None


def _is_past(row: BandChoice, use: Use) -> bool:
    """Whether the row's band was chosen in an earlier period of this process's budget (rule 5)."""
    return use.budget == row.budget and row.period < use.period and row.changed_at < use.period + LATE


def has_to_want(row: BandChoice, use: Use | None, now: float) -> bool:
    """Whether to say now that this process wants the band (rule 3)."""
    if use is None or row.band is Band.NORMAL or now < row.wanted_at + WANTED_INTERVAL:
        return False
    return _wants(row, use)


def _wants(row: BandChoice, use: Use) -> bool:
    if _is_past(row, use):
        return True  # rule 5: until the new period begins here
    return use.used >= _edge(row, use) - HYSTERESIS * use.budget


def _edge(row: BandChoice, use: Use) -> int:
    """At which the row's band begins, for this process (rule 4)."""
    edge = edges_of(use)[row.band]
    return min(edge, row.edge) if (use.budget, use.period) == (row.budget, row.period) else edge


class BandInForce:
    """The band that this process acts by: that of the last pull. What spends Redis' commands reads it here."""

    __slots__ = ("band",)

    def __init__(self) -> None:
        self.band: Band = Band.NORMAL


def unreported_at_most(row: BandChoice, use: Use) -> int:
    """How many commands a process may send before it reports them: the fewer, the closer the next edge is.

    All processes together then pass it by at most half of what was left to it. At the edge itself each of them still
    sends LEAST_UNREPORTED, which is a share of the margin there.
    """
    above = CHANGES[row.band].get(Cause.RISES)
    left = use.budget - use.used if above is None else edges_of(use)[above] - use.used
    return max(LEAST_UNREPORTED, left // (2 * max(1, use.processes)))
