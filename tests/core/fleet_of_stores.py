"""A fleet with two stores in virtual time: real `Failover`s and real reservations; all around them breaks.

The fault model is that of `failover.py` and `handover.py`. Processes stop, crash and start again, or leave in order.
Messages of each to the log and to the stores are late. The log is out of reach of some or of all, and the answer to
what was written there may be lost. An announcement is long on its way, and its commit takes its time. Redis fails for
all processes at once, and forgets everything once the fleet has left it. If the day is in Postgres and the minutes are
in Redis, either may fail before it has counted, or count and not answer. Requests cost several tokens if `costs` says
so, and what was admitted is sometimes given back. The band of the budget is changed as `change_band` does it.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from math import inf
from random import Random

from tenantcache.ratelimit.core.agreement import Store, StoreChoice
from tenantcache.ratelimit.core.failover import Failover
from tenantcache.ratelimit.core.windows import DAY, Debit, Window, minute_at
from tenantcache.tenant import Limits
from tests.core.fleet_postgres import Postgres
from tests.core.fleet_process import Process
from tests.core.virtualtime import VirtualTime

START = 20_000.0 * DAY + 10 * 3600 + 20
STEP = 0.25


class World(VirtualTime):
    """What all processes share, and what goes wrong."""

    def __init__(self, random: Random, *, size: int = 3, limit: int = 40, per_day: int | None = None) -> None:
        super().__init__(random, START + random.uniform(0, 3600))
        self.limits = Limits(limit, per_day)
        self.postgres = Postgres(self, self._notify, self._leave_redis)
        self.counters: dict[Store, Counter[Window]] = {"redis": Counter(), "postgres": self.postgres.counters}
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
        self._names = itertools.count()
        self.processes = [Process(self, next(self._names)) for _ in range(size)]

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.do_what_is_due()
            for process in self.processes:
                if process.paused_until <= self.now:
                    self.step(process)
            self.now += STEP

    def step(self, process: Process) -> None:
        process.step()

    def deliver(self, process: Process, fleet: Failover, work: Callable[[], None]) -> None:
        """To that incarnation of the process; late if it is paused."""
        if process.failover is not fleet:
            return
        if process.paused_until > self.now:
            process.inbox.append(lambda: self.deliver(process, fleet, work))
        else:
            work()

    def _notify(self) -> None:
        for process in self.processes:
            if self.delays == [0.0] or self.random.random() < 0.7:
                process.next_pull = self.now

    def _leave_redis(self, choice: StoreChoice) -> None:
        if self.lose_redis and choice.store == "postgres":
            self.at(choice.from_minute * 60.0, self.counters["redis"].clear)

    # What is counted, and what is admitted.

    def debit(self, store: Store, debit: Debit) -> int:
        counters = self.counters[store]
        if debit.window.unit == "day" and store == "postgres":  # what Redis has counted of it is written down before
            counters[debit.window] = max(counters[debit.window], self.counters["redis"][debit.window])
        counters[debit.window] = max(0, counters[debit.window] + debit.amount)
        return counters[debit.window]

    def admit(self, cost: int) -> None:
        self.admitted[Window("minute", minute_at(self.now))] += cost
        self.admitted_in_days[Window("day", int(self.now // DAY))] += cost

    def take_back(self, of_minute: int, of_day: int) -> None:
        self.admitted[Window("minute", minute_at(self.now))] -= of_minute
        self.admitted_in_days[Window("day", int(self.now // DAY))] -= of_day

    def over_admitted(self) -> dict[Window, int]:
        minute, day = self.limits.per_minute or inf, self.limits.per_day or inf
        limits = {"minute": minute, "day": day}
        counted = self.admitted + self.admitted_in_days
        return {window: count for window, count in counted.items() if count > limits[window.unit]}

    # What goes wrong.

    def crash(self, process: Process) -> None:
        process.restart(next(self._names))

    def leave(self, process: Process) -> None:
        """It is restarted in order: what it has spent of this minute is told, what it holds unspent is lost here."""
        name, minute = process.name, minute_at(self.now)
        is_out = process.paused_until > self.now or process.is_cut_off_from("postgres")
        is_out = is_out or process.failover.isolation.has_spent_alone(minute)
        spent = 0 if is_out else process.meter.leave()
        self.crash(process)

        def write() -> None:
            if not self.postgres.waits(write):
                self.postgres.leave(name, minute, spent)

        if not is_out:
            self.at(self.now, write)
