"""What the limits cost and how much of them can be used, in virtual time.

The reservations are the real ones; the counters are a dict that bills as `RedisCounters` is billed: one command for
each date that a take touches, and one EXPIRE for each new key. Replies come at once. Tenants do not influence each
other, so each is simulated by itself. Every run is a pure function of its options.

    python benchmarks/simulate_limits.py busy zipf use
    python benchmarks/simulate_limits.py zipf --start-minute 20 --hours 2 --seed 7
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from tenantcache.ratelimit.core.ledger import Take
from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.ratelimit.core.windows import DAY, MINUTE, MINUTES_PER_DAY, Debit, Window
from tenantcache.tenant import Limits

HOUR = 3600
EPOCH = 20_000 * DAY
"""A midnight; the simulations begin some minutes after it."""

Arrival = tuple[float, int]
"""Server time in seconds, and the number of the process that gets the request."""


@dataclass
class Counters:
    """Counters that bill. `commands` is by the hour of the simulation, `takes` likewise."""

    start: float
    values: Counter[Window] = field(default_factory=Counter)
    keys: set[int] = field(default_factory=set)
    commands: Counter[int] = field(default_factory=Counter)

    def debit(self, debits: Sequence[Debit], now: float) -> list[int]:
        touched = {_date(window) for window, _ in debits}
        self.commands[int((now - self.start) // HOUR)] += len(touched) + len(touched - self.keys)
        self.keys |= touched
        replies = []
        for window, amount in debits:
            value = max(0, self.values[window] + amount)
            self.values[window] = value
            replies.append(value)
        return replies


def _date(window: Window) -> int:
    return window.number if window.policy == "day" else window.number // MINUTES_PER_DAY


@dataclass
class Outcome:
    """What happened to one tenant: requests by the hour, and demand and admissions by the minute."""

    counters: Counters
    requests: Counter[int] = field(default_factory=Counter)
    demand: Counter[int] = field(default_factory=Counter)
    admitted: Counter[int] = field(default_factory=Counter)
    waits: int = 0


class Fleet:
    """The processes that serve one tenant."""

    def __init__(self, limits: Limits, processes: int, start: float, *, slides: bool) -> None:
        self.limits, self.size, self.slides = limits, processes, slides
        self.reservations: list[Reservation | None] = [None] * processes
        self.outcome = Outcome(Counters(start))
        self.watched: set[int] = set()
        self.next_sweep = start

    def _send(self, reservation: Reservation, take: Take | None, now: float) -> None:
        while take is not None:
            take = reservation.settle(take, self.outcome.counters.debit(take.debits, now), now)

    def _take(self, process: int, reservation: Reservation, now: float, cost: int) -> None:
        self._send(reservation, reservation.plan(now, cost, self.size), now)
        if reservation.watched:
            self.watched.add(process)

    def sweep(self, now: float) -> None:
        """Do what a shell does once a second."""
        while self.watched and self.next_sweep <= now:
            for process in sorted(self.watched):
                reservation = self.reservations[process]
                if reservation is not None:
                    self._send(reservation, reservation.surplus(self.next_sweep), self.next_sweep)
                if reservation is None or not reservation.watched:
                    self.watched.discard(process)
            self.next_sweep += 1.0
        if self.next_sweep <= now:
            self.next_sweep = float(int(now) + 1)

    def ask(self, process: int, now: float) -> bool:
        """Admit or refuse one request, as a shell does off its hot path."""
        reservation = self.reservations[process]
        if reservation is None:
            reservation = self.reservations[process] = Reservation(self.limits, now, slides=self.slides)
        decision = reservation.decide(now, 1)
        if decision is None:
            self.outcome.waits += 1
            self._take(process, reservation, now, 1)
            decision = reservation.decide(now, 1)
        if reservation.refill:
            self._take(process, reservation, now, 0)
        return decision is not None and decision.allowed


def simulate(
    limits: Limits,
    arrivals: Iterator[Arrival],
    processes: int,
    start: float,
    *,
    slides: bool = False,
) -> Outcome:
    """Run one tenant's requests, in order of time, through a fleet."""
    fleet = Fleet(limits, processes, start, slides=slides)
    outcome, reservations = fleet.outcome, fleet.reservations
    requests, demand, admitted = outcome.requests, outcome.demand, outcome.admitted
    for now, process in arrivals:
        if fleet.next_sweep <= now:
            fleet.sweep(now)
        requests[int((now - start) // HOUR)] += 1
        minute = int(now // MINUTE)
        demand[minute] += 1
        r = reservations[process]
        if r is not None and r.hot_until <= now < r.until:
            r.lend(r.until)
        if r is not None and now < r.hot_until and r.left >= 1:
            r.left -= 1
            admitted[minute] += 1
        elif fleet.ask(process, now):
            admitted[minute] += 1
    return outcome


def even(rate: float, processes: int, start: float, end: float, random: Random) -> Iterator[Arrival]:
    """Poisson requests, each to a process at random."""
    now = start + random.expovariate(rate)
    while now < end:
        yield now, int(random.random() * processes)
        now += random.expovariate(rate)


def jumping(rate: float, processes: int, start: float, end: float, random: Random) -> Iterator[Arrival]:
    """Poisson requests, all to one process, and every 3 to 5 seconds all to another one at random."""
    process, until = 0, start
    now = start + random.expovariate(rate)
    while now < end:
        while now >= until:
            process = (process + 1 + int(random.random() * (processes - 1))) % processes
            until += random.uniform(3, 5)
        yield now, process
        now += random.expovariate(rate)


def turning(rate: float, processes: int, start: float, end: float, random: Random) -> Iterator[Arrival]:
    """As `jumping`, but the processes take turns."""
    process, until = 0, start
    now = start + random.expovariate(rate)
    while now < end:
        while now >= until:
            process = (process + 1) % processes
            until += random.uniform(3, 5)
        yield now, process
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


def over_admitted(outcome: Outcome, limit: int) -> int:
    return sum(max(0, count - limit) for count in outcome.admitted.values())


def run_load(name: str, tenants: Sequence[tuple[Limits, float]], options: argparse.Namespace) -> None:
    """Print billed commands per request, by the hour, for tenants with their rates (requests a second)."""
    start = EPOCH + options.start_minute * MINUTE
    end = start + options.hours * HOUR
    commands: Counter[int] = Counter()
    requests: Counter[int] = Counter()
    over = waits = 0
    began = time.perf_counter()
    for rank, (limits, rate) in enumerate(tenants):
        random = Random(f"{options.seed}/{name}/{rank}")
        arrivals = even(rate, options.processes, start, end, random)
        outcome = simulate(limits, arrivals, options.processes, start, slides=options.sliding)
        commands += outcome.counters.commands
        requests += outcome.requests
        waits += outcome.waits
        over += over_admitted(outcome, limits.per_minute or 1 << 62)
    took = time.perf_counter() - began
    for hour in sorted(requests):
        ratio = commands[hour] / requests[hour]
        print(
            f"{name:38} hour {hour + 1}: {requests[hour]:9,} requests {commands[hour]:8,} commands {ratio:.4f}/request"
        )
    total = sum(requests.values())
    print(f"{'':38} waited for a take {waits / total:.4f}, over-admitted {over}, {took:.0f} s")


def busy(options: argparse.Namespace) -> None:
    """100 tenants of 10 requests/s, ten of them at twice their limit."""
    for limit in (1200, 900):
        tenants = [(Limits(300, 100_000_000), 10.0)] * 10 + [(Limits(limit, 100_000_000), 10.0)] * 90
        run_load(f"busy, limits 300 and {limit}", tenants, options)


def zipf(options: argparse.Namespace) -> None:
    """10,000 tenants, 1,000 requests/s in all, the rate of rank r in proportion to 1/r."""
    total = sum(1 / rank for rank in range(1, 10_001))
    rates = [1000 / total / rank for rank in range(1, 10_001)]
    for name, limits in (
        ("zipf, limits 600 and 100,000", Limits(600, 100_000)),
        ("zipf, limits 60,000 and 100,000,000", Limits(60_000, 100_000_000)),
    ):
        run_load(name, [(limits, rate) for rate in rates], options)


def use(options: argparse.Namespace) -> None:
    """How much of a limit is admitted, on a demand of twice the limit and of just the limit."""
    start = EPOCH + options.start_minute * MINUTE
    for factor in (2, 1):
        for pattern, (arrivals, processes) in PATTERNS.items():
            for limit in (7, 60, 600, 60_000):
                minutes = options.minutes if limit < 60_000 else max(10, options.minutes // 10)
                random = Random(f"{options.seed}/{pattern}/{limit}")
                end = start + minutes * MINUTE
                requests = arrivals(limit * factor / MINUTE, processes, start, end, random)
                outcome = simulate(Limits(limit, None), requests, processes, start, slides=options.sliding)
                _print_use(pattern, factor, limit, outcome)


def _print_use(pattern: str, factor: int, limit: int, outcome: Outcome) -> None:
    """Print the use of the windows whose demand reached the limit, as shares of what could be admitted."""
    shares = []
    for minute, demand in outcome.demand.items():
        if demand >= limit:
            shares.append(outcome.admitted[minute] / limit)
    commands = sum(outcome.counters.commands.values()) / max(1, len(outcome.demand))
    full = sum(share == 1 for share in shares) / max(1, len(shares))
    low = sum(share < 0.9 for share in shares)
    mean = sum(shares) / max(1, len(shares))
    print(
        f"{pattern:24} demand {factor} x {limit:6}: {len(shares):4} windows, mean {mean:.4f}, "
        f"least {min(shares, default=1):.4f}, full {full:.3f}, below 0.9: {low}, over {over_admitted(outcome, limit)}, "
        f"{commands:.1f} commands/minute"
    )


SCENARIOS = {"busy": busy, "zipf": zipf, "use": use}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", metavar="scenario", help=", ".join(SCENARIOS) + "; default: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hours", type=float, default=2, help="virtual hours of busy and zipf")
    parser.add_argument("--minutes", type=int, default=200, help="virtual minutes of use; a tenth of it for 60,000")
    parser.add_argument(
        "--start-minute", type=int, default=0, help="minutes after a full hour (and midnight) to start at"
    )
    parser.add_argument("--sliding", action="store_true", help="minutes slide")
    parser.add_argument("--processes", type=int, default=4, help="processes in busy and zipf")
    options = parser.parse_args()
    for name in options.scenarios or SCENARIOS:
        if name not in SCENARIOS:
            parser.error(f"unknown scenario {name!r}: choose from {', '.join(SCENARIOS)}")
        SCENARIOS[name](options)


if __name__ == "__main__":
    main()
