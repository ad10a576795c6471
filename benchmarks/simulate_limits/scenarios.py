"""What is simulated."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import NamedTuple

from benchmarks.simulate_limits import report
from benchmarks.simulate_limits.fleet import EPOCH, MINUTE, Fleet
from benchmarks.simulate_limits.patterns import PATTERNS, spread, zipf
from tenantcache.tenant import Limits


class Load(NamedTuple):
    """Zipf(1.0) tenants that make `rate` requests a second together."""

    tenants: int
    rate: float
    processes: int
    hours: float


LOADS: dict[str, Load] = {
    "hobby": Load(100, 1.0, 2, 1.0),
    "startup": Load(2_000, 50.0, 8, 1.0),
    "published": Load(10_000, 1_000.0, 4, 0.7),
    "scale": Load(10_000, 1_000.0, 16, 1 / 3),
}

ZIPF = Load(10_000, 1_000.0, 4, 1.0)
BUSY = Load(100, 1_000.0, 4, 1.0)


async def _run(
    name: str, limits: Sequence[Limits], rates: Sequence[float], load: Load, options: argparse.Namespace
) -> None:
    began = time.perf_counter()
    random = Random(f"{options.seed}/{name}")
    start = EPOCH + options.start_minute * MINUTE
    fleet = Fleet(limits, load.processes, start, slides=options.sliding)
    await fleet.place(random.sample(range(load.tenants), load.tenants))
    if not options.cold:
        await fleet.warm()
    at_start = fleet.counters.commands.total()
    await fleet.serve(spread(rates, load.processes, start, start + load.hours * 3600, random))
    commands = fleet.counters.commands - Counter({0: at_start})
    restart = await fleet.restart(0)
    for line in report.of_load(name, fleet, restart, commands, time.perf_counter() - began):
        print(line, flush=True)


def _chosen(load: Load, options: argparse.Namespace) -> Load:
    """`load`, but for what the options say."""
    told = {field: value for field in Load._fields if (value := getattr(options, field)) is not None}
    return load._replace(**told)


async def busy(options: argparse.Namespace) -> None:
    """100 tenants that share 1,000 requests a second evenly, ten of them at twice their limit."""
    load = _chosen(BUSY, options)
    for limit in (1200, 900):
        limits = [Limits(300 if number < load.tenants // 10 else limit, 100_000_000) for number in range(load.tenants)]
        rates = [load.rate / load.tenants] * load.tenants
        await _run(f"busy, limits 300 and {limit}", limits, rates, load, options)


def _of(name: str, load: Load) -> Scenario:
    async def run(options: argparse.Namespace) -> None:
        chosen = _chosen(load, options)
        limits = [Limits(options.per_minute, options.per_day)] * chosen.tenants
        told = f"{name}: {chosen.tenants:,}, {chosen.rate:g}/s, {chosen.processes}"
        await _run(told, limits, zipf(chosen.tenants, chosen.rate), chosen, options)

    return run


async def use(options: argparse.Namespace) -> None:
    """How much of a limit one tenant can use, on a demand of twice the limit and of just the limit."""
    start = EPOCH + options.start_minute * MINUTE
    for factor in (2, 1):
        for pattern, (arrivals, processes) in PATTERNS.items():
            for limit in (7, 60, 600, 60_000):
                minutes = options.minutes if limit < 60_000 else max(10, options.minutes // 10)
                random = Random(f"{options.seed}/{pattern}/{limit}")
                fleet = Fleet([Limits(limit, None)], processes, start, slides=options.sliding)
                if not options.cold:
                    await fleet.warm()
                end = start + minutes * MINUTE
                await fleet.serve(arrivals(limit * factor / MINUTE, processes, start, end, random))
                print(report.of_use(pattern, factor, fleet), flush=True)


Scenario = Callable[[argparse.Namespace], Awaitable[None]]
SCENARIOS: dict[str, Scenario] = {
    "busy": busy,
    "zipf": _of("zipf", ZIPF),
    **{name: _of(name, load) for name, load in LOADS.items()},
    "use": use,
}
DEFAULT = ("busy", *LOADS, "use")
