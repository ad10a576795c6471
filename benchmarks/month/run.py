"""Runs one fleet through its days."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from benchmarks.month.bill import BAD_TENANT, FAILOVER, USUAL, WEIGHTS, Day, Month, month_of
from benchmarks.month.fleets import EPOCH, FLEETS, HOUR, PLANS, Course, Fleet, Stratum, plan_of
from benchmarks.month.life import Life

NIGHT = 2 * HOUR
"""Before the day that is counted: the fleet starts, and fills its memory."""

DEPLOYED_AT, BETWEEN_STOPS = 10.5 * HOUR, 30.0
LOST_AT, LOST_FOR = 14.25 * HOUR + 20, 300.0

BAD_ONE, BAD_ONES_PLAN, TIMES_ITS_LIMIT = -1, PLANS[0], 10
"""The least of the busiest tenants, on the least plan."""

PROCESSES = (2, 4, 8, 16)


@dataclass(frozen=True)
class Results:
    """`days` by kind; `by_processes`: a usual day of fleets that have so many processes, else the same."""

    fleet: Fleet
    days: Mapping[str, Day]
    by_processes: Mapping[int, Day]
    hours: float
    warm_up: bool

    @property
    def month(self) -> Month:
        return month_of(self.days)


def simulate(
    name: str,
    *,
    kinds: Sequence[str] = tuple(WEIGHTS),
    hours: float = 24.0,
    processes: Sequence[int] = PROCESSES,
    warm_up: bool,
    one_plan: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Results:
    """`hours`: how much of each day is simulated, from midnight. `one_plan`: all tenants have the least one."""
    fleet = FLEETS[name]

    def day_of(fleet: Fleet, kind: str) -> Day:
        day = _day(fleet, kind, hours, warm_up=warm_up, one_plan=one_plan)
        say(f"{fleet.name}, {fleet.processes} processes, {kind}: {day.per_request:.4f} commands a served request")
        return day

    days = {kind: day_of(fleet, kind) for kind in kinds}
    by_processes = {
        size: days[USUAL] if size == fleet.processes else day_of(fleet.with_processes(size), USUAL)
        for size in processes
    }
    return Results(fleet, days, by_processes, hours, warm_up)


def _day(fleet: Fleet, kind: str, hours: float, *, warm_up: bool, one_plan: bool) -> Day:
    total = Day()
    for number, stratum in enumerate(fleet.strata()):
        life = _life(fleet, stratum, f"{kind}/{number}", warm_up=warm_up, one_plan=one_plan)
        is_bad = kind == BAD_TENANT and number == 0
        if is_bad:
            life.limits[BAD_ONE] = BAD_ONES_PLAN
        life.run(EPOCH)
        life.deploy(EPOCH + DEPLOYED_AT, BETWEEN_STOPS)
        if kind == FAILOVER:
            life.lose_redis(EPOCH + LOST_AT, LOST_FOR, probes=number == 0)
        if is_bad:
            life.ask_for(BAD_ONE, TIMES_ITS_LIMIT * (BAD_ONES_PLAN.per_minute or 0) / 60)
        total.add(life.run(EPOCH + hours * HOUR), stratum.weight)
    return total


def _life(fleet: Fleet, stratum: Stratum, seed: str, *, warm_up: bool, one_plan: bool) -> Life:
    gc.collect()  # the one before
    rates = fleet.rates()
    limits = [PLANS[0] if one_plan else plan_of(rates[rank]) for rank in stratum.ranks]
    chosen = [rates[rank] for rank in stratum.ranks]
    random = Random(f"{fleet}/{seed}")
    return Life(chosen, limits, fleet.processes, EPOCH - NIGHT, random, Course(), warm_up=warm_up)
