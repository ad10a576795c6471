"""When requests come, and which process gets them."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from random import Random
from typing import NamedTuple


class Arrival(NamedTuple):
    """`at` is server time in seconds; `process` and `tenant` are numbers."""

    at: float
    process: int
    tenant: int = 0


def spread(rates: Sequence[float], processes: int, start: float, end: float, random: Random) -> Iterator[Arrival]:
    """Poisson requests of many tenants, `rates` of them a second, each to a process at random."""
    sums = list(accumulate(rates))
    total = sums[-1]
    now = start + random.expovariate(total)
    while now < end:
        yield Arrival(now, int(random.random() * processes), bisect(sums, random.random() * total))
        now += random.expovariate(total)


def zipf(tenants: int, rate: float) -> list[float]:
    """The rates of tenants that make `rate` requests a second together: that of rank r is in proportion to 1/r."""
    total = sum(1 / rank for rank in range(1, tenants + 1))
    return [rate / total / rank for rank in range(1, tenants + 1)]


# One tenant.


def even(rate: float, processes: int, start: float, end: float, random: Random) -> Iterator[Arrival]:
    """Poisson requests, each to a process at random."""
    return spread([rate], processes, start, end, random)


def jumping(rate: float, processes: int, start: float, end: float, random: Random) -> Iterator[Arrival]:
    """Poisson requests, all to one process, and every 3 to 5 seconds all to another one at random."""
    return _moving(
        rate, start, end, random, lambda process: process + 1 + int(random.random() * (processes - 1)), processes
    )


def turning(rate: float, processes: int, start: float, end: float, random: Random) -> Iterator[Arrival]:
    """As `jumping`, but the processes take turns."""
    return _moving(rate, start, end, random, lambda process: process + 1, processes)


def _moving(
    rate: float, start: float, end: float, random: Random, after: Callable[[int], int], processes: int
) -> Iterator[Arrival]:
    process, until = 0, start
    now = start + random.expovariate(rate)
    while now < end:
        while now >= until:
            process = after(process) % processes
            until += random.uniform(3, 5)
        yield Arrival(now, process)
        now += random.expovariate(rate)


def swinging(rate: float, processes: int, start: float, end: float, random: Random) -> Iterator[Arrival]:
    """Five minutes of a quarter of the demand, evenly spread; then five of the whole, jumping; and again."""
    while start < end:
        yield from even(rate / 4, processes, start, start + 300, random)
        yield from jumping(rate, processes, start + 300, start + 600, random)
        start += 600


Pattern = Callable[[float, int, float, float, Random], Iterator[Arrival]]
PATTERNS: dict[str, tuple[Pattern, int]] = {
    "even, 4 processes": (even, 4),
    "one process": (even, 1),
    "jumping, 4 processes": (jumping, 4),
    "taking turns, 4": (turning, 4),
    "even, then jumping, 4": (swinging, 4),
}
