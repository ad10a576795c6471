"""A month of a fleet that would use three times its budget, in virtual time, with the library's own governor.

python -m benchmarks.governed_month                         the fleet "small", two minutes
python -m benchmarks.governed_month --fleet hobby --days 3 --daily        days, each with a budget

Each process has its own meter, its own view of what the others use, and its own governor. It reports once a minute, or
sooner if the governor says so. Processes are replaced once a day, one after the other. Memory is not warmed up, so
that there are lookups. A first run is not governed, and gives the budget: a third of what it sends.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from benchmarks import pages
from benchmarks.month.bill import Answer, Answers, Purpose
from benchmarks.month.counting import Taker
from benchmarks.month.fleets import EPOCH, FLEETS, HOUR, Course, Fleet, plan_of
from benchmarks.month.life import COPY_LIFE, Life
from tenantcache.budget.core.bands import Band, BandInForce
from tenantcache.budget.core.meter import Command, Meter
from tenantcache.budget.core.meter import Purpose as Kind
from tenantcache.budget.fleetuse import INTERVAL, FleetUse
from tenantcache.budget.governor import TICK, Governor
from tenantcache.lookup.core.copies import thrifty_life
from tenantcache.lookup.frugalcopies import FrugalCopies
from tenantcache.ratelimit.core.policy import DEFAULT_POLICY, THRIFTY_POLICY
from tenantcache.ratelimit.core.windows import DAY, CounterValue
from tenantcache.ratelimit.counterstore import AccountDebits
from tenantcache.testing.bands import MemoryBands
from tenantcache.testing.redisusage import MemoryRedisUsage

BILLING_DAY, DAYS = 4, 31
"""The month that begins with EPOCH."""

SMALL = Fleet("small", 20, 0.2, 2)
"""20 tenants with a request in five seconds, so that a whole month takes a minute."""

TIMES = 3
DEPLOYED_AT, BETWEEN_STOPS = 10 * HOUR, 30
AFTER = HOUR
"""Seconds after the period that are lived through as well: the fleet goes back to Redis."""


@dataclass(frozen=True)
class Terms:
    """`budget` None: nothing is governed. It is for the whole month, or for each day."""

    budget: int | None
    is_daily: bool = False


class Copies:
    """`CopyStore` that bills each command, and keeps what it is given as long as Redis would."""

    def __init__(self, life: GovernedLife, place: int) -> None:
        self._life, self._place = life, place

    async def get_many(self, aliases: Sequence[str]) -> list[bytes | None]:
        self._life.send(self._place, Purpose.LOOKUP)
        return [b"" if self._life.copies.get(alias, 0.0) > self._life.now else None for alias in aliases]

    async def put(self, alias: str, value: bytes) -> None:
        self._life.send(self._place, Purpose.FILL)
        life = thrifty_life(COPY_LIFE) if self._life.band.is_thrifty else COPY_LIFE
        self._life.copies[alias] = self._life.now + life * self._life.random.uniform(0.9, 1.0)

    async def drop(self, aliases: Sequence[str]) -> None:
        raise NotImplementedError


class Process:
    """What one process knows of the budget, and what it does about it."""

    def __init__(self, life: GovernedLife, place: int) -> None:
        self.meter, self.in_force = Meter(), BandInForce()
        self.copies = FrugalCopies(Copies(life, place), self.in_force)
        self.use = FleetUse(
            life.usage,
            self.meter,
            server_now=lambda: life.now,
            unit="day" if life.terms.is_daily else "month",
            first_day=BILLING_DAY,
            budget=life.terms.budget,
        )
        self.governor = Governor(
            life.bands,
            self.use,
            self.in_force,
            None,
            server_now=lambda: life.now,
            processes=lambda: life.size,
            ask_log=lambda: None,
            on_change=lambda band: life.use_policy(place, band),
        )
        self._life = life
        self._next_report = self._next_look = life.now + place  # not all at the same instant
        self._unreported = 0

    def send(self, commands: int) -> None:
        """So many were sent just now."""
        self.meter.send([Command(Kind.RESERVATION, ("BITFIELD",))] * commands)
        self._unreported += commands

    @property
    def is_due(self) -> bool:
        """Whether there is something to do in this second."""
        now, most = self._life.now, self.use.max_unreported
        must_report = now >= self._next_report or (most is not None and self._unreported >= most)
        return must_report or now >= self._next_look or self.governor.row is not self._life.bands.row

    async def act(self) -> None:
        """What is due after a pull of the log."""
        now, most = self._life.now, self.use.max_unreported
        self.governor.follow(self._life.bands.row)
        if now >= self._next_report or (most is not None and self._unreported >= most):
            self._next_report = now + INTERVAL
            await self.report()
        if now >= self._next_look:
            self._next_look = now + TICK
            await self.governor.look(self._life.bands)

    async def report(self) -> None:
        self._unreported = 0
        await self.use.report()


class GovernedTaker(Taker):
    """One that tells `send` what it was billed."""

    send: Callable[[int], None]

    async def debit(self, batch: Sequence[AccountDebits]) -> list[list[CounterValue]]:
        billed = self._counters.bill.total
        try:
            return await super().debit(batch)
        finally:
            self.send(self._counters.bill.total - billed)


@dataclass
class Stretch:
    """What happened while a band was in force, added up."""

    seconds: float = 0.0
    commands: int = 0
    lookups: int = 0
    unavailable: int = 0


class GovernedLife(Life):
    def __init__(self, fleet: Fleet, terms: Terms, random: Random, days: int, course: Course | None = None) -> None:
        self.terms, self.size, self.now = terms, fleet.processes, float(EPOCH)
        self.usage, self.bands = MemoryRedisUsage(), MemoryBands(lambda: self.now)
        self.copies: dict[str, float] = {}
        self.by_band: dict[Band, Stretch] = {band: Stretch() for band in Band}
        self.by_period: Counter[int] = Counter()
        self.failed_lookups = 0
        self.changes: list[tuple[float, Band]] = []
        self._processes: dict[int, Process] = {}
        self._days = days
        rates = fleet.rates()
        limits = [plan_of(rate) for rate in rates]
        super().__init__(rates, limits, fleet.processes, EPOCH, random, course or Course(), warm_up=False)

    @property
    def band(self) -> Band:
        return self.bands.row.band

    # Processes.

    def _make_taker(self, place: int) -> Taker:
        if place in self._processes:
            self._loop.run_until_complete(self._processes[place].report())  # an orderly stop
        process = self._processes[place] = Process(self, place)
        pieces = self._pieces[place]
        taker = GovernedTaker(
            *(self.counters, self.limits, self.size, lambda: self.now, self._loop),
            before=lambda tenant: self._enter(pieces[tenant], self.now),
            after=lambda tenant: self._changed.append(pieces[tenant]),
        )
        taker.send = lambda commands: self._note_sent(process, commands)
        taker.policy = THRIFTY_POLICY if self.band.is_thrifty else DEFAULT_POLICY
        process.governor.follow(self.bands.row)  # before anything is served
        return taker

    def use_policy(self, place: int, band: Band) -> None:
        if place < len(self._takers):
            self._takers[place].use_policy(THRIFTY_POLICY if band.is_thrifty else DEFAULT_POLICY)

    def send(self, place: int, purpose: Purpose) -> None:
        self.counters.bill.add(purpose)
        self._note_sent(self._processes[place], 1)

    def _note_sent(self, process: Process, commands: int) -> None:
        process.send(commands)
        self.by_band[self.band].commands += commands
        unit = DAY if self.terms.is_daily else self._days * DAY
        self.by_period[int((self.now - EPOCH) // unit)] += commands

    # Each second.

    def _look(self, now: float) -> None:
        band = self.band
        self.by_band[band].seconds += 1
        due = [process for process in self._processes.values() if process.is_due]
        for process in due:
            self._loop.run_until_complete(process.act())
        if self.band is not band:
            self.changes.append((now, self.band))
        self.stores.band = self.band
        super()._look(now)
        if not self.band.may_count or not self.stores.is_settled:
            self.stores.look(now, lambda: self._hand_over(now))
        if self.stores.is_leaving(now):
            self.counters.mirror(int(now // DAY))

    # Requests.

    def _look_up(self, place: int, tenant: int, now: float) -> None:
        if tenant in self._memory[place]:
            return
        self._memory[place].add(tenant)
        self._loop.run_until_complete(self._read(self._processes[place], str(tenant)))

    async def _read(self, process: Process, alias: str) -> None:
        """A copy, or Postgres and what follows from that."""
        self.by_band[self.band].lookups += 1
        try:
            [copy] = await process.copies.get_many([alias])
            if copy is None:
                await process.copies.put(alias, b"")
        except Exception:
            self.failed_lookups += 1

    def _count(self, tenant: int, answer: Answer) -> None:
        super()._count(tenant, answer)
        self.by_band[self.band].unavailable += answer is Answer.UNAVAILABLE


@dataclass(frozen=True)
class Outcome:
    """A fleet's month, or some of its days."""

    life: GovernedLife
    answers: Answers

    @property
    def total(self) -> int:
        return sum(stretch.commands for stretch in self.life.by_band.values())


def live(fleet: Fleet, terms: Terms, days: int, *, seed: int = 1, course: Course | None = None) -> Outcome:
    """`days` of it, and an hour after that."""
    life = GovernedLife(fleet, terms, Random(seed), days, course)
    for day in range(days):
        life.deploy(EPOCH + day * DAY + DEPLOYED_AT, BETWEEN_STOPS)
    gc.disable()
    try:
        done = life.run(EPOCH + days * DAY + AFTER)
    finally:
        gc.enable()
        life.close()
    return Outcome(life, done.answers)


def faults(outcome: Outcome) -> list[str]:
    """What the governor must not let happen."""
    found = []
    for period, commands in outcome.life.by_period.items():
        if outcome.life.terms.budget is not None and commands > outcome.life.terms.budget:
            found.append(f"period {period} was billed {commands} commands")
    if outcome.answers.over:
        found.append(f"{outcome.answers.over} requests were admitted beyond their limits")
    if outcome.life.failed_lookups:
        found.append(f"{outcome.life.failed_lookups} lookups failed")
    return found


def table(governed: Outcome, free: Outcome) -> str:
    budget = governed.life.terms.budget or 1
    head = ("band", "hours", "billed commands", "of the budget", "an hour", "lookups", "answered 503")
    cells = []
    for band, stretch in governed.life.by_band.items():
        hours = stretch.seconds / HOUR
        an_hour = stretch.commands / hours if hours else 0
        cells.append(
            [
                *(band.value, f"{hours:,.1f}", f"{stretch.commands:,}", f"{stretch.commands / budget:.1%}"),
                *(f"{an_hour:,.0f}", f"{stretch.lookups:,}", f"{stretch.unavailable:,}"),
            ]
        )
    answers = governed.answers
    rest = [
        f"Without a budget: {free.total:,} billed commands. The budget: {budget:,}, of which "
        f"{max(governed.life.by_period.values()) / budget:.2%} were billed in the dearest period.",
        f"Requests: {answers.requests:,}, of which {answers.admitted:,} admitted, {answers.over:,} beyond a limit, "
        f"{answers.below:,} refused below their limits, {answers.unavailable:,} answered 503 "
        f"(without a budget {free.answers.below:,} and {free.answers.unavailable:,}). "
        f"Failed lookups: {governed.life.failed_lookups}.",
        "Changes: "
        + ", ".join(f"{band.value} after {(now - EPOCH) / DAY:.2f} days" for now, band in governed.life.changes),
    ]
    return "\n".join([pages.table(head, cells), "", *rest])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fleet", choices=[SMALL.name, *FLEETS], default=SMALL.name)
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--daily", action="store_true", help="the budget is for each day")
    options = parser.parse_args()
    fleet = FLEETS.get(options.fleet, SMALL)
    free = live(fleet, Terms(None, options.daily), options.days)
    periods = options.days if options.daily else 1
    budget = sum(count for period, count in free.life.by_period.items() if period < periods) // periods // TIMES
    print(f"without a budget: {free.total} commands; now with {budget}", file=sys.stderr, flush=True)
    governed = live(fleet, Terms(budget, options.daily), options.days)
    print(table(governed, free))
    found = faults(governed)
    for fault in found:
        print(f"BROKEN: {fault}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
