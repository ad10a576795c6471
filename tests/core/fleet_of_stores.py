"""A fleet with two stores in virtual time: real `FleetStore`s and real reservations; all around them breaks.

The fault model, which `storechoice.py` states: processes stop, crash and start again; messages of each to the log and
to the stores are late; the log is out of reach of some or of all; an announcement is long on its way and its commit
takes its time; Redis fails for everybody at once, and forgets everything once the fleet has left it.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import ceil
from random import Random

from tenantcache.core.ledger import Take
from tenantcache.core.reservation import Reservation
from tenantcache.core.storechoice import NOTICE, FleetStore, Proposal, Store, StoreChoice
from tenantcache.core.tenant import Limits
from tenantcache.core.windows import DAY, Debit, Window, minute_at

START = 20_000.0 * DAY + 10 * 3600 + 20
STEP = 0.25
NOTICE_GIVEN = NOTICE
"""What an announcement gives; a test that takes it away must see the limit broken."""


@dataclass
class Process:
    redis: FleetStore
    reservation: Reservation | None = None
    paused_until: float = 0.0
    log_away_until: float = 0.0
    next_pull: float = 0.0
    next_probe: float = 0.0
    shares: Counter[int] = field(default_factory=Counter)
    inbox: list[Callable[[], None]] = field(default_factory=list)
    """What came while it was paused."""


class World:
    def __init__(self, random: Random, *, size: int = 3, limit: int = 40, per_day: int | None = None) -> None:
        self.random, self.limits = random, Limits(limit, per_day)
        self.now = START + random.uniform(0, 3600)
        self.row = StoreChoice(0, None)
        self.locked_until = 0.0
        self.counters: dict[Store, Counter[Window]] = {"redis": Counter(), "postgres": Counter()}
        self.redis_away_until = self.log_away_until = 0.0
        self.lose_redis = False
        self.local = False
        """Whether a process that sees neither store admits its share."""
        self.admitted: Counter[Window] = Counter()
        self.changes: list[StoreChoice] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self.processes = [Process(FleetStore(has_redis=True)) for _ in range(size)]

    def at(self, when: float, work: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), work))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            step = self.now
            while self._events and self._events[0][0] <= step:
                self.now, _, work = heapq.heappop(self._events)
                work()
            self.now = step
            for process in self.processes:
                if process.paused_until <= self.now:
                    self._step(process)
            self.now += STEP

    def _deliver(self, process: Process, fleet: FleetStore, work: Callable[[], None]) -> None:
        """To that incarnation of the process; late where it is paused."""
        if process.redis is not fleet:
            return
        if process.paused_until > self.now:
            process.inbox.append(lambda: process.redis is fleet and work())
        else:
            work()

    def _delay(self) -> float:
        return self.random.choice([0.0, 0.01, 0.2, 0.4])

    # One process.

    def _step(self, process: Process) -> None:
        if self.random.random() < 0.5:
            self._serve(process)  # before what has come meanwhile is heard, as after a pause
        arrived, process.inbox = process.inbox, []
        for work in arrived:
            work()
        if self.now >= process.next_pull:
            process.next_pull = self.now + 1
            self._pull(process)
        self._watch_redis(process)
        self._speak(process)
        self._serve(process)

    def _pull(self, process: Process) -> None:
        fleet = process.redis

        def read() -> None:
            if max(process.log_away_until, self.log_away_until) > self.now:
                return
            row, settled = self.row, self.now + NOTICE if self.now > self.locked_until else None
            self.at(
                self.now + self._delay(), lambda: self._deliver(process, fleet, lambda: _follow(fleet, row, settled))
            )

        self.at(self.now + self._delay(), read)

    def _watch_redis(self, process: Process) -> None:
        fleet = process.redis
        if self.now < process.next_probe or not fleet.is_silent(self.now, 0.4):
            return
        process.next_probe = self.now + 0.2
        if self.redis_away_until > self.now:
            fleet.redis_failed(self.now, "gone", asked=self.now)
        else:
            fleet.redis_answered(self.now, self.now)

    def _speak(self, process: Process) -> None:
        if max(process.log_away_until, self.log_away_until) > self.now:
            return
        if (proposal := process.redis.propose(self.now)) is not None:
            self.at(self.now + self._delay(), lambda: self._lock(proposal))
        if process.redis.complains(self.now):
            self.row = replace(self.row, complained_at=self.now)

    def _lock(self, proposal: Proposal) -> None:
        """As `choose_counter_store`: the clock is read under the lock, and the commit may come late."""
        if self.now <= self.locked_until:
            self.at(self.locked_until + 0.001, lambda: self._lock(proposal))
            return
        row, first = self.row, self.row.store is None
        back = not first and row.store != proposal.store == "redis"
        if row.version != proposal.version or row.from_minute * 60 > self.now:
            return
        if back and row.complained_at > self.now - proposal.quiet:
            return
        new = StoreChoice(
            row.version + 1,
            proposal.store,
            0 if first else ceil((self.now + NOTICE_GIVEN) / 60),
            row.store,
            row.from_minute,
            proposal.why,
            self.now,
            self.now if proposal.store == "postgres" and not first else row.complained_at,
            proposal.quiet,
        )
        takes = self.random.choice([0.0, 0.1, 2.0, 8.0])
        self.locked_until = self.now + takes
        self.at(self.now + takes, lambda: self._commit(new))

    def _commit(self, new: StoreChoice) -> None:
        self.row = new
        self.changes.append(new)
        if self.lose_redis and new.store == "postgres":
            self.at(new.from_minute * 60.0, self.counters["redis"].clear)

    # Its limits.

    def _serve(self, process: Process) -> None:
        if process.redis.choice.store is None:
            return
        if process.reservation is None:
            process.reservation = Reservation(self.limits, self.now, version_of=process.redis.version_of)
        reservation = process.reservation
        process.redis.note_time(self.now)
        for _ in range(self.random.choice([0, 0, 1, 3])):
            decision = reservation.decide(self.now, 1)
            if decision is not None and decision.allowed:
                self.admitted[Window("minute", minute_at(self.now))] += 1
            elif decision is None and self.local and process.redis.own_minute == minute_at(self.now):
                self._take_share(process)
            elif decision is None:
                self._send(process, reservation, reservation.plan(self.now, 1, len(self.processes)))
                return
        self._send(process, reservation, reservation.surplus(self.now))

    def _take_share(self, process: Process) -> None:
        """As the limiter does for `on_error="local"`."""
        minute = minute_at(self.now)
        if process.shares[minute] < (self.limits.per_minute or 0) // len(self.processes):
            process.shares[minute] += 1
            self.admitted[Window("minute", minute)] += 1

    def _send(self, process: Process, reservation: Reservation, take: Take | None) -> None:
        if take is None:
            return
        fleet = process.redis
        stores = [self._route(fleet, debit) for debit in take.debits]
        if None in stores or minute_at(self.now) in (fleet.own_minute, fleet.lost_minute):
            reservation.fail(take, self.now)
            return

        def apply() -> None:
            if "redis" in stores and self.redis_away_until > self.now:
                self._deliver(process, fleet, lambda: _lose(fleet, reservation, take, self.now))
                return
            values = [self._debit(store, debit) for store, debit in zip(stores, take.debits, strict=True) if store]
            self.at(self.now + self._delay(), lambda: self._deliver(process, fleet, lambda: settle(values)))

        def settle(values: list[int]) -> None:
            following = reservation.settle(take, values, self.now)
            if following is not None and following.repairs:
                fleet.redis_lost("acme", following.debits[0].window)
            self._send(process, reservation, following)

        self.at(self.now + self._delay(), apply)

    def _route(self, fleet: FleetStore, debit: Debit) -> Store | None:
        if debit.window.policy == "day":
            return fleet.day_store(debit.window, self.now)
        return fleet.store_of(min(debit.window.number, minute_at(self.now)))

    def _debit(self, store: Store, debit: Debit) -> int:
        counters = self.counters[store]
        counters[debit.window] = max(0, counters[debit.window] + debit.amount)
        return counters[debit.window]

    # What goes wrong.

    def crash(self, process: Process) -> None:
        process.redis = FleetStore(has_redis=True)
        process.reservation, process.inbox = None, []

    def over_admitted(self) -> dict[Window, int]:
        limit = self.limits.per_minute or 0
        return {window: count for window, count in self.admitted.items() if count > limit}


def _follow(fleet: FleetStore, row: StoreChoice, settled: float | None) -> None:
    # Pulls of one process come one after the other; an older one is not heard after a newer.
    if row.version >= fleet.choice.version:
        fleet.follow(row, settled)


def _lose(fleet: FleetStore, reservation: Reservation, take: Take, now: float) -> None:
    fleet.redis_failed(now, "gone")
    reservation.fail(take, now)
