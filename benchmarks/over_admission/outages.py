"""`python -m benchmarks.over_admission.outages`: how long tenants below their limits are refused when Redis dies.

Each try has a fleet of its own, of four workers that are all alive, and kills Redis at a random second of a minute. The
tenants are asked for evenly and stay below their limits, so each refusal is a wrong one; others are asked for more than
their limits, which must hold. Fifty tries take a quarter of an hour.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from dataclasses import dataclass
from math import ceil

from benchmarks.over_admission.fleet import Fleet
from benchmarks.over_admission.plan import TenantLoad
from benchmarks.over_admission.scenes import WORKERS

BELOW = (
    TenantLoad("below-sixty", 60, pause=12.0),
    TenantLoad("below-six-hundred", 600, pause=1.0),
    TenantLoad("below-six-thousand", 6_000, pause=0.2, per_day=1_000_000),
)
LATE = tuple(TenantLoad(f"late-{number}", 6_000, pause=1.6, after=3.0 + number * 0.3) for number in range(24))
"""Asked for one after the other while Redis dies: these hold no tokens when it does."""
AT_LIMIT = (TenantLoad("sixty", 60, pause=0.5), TenantLoad("six-hundred", 600, pause=0.05))
BEFORE, AFTER = 4.0, 8.0
"""Seconds of load before Redis is killed, and after it."""
MANY_BEFORE = 20.0
"""The same before it, with many tenants: so long that a quarter of them were asked for in each process."""


@dataclass(frozen=True)
class Try:
    """`second` of its minute; `last` is how many seconds after the kill the last wrong refusal came, `refused` how many
    there were of `asked`; `over` is the most that was admitted above a limit."""

    second: float
    last: float
    refused: int
    asked: int
    over: int


def one_try(many: int = 0) -> Try:
    below_limits = BELOW + LATE
    if many:
        below_limits += (TenantLoad("many", 60, pause=0.04, per_day=1_000_000, count=many),)
    with Fleet(WORKERS, below_limits + AT_LIMIT) as fleet:
        start = time.time()
        wait = (MANY_BEFORE if many else BEFORE) + random.uniform(0, 3)
        generators = fleet.start_load(start + wait + AFTER)
        time.sleep(wait)
        killed = time.time()
        fleet.redis.stop(signal.SIGKILL)
        counts = fleet.collect(generators)
    below = [counts[tenant.name] for tenant in below_limits]
    ends = [tenth / 10 + 0.1 for one in below for tenth in one.refused if tenth / 10 + 0.1 >= killed]
    return Try(
        second=killed % 60,
        last=max(ends, default=killed) - killed,
        refused=sum(one.refused_between(killed - 0.1, killed + AFTER) for one in below),
        asked=sum(sum(one.offered.values()) for one in below),
        over=max(counts[one.name].over(one.limit, counts[one.name].admitted) for one in BELOW + AT_LIMIT),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=50)
    parser.add_argument("--many", type=int, default=0, help="so many tenants more, asked for one after the other")
    options = parser.parse_args()
    tries = []
    for number in range(options.tries):
        tries.append(one_try(options.many))
        print(number, tries[-1], file=sys.stderr, flush=True)
    times = sorted(one.last for one in tries)
    p50, p99 = (times[ceil(len(times) * share) - 1] for share in (0.5, 0.99))
    print(f"{len(tries)} tries; s to the last wrong refusal: {p50:.1f} (p50), {p99:.1f} (p99), {times[-1]:.1f} at most")
    print(f"over-admitted: {max(one.over for one in tries)}")
    return int(p99 > 3.0 or any(one.over for one in tries))


if __name__ == "__main__":
    raise SystemExit(main())
