"""What is wrong, in sentences: what an operator reads first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from tenantcache.stats import CounterStats, Stats
from tenantcache.web.dashboard.figures import clock, count, span
from tenantcache.web.dashboard.fleetview import FleetView

Level = Literal["good", "warn", "bad"]

MISSED_FOR = 600.0
"""Seconds for which a process that has gone silent is worth a notice."""

REDIS_STATES = {
    "failing": "Redis fails",
    "gone": "Redis does not answer",
    "refusing": "Redis refuses commands: its quota is used up",
    "suspended": "Redis is suspended by its provider",
}


class Notice(NamedTuple):
    level: Level
    title: str
    text: str


def notices_of(fleet: FleetView, stats: Stats, *, max_staleness: float, stale_if_error: float) -> Sequence[Notice]:
    """The most important first. `stats` are those of the process that shows the page."""
    found = [
        *_postgres(fleet, max_staleness, stale_if_error),
        *_counters(fleet, stats["limits"]["counters"]),
        *_refusals(fleet),
        *_processes(fleet),
        *_budget(fleet),
    ]
    found.sort(key=lambda notice: notice.level != "bad")
    return found or [_all_is_well(fleet, stats, max_staleness)]


def _all_is_well(fleet: FleetView, stats: Stats, max_staleness: float) -> Notice:
    counters = stats["limits"]["counters"]
    store = {"redis": "Redis", "postgres": "Postgres"}.get((counters and counters["store"]) or "", "the application")
    number = len(fleet.live)
    follow = "1 process follows" if number == 1 else f"{count(number)} processes follow"
    text = (
        f"{follow} the log of changes, limits are counted in {store}, and no answer is older than {max_staleness:g} s."
    )
    return Notice("good", "All is well", text)


def _postgres(fleet: FleetView, max_staleness: float, stale_if_error: float) -> Iterator[Notice]:
    if fleet.is_schema_old:
        text = "Run `tenantcache init`. Until then this page shows one process alone. Nothing else depends on it."
        yield Notice("warn", "The database lacks the tables of this page", text)
    elif fleet.fault is not None:
        since = fleet.outage_since or fleet.now
        left = since + max_staleness + stale_if_error - fleet.now
        served = f"for {span(left)} more" if left > 0 else "no longer"
        text = (
            f"Since {clock(since)}, {span(fleet.now - since)} ago. Tenants that a process knows are served {served}, as"
            " they were then. Other hosts get 503. What is below about other processes is from before."
        )
        yield Notice("bad", "Postgres does not answer", text)
    elif fleet.own.fault is not None:
        yield Notice("bad", "The log of changes cannot be relied on", fleet.own.fault)


def _counters(fleet: FleetView, counters: CounterStats | None) -> Iterator[Notice]:
    if counters is None or counters["redis"] == "none":
        return
    title = REDIS_STATES.get(counters["redis"])
    changes_at, changes_to = counters["changes_at"], counters["changes_to"]
    is_away = fleet.fault is not None and not fleet.is_schema_old
    if counters["isolated"] or (is_away and counters["store"] == "postgres"):
        text = (
            "Which one does is agreed upon in Postgres. Until that answers, each process admits what it has reserved,"
            " and then goes by TENANTCACHE_ON_LIMITER_ERROR."
        )
        yield Notice("bad", "No store counts limits", text)
    elif changes_at is not None and changes_to == "postgres":
        text = (
            f"From {clock(changes_at)} on limits are counted in Postgres. Until then each process admits what it has"
            " reserved, so no limit is exceeded. Lookups go on."
        )
        yield Notice("bad", title or "Limits move to Postgres", text)
    elif changes_at is not None:
        yield Notice("warn", "Redis is back", f"From {clock(changes_at)} on limits are counted in Redis again.")
    elif counters["store"] == "postgres":
        text = (
            f"Limits are counted in Postgres since {clock(counters['since'])}, and none is exceeded. They go back to"
            " Redis when it has answered every process for a minute or more. Lookups go on."
        )
        yield Notice("bad" if title else "warn", title or "Limits are counted in Postgres", text)
    elif title is not None:
        yield Notice("warn", title, "If that goes on, limits are counted in Postgres from the next minute on.")


def _refusals(fleet: FleetView) -> Iterator[Notice]:
    failing = fleet.per_second("unavailable")
    if failing:
        text = f"{failing * 60:,.0f} in the last minute: no store could say whether they are within their limits."
        yield Notice("bad", "Requests are refused with 503", text)
    over = fleet.per_second("over_budget")
    if over:
        text = f"{over * 60:,.0f} lookups in the last minute were refused to spare Postgres."
        yield Notice("warn", "A flood of unknown hosts", text)


def _processes(fleet: FleetView) -> Iterator[Notice]:
    if fleet.fault is not None:
        return
    lost = [process for process in fleet.live if not process.is_following or not process.is_valid]
    if lost:
        names = ", ".join(process.name for process in lost[:3])
        text = f"{names}: tenants are read from Postgres at each request until it follows the log again."
        yield Notice("bad", f"{_processes_in_words(len(lost))} not known to be fresh", text)
    missed = [process for process in fleet.silent if process.age(fleet.now) < MISSED_FOR]
    if missed:
        names = ", ".join(f"{process.name} (since {clock(process.at)})" for process in missed[:3])
        text = f"{names}. It was killed, or cannot reach Postgres."
        yield Notice("warn", f"{_processes_in_words(len(missed))} silent", text)


def _processes_in_words(number: int) -> str:
    return "1 process is" if number == 1 else f"{number:,} processes are"


def _budget(fleet: FleetView) -> Iterator[Notice]:
    budget = fleet.budget
    told = {
        "thrift": "Processes reserve more at once, and keep copies longer.",
        "no copies": "Tenants are no longer read from Redis. Limits still are.",
        "no Redis": "Redis is not used. Limits are counted in Postgres.",
    }.get(budget.band)
    if told is not None:
        used = "" if budget.share is None else f"{budget.share:.0%} of the budget is used. "
        yield Notice("warn", f"The Redis budget is in the band “{budget.band}”", used + told)
