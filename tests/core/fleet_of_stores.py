"""A fleet with two stores in virtual time: real `Failover`s and real reservations; all around them breaks.

The fault model is that of `failover.py` and `handover.py`. Processes stop, crash and start again, or leave in order.
Messages of each to the log and to the stores are late. The log is out of reach of some or of all, and the answer to
what was written there may be lost. An announcement is long on its way, and its commit takes its time. Redis fails for
all processes at once, and forgets everything once the fleet has left it. If the day is in Postgres and the minutes are
in Redis, either may fail before it has counted, or count and not answer. Requests cost several tokens if `costs` says
so, and what was admitted is sometimes given back. The band of the budget is changed as `change_band` does it.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import ceil, inf
from random import Random

from tenantcache.budget.core.bands import DWELL, Band, BandChoice
from tenantcache.ratelimit.core.agreement import NOTICE, Proposal, Store, StoreChoice
from tenantcache.ratelimit.core.failover import Failover
from tenantcache.ratelimit.core.handover import LEASE
from tenantcache.ratelimit.core.ledger import Take
from tenantcache.ratelimit.core.redishealth import RedisEvent
from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.ratelimit.core.windows import DAY, Debit, Window, minute_at
from tenantcache.tenant import Limits

START = 20_000.0 * DAY + 10 * 3600 + 20
STEP = 0.25
NOTICE_GIVEN = NOTICE
"""What an announcement gives; a test that takes it away must see the limit broken."""
DWELL_GIVEN = DWELL
"""How long the band before the last one is in force; the same."""
WAITS_FOR_ALL = True
"""Whether a minute is handed over only once all holders have reported; the same."""


@dataclass
class Process:
    failover: Failover
    reservation: Reservation | None = None
    paused_until: float = 0.0
    log_away_until: float = 0.0
    next_pull: float = 0.0
    next_probe: float = 0.0
    shares: Counter[int] = field(default_factory=Counter)
    name: int = 0
    """Another one after each crash."""
    next_hold: float = 0.0
    is_reporting: bool = False
    redis_away_until: float = 0.0
    inbox: list[Callable[[], None]] = field(default_factory=list)
    """What came while it was paused."""
    band_version: int = 0


class World:
    def __init__(self, random: Random, *, size: int = 3, limit: int = 40, per_day: int | None = None) -> None:
        self.random, self.limits = random, Limits(limit, per_day)
        self.now = START + random.uniform(0, 3600)
        self.row = StoreChoice(0, None)
        self.band = BandChoice()
        self.locked_until = 0.0
        self.counters: dict[Store, Counter[Window]] = {"redis": Counter(), "postgres": Counter()}
        self.redis_away_until = self.log_away_until = 0.0
        self.redis_mute_until = self.suspended_until = 0.0
        """Until then Redis answers PING and counts nothing; until then the provider refuses the account."""
        self.demand: tuple[int, ...] = (0, 0, 1, 3)
        """Requests that a process may have to serve at a time."""
        self.losers: tuple[str, ...] = ("acme",)
        """Tenants whose counters are found missing with those of this one."""
        self.lose_redis = False
        self.silent = 0.0
        """How often a store counts and does not answer."""
        self.costs: tuple[int, ...] = (1,)
        self.local = False
        """Whether a process that sees neither store admits its share."""
        self.admitted: Counter[Window] = Counter()
        self.admitted_in_days: Counter[Window] = Counter()
        self.changes: list[StoreChoice] = []
        self.holders: dict[int, int] = {}
        """The minute through which each holder is waited for."""
        self.reports: dict[int, tuple[int, int, int]] = {}
        """Version, minute and tokens that each holder has reported last."""
        self.left: Counter[int] = Counter()
        """Tokens that processes had spent of a minute when they left in order."""
        self.handed_over: list[int] = []
        self.delays, self.commits = [0.0, 0.01, 0.2, 0.4], [0.0, 0.1, 2.0, 8.0]
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self.processes = [Process(Failover(has_redis=True), name=next(self._numbers)) for _ in range(size)]

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

    def _deliver(self, process: Process, fleet: Failover, work: Callable[[], None]) -> None:
        """To that incarnation of the process; late if it is paused."""
        if process.failover is not fleet:
            return
        if process.paused_until > self.now:
            process.inbox.append(lambda: self._deliver(process, fleet, work))
        else:
            work()

    def _delay(self) -> float:
        return self.random.choice(self.delays)

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
        self._hold(process)
        self._hand_over(process)
        self._serve(process)

    def _pull(self, process: Process) -> None:
        fleet = process.failover

        def read() -> None:
            if max(process.log_away_until, self.log_away_until) > self.now:
                return
            row, settled = self.row, self.now + NOTICE if self.now > self.locked_until else None
            band, read_at = self.band, self.now
            self.at(
                self.now + self._delay(),
                lambda: self._deliver(process, fleet, lambda: _follow(process, row, settled, band, read_at)),
            )

        self.at(self.now + self._delay(), read)

    def _watch_redis(self, process: Process) -> None:
        fleet = process.failover
        if self.now < process.next_probe or not fleet.redis.is_silent(self.now, 0.4):
            return
        process.next_probe = self.now + 0.2
        if self.suspended_until > self.now:
            fleet.redis_failed(RedisEvent.ACCOUNT_REFUSED, "the account is refused", self.now, asked=self.now)
        elif max(process.redis_away_until, self.redis_away_until) > self.now:
            fleet.redis_failed(RedisEvent.SILENT, "gone", self.now, asked=self.now)
        elif self.redis_mute_until <= self.now:
            fleet.redis_answered(self.now, self.now)
        elif fleet.redis.ping_suffices:
            fleet.redis_answered(self.now, self.now, RedisEvent.PINGED)
        else:
            fleet.redis_failed(RedisEvent.REFUSED, "does not count", self.now, asked=self.now)

    def _speak(self, process: Process) -> None:
        if max(process.log_away_until, self.log_away_until) > self.now:
            return
        if (proposal := process.failover.propose(self.now)) is not None:
            self.at(self.now + self._delay(), lambda: self._lock(proposal))
        if process.failover.has_to_report_unavailable(self.now):
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
        if row.store != proposal.store == "redis" and not self.band.band.may_count:
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
        takes = self.random.choice(self.commits)
        self.locked_until = self.now + takes
        self.at(self.now + takes, lambda: self._commit(new))

    def _commit(self, new: StoreChoice) -> None:
        self.row = new
        self.changes.append(new)
        self._notify()
        if self.lose_redis and new.store == "postgres":
            self.at(new.from_minute * 60.0, self.counters["redis"].clear)

    def change_band(self, band: Band) -> None:
        """As `change_band` in the schema: the clock is read under the lock, and the commit may come late."""
        if self.now <= self.locked_until:
            self.at(self.locked_until + 0.001, lambda: self.change_band(band))
            return
        row, comes_too_soon = self.band, self.now < self.band.changed_at + DWELL_GIVEN
        if band is Band.NO_REDIS and (row.band is not Band.NO_COPIES or comes_too_soon):
            return
        new = BandChoice(row.version + 1, band, changed_at=self.now)
        takes = self.random.choice(self.commits)
        self.locked_until = self.now + takes
        self.at(self.now + takes, lambda: self._commit_band(new))

    def _commit_band(self, new: BandChoice) -> None:
        self.band = new
        self._notify()

    def _notify(self) -> None:
        for process in self.processes:
            if self.delays == [0.0] or self.random.random() < 0.7:
                process.next_pull = self.now

    # Handing a minute over.

    def _write(self, process: Process, work: Callable[[], Callable[[], None]], *, exclusive: bool) -> None:
        """Have `work` done in Postgres, once the lock is free, and then what it returns in the process."""
        fleet = process.failover

        def apply() -> None:
            if max(process.log_away_until, self.log_away_until) > self.now:
                self._deliver(process, fleet, lambda: setattr(process, "is_reporting", False))
                return
            if self.now <= self.locked_until:
                self.at(self.locked_until + 0.001, apply)
                return
            if exclusive:
                self.locked_until = self.now
            answer = work()
            if self.random.random() < 0.1 and self.delays != [0.0]:
                answer = lambda: setattr(process, "is_reporting", False)  # noqa: E731 - it was lost
            self.at(self.now + self._delay(), lambda: self._deliver(process, fleet, answer))

        self.at(self.now + self._delay(), apply)

    def _hold(self, process: Process) -> None:
        fleet, name = process.failover, process.name
        if self.now < process.next_hold or not fleet.redis.answers or fleet.choice.store is None:
            return
        process.next_hold = self.now + (1.0 if fleet.handover.through < minute_at(self.now) + LEASE - 1 else 30.0)
        version = fleet.choice.version

        def write() -> Callable[[], None]:
            if self.row.version != version:
                return lambda: None
            through = minute_at(self.now) + LEASE
            self.holders[name] = max(through, self.holders.get(name, 0))
            return lambda: setattr(fleet.handover, "through", max(through, fleet.handover.through))

        self._write(process, write, exclusive=False)

    def _hand_over(self, process: Process) -> None:
        fleet, name = process.failover, process.name
        if process.is_reporting or not fleet.has_to_hand_over(self.now):
            return
        version, minute = fleet.choice.version, minute_at(self.now)
        granted = 0 if process.reservation is None else process.reservation.hand_over(self.now)
        fleet.handover.give_up(version)
        process.is_reporting = True

        def write() -> Callable[[], None]:
            self.reports[name] = version, minute, granted
            self._finish(version, minute)
            return done

        def done() -> None:
            process.is_reporting = False
            fleet.handover.report(version, minute)

        self._write(process, write, exclusive=True)

    def _finish(self, version: int, minute: int) -> None:
        """As `hand_over_counters`: the clock is read under the lock, and the commit may come late."""
        row = self.row
        if (row.version, row.store, row.previous) != (version, "postgres", "redis"):
            return
        if not row.previous_from <= minute < row.from_minute or minute != minute_at(self.now):
            return
        awaited = [name for name, through in self.holders.items() if through >= minute]
        if WAITS_FOR_ALL and any(self.reports.get(name, (0, 0, 0))[:2] != (version, minute) for name in awaited):
            return
        of_minute = [tokens for _, reported, tokens in self.reports.values() if reported == minute]
        granted = sum(of_minute) + self.left[minute]
        takes = self.random.choice(self.commits[:3])
        self.locked_until = self.now + takes
        self.at(self.now + takes, lambda: self._commit_hand_over(minute, granted))

    def _commit_hand_over(self, minute: int, granted: int) -> None:
        self.row = replace(self.row, from_minute=minute)
        self.counters["postgres"][Window("minute", minute)] += granted
        self.handed_over.append(minute)
        self._notify()

    # Its limits.

    def _serve(self, process: Process) -> None:
        process.failover.note_time(self.now)
        if process.failover.choice.store is None:
            return
        if process.reservation is None:
            process.reservation = Reservation(self.limits, self.now, version_of=process.failover.version_of)
        reservation = process.reservation
        for _ in range(self.random.choice(self.demand)):
            cost = self.random.choice(self.costs) if len(self.costs) > 1 else self.costs[0]
            decision = reservation.decide(self.now, cost)
            if decision is not None and decision.allowed:
                self._admit(cost)
                if cost > 1 and self.random.random() < 0.3:
                    self._refund_later(process, reservation, cost, self.now)
            elif decision is None and self.local and process.failover.isolation.own_minute == minute_at(self.now):
                self._take_share(process)
            elif decision is None:
                self._send(process, reservation, reservation.plan(self.now, cost, len(self.processes), ahead=True))
                return
        self._send(process, reservation, reservation.surplus(self.now) or self._along(reservation))

    def _along(self, reservation: Reservation) -> Take | None:
        """What goes with a command that is sent for another tenant."""
        if self.random.random() >= 0.1:
            return None
        return reservation.plan_along(self.now, len(self.processes), ahead=True, day=True)

    def _admit(self, cost: int) -> None:
        self.admitted[Window("minute", minute_at(self.now))] += cost
        self.admitted_in_days[Window("day", int(self.now // DAY))] += cost

    def _refund_later(self, process: Process, reservation: Reservation, cost: int, admitted_at: float) -> None:
        def refund() -> None:
            self._deliver(process, fleet, lambda: self._refund(reservation, cost, admitted_at))

        fleet = process.failover
        self.at(self.now + self._delay(), refund)

    def _refund(self, reservation: Reservation, cost: int, admitted_at: float) -> None:
        """What comes back comes back in the windows of now: there, that much less was admitted."""
        reservation.refund(0, self.now, self.now)
        minute, day = reservation.minute, reservation.day
        reservation.refund(cost, self.now, admitted_at)
        self.admitted[Window("minute", minute_at(self.now))] -= reservation.minute - minute
        self.admitted_in_days[Window("day", int(self.now // DAY))] -= reservation.day - day

    def _take_share(self, process: Process) -> None:
        """As the limiter does for `on_error="local"`."""
        minute = minute_at(self.now)
        if process.shares[minute] < (self.limits.per_minute or 0) // len(self.processes):
            process.shares[minute] += 1
            self.admitted[Window("minute", minute)] += 1

    def _send(self, process: Process, reservation: Reservation, take: Take | None) -> None:
        if take is None:
            return
        fleet = process.failover
        stores = [self._route(fleet, debit) for debit in take.debits]
        minute = minute_at(self.now)
        counters = fleet.version_of(minute)
        is_known = counters is not None or all(debit.amount <= 0 for debit in take.debits)
        if not is_known or None in stores or minute in (fleet.isolation.own_minute, fleet.isolation.lost_minute):
            reservation.fail(take, self.now)
            return

        def apply() -> None:
            """As `FleetCounters` does: one store after the other, until one fails."""
            values: list[int | None] = [None] * len(stores)
            for store in ("postgres", "redis"):
                places = [place for place, each in enumerate(stores) if each == store]
                if places and self._is_away(process, store):
                    break
                found = [self._debit(store, take.debits[place]) for place in places]
                if places and self.silent and self.random.random() < self.silent:
                    break
                for place, value in zip(places, found, strict=True):
                    values[place] = value
            wait = 0.0 if values.count(None) == len(values) else self._delay()
            self.at(self.now + wait, lambda: self._deliver(process, fleet, lambda: settle(values)))

        def settle(values: list[int | None]) -> None:
            self._hear_of_redis(fleet, stores, values)
            if fleet.version_of(minute) != counters:
                values = [None if store == "redis" else value for store, value in zip(stores, values, strict=True)]
            if values.count(None) == len(values):
                reservation.fail(take, self.now)
                return
            following = reservation.settle(take, values, self.now)
            if following is not None and following.repairs:
                self._lose(fleet, following.debits[0].window)
            self._send(process, reservation, following)

        self.at(self.now + self._delay(), apply)

    def _lose(self, fleet: Failover, window: Window) -> None:
        for owner in self.losers:
            fleet.redis_lost(owner, window)

    def _hear_of_redis(self, fleet: Failover, stores: list[Store | None], values: list[int | None]) -> None:
        if any(store == "redis" and value is None for store, value in zip(stores, values, strict=True)):
            fleet.redis_failed(RedisEvent.NOT_COUNTED, "gone", self.now)

    def _is_away(self, process: Process, store: Store) -> bool:
        if store == "redis":
            return max(process.redis_away_until, self.redis_away_until, self.redis_mute_until) > self.now
        return max(process.log_away_until, self.log_away_until) > self.now

    def _route(self, fleet: Failover, debit: Debit) -> Store | None:
        now = minute_at(self.now)
        match debit.window.unit:
            case "day":
                return fleet.day_store(debit.window, self.now)
            case "quarter":
                return fleet.store_of(now)
        return fleet.store_of(min(debit.window.number, now))

    def _debit(self, store: Store, debit: Debit) -> int:
        counters = self.counters[store]
        if debit.window.unit == "day" and store == "postgres":  # what Redis has counted of it is written down before
            counters[debit.window] = max(counters[debit.window], self.counters["redis"][debit.window])
        counters[debit.window] = max(0, counters[debit.window] + debit.amount)
        return counters[debit.window]

    # What goes wrong.

    def crash(self, process: Process) -> None:
        process.failover = Failover(has_redis=True)
        process.reservation, process.inbox, process.band_version = None, [], 0
        process.name, process.next_hold, process.is_reporting = next(self._numbers), 0.0, False

    def leave(self, process: Process) -> None:
        """It is restarted in order: what it has spent of this minute is told, what it holds unspent is lost here."""
        name, reservation, minute = process.name, process.reservation, minute_at(self.now)
        is_out = process.paused_until > self.now or max(process.log_away_until, self.log_away_until) > self.now
        is_out = is_out or process.failover.isolation.has_spent_alone(minute)
        self.crash(process)
        if is_out:
            return
        spent = 0
        if reservation is not None:
            reservation.release(self.now)
            spent = reservation.hand_over(self.now)

        def write() -> None:
            if self.now <= self.locked_until:
                self.at(self.locked_until + 0.001, write)
                return
            self.holders.pop(name, None)
            if self.reports.pop(name, (0, 0, 0))[1] != minute or self.row.from_minute > minute:
                self.left[minute] += spent
            self._finish(self.row.version, minute)

        self.at(self.now, write)

    def over_admitted(self) -> dict[Window, int]:
        minute, day = self.limits.per_minute or inf, self.limits.per_day or inf
        limits = {"minute": minute, "day": day}
        counted = self.admitted + self.admitted_in_days
        return {window: count for window, count in counted.items() if count > limits[window.unit]}


def _follow(process: Process, row: StoreChoice, settled: float | None, band: BandChoice, read_at: float) -> None:
    # Pulls of one process come one after the other; an older one is not heard after a newer.
    known = process.failover.choice
    if band.version < process.band_version:
        return
    if row.version > known.version or (row.version == known.version and row.from_minute <= known.from_minute):
        process.band_version = band.version
        process.failover.follow(row, settled, band.band, read_at=read_at)
