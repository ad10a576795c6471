"""Runs the fleets through their days."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from random import Random
from typing import NamedTuple

from benchmarks.month.bill import BAD_TENANT, USUAL, Day, Month, month_of
from benchmarks.month.fleets import EPOCH, FLEETS, HOUR, PLANS, Course, Fleet, Stratum, plan_of
from benchmarks.month.life import Life
from benchmarks.month.spans import LEAD, SPANS, Span

DEPLOYED_AFTER, BETWEEN_STOPS = HOUR / 2 + 10, 30.0
"""Seconds. None stops in the first second of a minute: what is reserved in advance would not go back then."""

LOST_AFTER, LOST_FOR = HOUR / 4 + 20, 300.0
"""Seconds from the start of the span."""

BAD_ONE, BAD_ONES_PLAN, TIMES_ITS_LIMIT = -1, PLANS[0], 10
"""The least busy tenant of the first stratum, on the least plan."""

PROCESSES = (2, 4, 8, 16)

SHORTLY = 0.1
"""What of each span is simulated to see that it runs."""


@dataclass(frozen=True)
class Options:
    """`one_plan`: every tenant has the least one. `processes`: sizes to compare on a usual day. `part`: how much of
    each span is simulated."""

    warm_up: bool
    one_plan: bool = False
    processes: tuple[int, ...] = PROCESSES
    part: float = 1.0
    compares: tuple[str, ...] = ("startup",)


@dataclass(frozen=True)
class Results:
    """`days` by kind; `by_processes`: a usual day of fleets that have so many processes, else the same."""

    fleet: Fleet
    days: Mapping[str, Day]
    by_processes: Mapping[int, Day]
    options: Options

    @property
    def month(self) -> Month:
        return month_of(self.days)


class Job(NamedTuple):
    """What is simulated in one go; its weight is left to whoever adds it up."""

    fleet: Fleet
    stratum: Stratum
    is_first: bool
    span: Span
    options: Options


def simulate(
    names: Sequence[str],
    options: Options,
    *,
    workers: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> list[Results]:
    """Months of the fleets that are named, in as many processes as there are cores unless `workers` says how many."""
    days = {(FLEETS[name], kind): jobs_of(FLEETS[name], kind, options) for name in names for kind in SPANS}
    for name in names:
        for size in options.processes if name in options.compares else ():
            fleet = FLEETS[name].with_processes(size)
            days.setdefault((fleet, USUAL), jobs_of(fleet, USUAL, options))
    done = _run({job: None for jobs in days.values() for job, _ in jobs}, workers, say)
    results = {key: _sum((done[job], weight) for job, weight in jobs) for key, jobs in days.items()}
    return [_results(FLEETS[name], results, options) for name in names]


def _results(fleet: Fleet, days: Mapping[tuple[Fleet, str], Day], options: Options) -> Results:
    sizes = [size for size in options.processes if fleet.name in options.compares]
    by_processes = {size: days[fleet.with_processes(size), USUAL] for size in sizes}
    return Results(fleet, {kind: days[fleet, kind] for kind in SPANS}, by_processes, options)


def jobs_of(fleet: Fleet, kind: str, options: Options) -> list[tuple[Job, int]]:
    """What a day consists of, and how often each of it counts."""
    return [
        (Job(fleet, replace(stratum, weight=1), number == 0, span.times(1), options), stratum.weight * span.weight)
        for number, stratum in enumerate(fleet.strata())
        for span in SPANS[USUAL if kind == BAD_TENANT and number else kind]  # it is in the first one
    ]


def _run(jobs: Iterable[Job], workers: int | None, say: Callable[[str], None]) -> dict[Job, Day]:
    longest_first = sorted(jobs, key=lambda job: -job.fleet.processes * job.fleet.rate)
    if workers == 1:
        return _collect(longest_first, map(run_job, longest_first), say)
    with ProcessPoolExecutor(workers) as pool:
        return _collect(longest_first, pool.map(run_job, longest_first), say)


def _collect(jobs: Sequence[Job], days: Iterable[Day], say: Callable[[str], None]) -> dict[Job, Day]:
    done: dict[Job, Day] = {}
    for job, day in zip(jobs, days, strict=True):
        done[job] = day
        say(
            f"{len(done)}/{len(jobs)}: {job.fleet.name}, {job.fleet.processes} processes, {job.span.start}:00: "
            f"{day.bill.total} commands, {day.per_request:.4f} a served request"
        )
    return done


def _sum(days: Iterable[tuple[Day, int]]) -> Day:
    total = Day()
    for day, weight in days:
        total.add(day, weight)
    return total


def run_job(job: Job) -> Day:
    gc.disable()  # reservations are many, and it would look at them again and again
    try:
        return _live(job)
    finally:
        gc.enable()
        gc.collect()


def _live(job: Job) -> Day:
    life = life_of(job)
    span, start = job.span, EPOCH + job.span.start * HOUR
    if span.has_bad_tenant and job.is_first:
        life.ask_for(BAD_ONE, TIMES_ITS_LIMIT * (BAD_ONES_PLAN.per_minute or 0) / 60)
    life.run(start)
    if span.deploys:
        life.deploy(start + DEPLOYED_AFTER * job.options.part, BETWEEN_STOPS)
    if span.loses_redis:
        life.lose_redis(start + LOST_AFTER * job.options.part, LOST_FOR, probes=job.is_first)
    day = life.run(start + span.hours * HOUR * job.options.part)
    life.close()
    return day


def life_of(job: Job) -> Life:
    rates = job.fleet.rates()
    limits = [PLANS[0] if job.options.one_plan else plan_of(rates[rank]) for rank in job.stratum.ranks]
    if job.span.has_bad_tenant and job.is_first:
        limits[BAD_ONE] = BAD_ONES_PLAN
    chosen = [rates[rank] for rank in job.stratum.ranks]
    random = Random(f"{job.fleet}/{job.is_first}/{job.span}")
    start = EPOCH + job.span.start * HOUR - LEAD * job.options.part
    return Life(chosen, limits, job.fleet.processes, start, random, Course(), warm_up=job.options.warm_up)
