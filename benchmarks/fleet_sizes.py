"""What the same traffic costs on 2, 4, 8 and 16 processes, in virtual time; writes its table into docs/costs.md.

    python -m benchmarks.fleet_sizes
    python -m benchmarks.fleet_sizes --workers 1 --seed 7 --no-write

Zipf(1.0) tenants with the default limits, on the fleets of `simulate_limits`. The first tokens of a start, the rest of
its first minute, and what a process gives back at a stop are counted as well.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random

from benchmarks import pages
from benchmarks.simulate_limits.fleet import EPOCH, MINUTE, Fleet
from benchmarks.simulate_limits.patterns import spread, zipf
from benchmarks.simulate_limits.report import over_admitted
from tenantcache.budget.core.prices import PER_COMMAND
from tenantcache.tenant import Limits

PAGE = Path(__file__).parents[1] / "docs" / "costs.md"

SIZES = (2, 4, 8, 16)
FLEETS = ((2_000, 50.0, 40),)
"""Tenants, requests a second of all of them, and minutes that are simulated. The second half has the edge of a quarter
of an hour in it, when counters change."""

LIMITS = Limits(600, 100_000)
START_MINUTE = 7
"""After midnight."""

DAY, MONTH = 86_400, 30


@dataclass(frozen=True)
class Figures:
    """Commands: `start` by all processes in their first minute, `steady` a request in the second half, `stop` and
    `again` of one process that stops in order and starts again."""

    tenants: int
    rate: float
    size: int
    start: int
    steady: float
    stop: int
    again: int

    @property
    def a_day(self) -> float:
        """With a deployment: each process stops and starts once."""
        return self.steady * self.rate * DAY + self.size * (self.stop + self.again)

    @property
    def a_request(self) -> float:
        return self.a_day / (self.rate * DAY)

    @property
    def a_month(self) -> float:
        """Dollars, at the list price per command."""
        return PER_COMMAND.cost(MONTH * self.a_day)


async def measure(tenants: int, rate: float, size: int, minutes: int, seed: int) -> Figures:
    """Raises AssertionError if a limit was exceeded."""
    random, start = Random(f"{seed}/{tenants}/{size}"), EPOCH + START_MINUTE * MINUTE
    fleet = Fleet([LIMITS] * tenants, size, start)
    await fleet.place(random.sample(range(tenants), tenants))
    await fleet.warm()
    await fleet.serve(spread(zipf(tenants, rate), size, start, start + minutes * MINUTE, random))
    assert over_admitted(fleet) == 0
    half = range(minutes // 2, minutes)
    commands = sum(fleet.counters.commands[minute] for minute in half)
    steady = commands / sum(fleet.traffic.requests[minute] for minute in half)
    first_minute = fleet.counters.commands[0]
    stop, again = await fleet.restart(0)
    return Figures(tenants, rate, size, first_minute, steady, stop, again)


def table(rows: Sequence[Figures]) -> str:
    head = [
        *("tenants", "requests/s", "processes", "first minute, all processes", "steady, a request"),
        *("stop of a process", "its next start", "a day with a deployment, a request", "a month"),
    ]
    cells = [
        [
            *(f"{row.tenants:,}", f"{row.rate:,g}", f"{row.size}", f"{row.start}", f"{row.steady:.4f}"),
            *(f"{row.stop}", f"{row.again}", f"{row.a_request:.4f}", f"${row.a_month:,.2f}"),
        ]
        for row in rows
    ]
    return "\n".join(
        [
            "## What fleets pay",
            "",
            pages.table(head, cells, left=0),
            "",
            "Billed commands of the limits, `python -m benchmarks.fleet_sizes`, in virtual time. Tenants ask in "
            "proportion to 1/rank, any process gets any request, and each tenant has 600 requests a minute and 100,000 "
            "a day. Steady is the second half of 40 minutes. Prices are Upstash's of 2026-11-09, pay as "
            "you go. Lookups come on top: a command or two for each tenant that a process does not find in its memory.",
        ]
    )


def _measure(tenants: int, rate: float, minutes: int, size: int, seed: int) -> Figures:
    found = asyncio.run(measure(tenants, rate, size, minutes, seed))
    print(found, file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, help="of this machine's cores; all of them by default")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-write", action="store_true", help="leave the document as it is")
    options = parser.parse_args()
    jobs = [(*fleet, size, options.seed) for fleet in FLEETS for size in SIZES]
    with ProcessPoolExecutor(options.workers) as pool:
        text = table(list(pool.map(_measure, *zip(*jobs, strict=True))))
    print(text)
    if not options.no_write:
        pages.fill(PAGE, "fleets", text)


if __name__ == "__main__":
    main()
