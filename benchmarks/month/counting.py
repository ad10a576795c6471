"""How the processes of a fleet take tokens, and what Redis bills for it.

A `Taker` is what a process has in place of a `Limiter`: the library's own groups, meters and reservations, on a clock
that stands still while they work. `Counters` are Redis and Postgres in one. They bill as `RedisCounters` is billed:
each command that it would send, and an EXPIRE for each new key.

A take changes the reservations of other tenants than the one that asks. So each of them tells the simulation `before`
it changes, so that what was spent is entered, and `after` it, so that the requests to come are planned anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from benchmarks.month.bill import Answer, Bill, Purpose
from benchmarks.month.stores import Stores
from tenantcache.errors import FailoverError
from tenantcache.ratelimit.core.agreement import Store
from tenantcache.ratelimit.core.decision import Decision
from tenantcache.ratelimit.core.policy import DEFAULT_POLICY, ReservePolicy
from tenantcache.ratelimit.core.redishealth import UNAVAILABLE_AFTER
from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.ratelimit.core.routing import Routing
from tenantcache.ratelimit.core.windows import QUARTER, CounterValue, CounterValues, Debit, Window, minute_at
from tenantcache.ratelimit.counters import ASKED_FIRST
from tenantcache.ratelimit.counterstore import AccountDebits
from tenantcache.ratelimit.groups import Groups
from tenantcache.ratelimit.meter import Meter
from tenantcache.ratelimit.resting import RestingMeters
from tenantcache.ratelimit.supply import Supply
from tenantcache.stores.rediscounters import String, _Command, _commands
from tenantcache.tenant import Limits

MOST = (1 << 32) - 1

FIRST_MINUTE = 60.0
"""Seconds in which what a process sends counts as its start."""


class Counters:
    """Strings of groups in Redis, and rows in Postgres. `bill` is that of the day that is simulated."""

    def __init__(self, stores: Stores) -> None:
        self.bill = Bill()
        self.stores = stores
        self._redis: dict[String, dict[tuple[int, Window], int]] = {}
        self._postgres: dict[tuple[int, Window], int] = {}

    def lose(self) -> None:
        """Redis has lost everything."""
        self._redis.clear()

    def expire(self, now: float) -> None:
        """Drop what is of quarters of an hour and of days that have ended."""
        day, quarter = int(now // (24 * 3600)), int(now // QUARTER)
        least = {"day": day, "quarter": quarter}
        self._redis = {string: values for string, values in self._redis.items() if string.number >= least[string.unit]}
        least = {"day": day, "quarter": quarter, "minute": minute_at(now)}
        self._postgres = {key: value for key, value in self._postgres.items() if key[1].number >= least[key[1].unit]}

    def debit(self, batch: Sequence[AccountDebits], now: float) -> list[list[CounterValue]]:
        """The counters' new values. `FailoverError` if a store is not there, with the values of the other one."""
        windows = {window for _, debits in batch for window, _ in debits}
        stores = {window: self.stores.store_of(window, now) for window in windows}
        if None in stores.values():
            raise self._unanswered(now, ())
        routing = Routing([debits for _, debits in batch], lambda debit: stores[debit.window])
        for store in ASKED_FIRST:
            part = routing.part(store)
            if part and store == "redis" and not self.stores.is_up:
                routing.fail(store, ())
                raise self._unanswered(now, routing.known)
            if part:
                accounts = [AccountDebits(batch[place].account, debits) for place, debits in part.items()]
                routing.enter(store, self._debit_in(store, accounts, now))
        return [[value for value in values if value is not None] for values in routing.values]

    def _unanswered(self, now: float, values: CounterValues) -> FailoverError:
        begins = self.stores.begins(now)
        error = FailoverError("no store", until=now + UNAVAILABLE_AFTER if begins is None else begins)
        error.values = values
        return error

    def _debit_in(self, store: Store, batch: Sequence[AccountDebits], now: float) -> list[list[int | None]]:
        if store == "postgres":
            return [
                [self.count_in_postgres(account.slot, window, amount) for window, amount in debits]
                for account, debits in batch
            ]
        values: list[list[int | None]] = [[None] * len(debits) for _, debits in batch]
        for command in _commands(batch):
            self._run(command, batch, values, now)
        return values

    def _run(
        self, command: _Command, batch: Sequence[AccountDebits], values: list[list[int | None]], now: float
    ) -> None:
        string, debits = command.string, [batch[account].debits[place] for account, place in command.places]
        self.bill.add(_purpose_of(string, debits, now))
        counters = self._redis.get(string)
        if counters is None:
            counters = {}
            if command.writes:
                self._redis[string] = counters
                self.bill.add(Purpose.EXPIRY)
        for (account, place), (window, amount) in zip(command.places, debits, strict=True):
            key = (batch[account].account.slot, window)
            value = counters.get(key, 0)
            if amount:
                counters[key] = value = max(0, min(MOST, value + amount))
            values[account][place] = value

    def count_in_postgres(self, tenant: int, window: Window, amount: int) -> int:
        self._postgres[tenant, window] = value = max(0, self._postgres.get((tenant, window), 0) + amount)
        return value

    def mirror(self, day: int) -> None:
        """Postgres has of the day what Redis had."""
        for string, counters in self._redis.items():
            if string.unit == "day" and string.number == day:
                for key, value in counters.items():
                    self._postgres[key] = max(value, self._postgres.get(key, 0))


def _purpose_of(string: String, debits: Iterable[Debit], now: float) -> Purpose:
    amounts = [amount for _, amount in debits]
    if min(amounts) < 0 and max(amounts) <= 0:
        return Purpose.RETURN
    if string.unit == "day":
        return Purpose.DAY
    return Purpose.AHEAD if string.number > now // QUARTER else Purpose.TAKE


class Tokens(Reservation):
    """The reservation of `tenant` in a process of the simulation."""

    __slots__ = ("_after", "_before", "tenant")

    def __init__(self, tenant: int, taker: Taker, limits: Limits, now: float) -> None:
        self.tenant = tenant
        self._before, self._after = taker.before, taker.after
        super().__init__(limits, now, taker.policy, version_of=taker.version_of)

    def collect(self) -> int:
        self._before(self.tenant)
        return super().collect()

    def end(self) -> None:
        super().end()
        self._after(self.tenant)


class _Places:
    """`Slots`: the tenants that are simulated are a group."""

    async def assign(self, owners: Sequence[str]) -> list[int]:
        return [int(owner) for owner in owners]


class Taker:
    """The meters of one process, which starts at `now()`. `limits` are by tenant, `processes` is the size of the fleet.

    `before` and `after` are called around each change of a tenant's reservation.
    """

    def __init__(
        self,
        counters: Counters,
        limits: Sequence[Limits],
        processes: int,
        now: Callable[[], float],
        loop: asyncio.AbstractEventLoop,
        before: Callable[[int], object],
        after: Callable[[int], object],
    ) -> None:
        self.before, self.after = before, after
        self.policy = DEFAULT_POLICY
        self.version_of = counters.stores.version_of
        self._meters: dict[int, Meter] = {}
        self._counters, self._limits = counters, limits
        self._now, self._loop, self._started = now, loop, now()
        self._supply = Supply(self, _Places(), now, lambda: processes, "local")
        self._supply.version_of, self._supply.is_billed = self.version_of, lambda: counters.stores.is_billed(now())
        self._groups = Groups(self._supply, RestingMeters(self._supply, {}))
        self._watched: dict[int, None] = {}

    def reservation(self, tenant: int) -> Reservation:
        """That of `tenant`, made if there is none yet."""
        meter = self._meters.get(tenant)
        if meter is None:
            tokens = Tokens(tenant, self, self._limits[tenant], self._now())
            meter = self._meters[tenant] = Meter(str(tenant), tokens, self._supply, self._groups)
        return meter.reservation

    def use_policy(self, policy: ReservePolicy) -> None:
        self.policy = policy
        for meter in self._meters.values():
            meter.reservation.use_policy(policy)

    # `CounterStore`.

    async def debit(self, batch: Sequence[AccountDebits]) -> list[list[CounterValue]]:
        bill = self._counters.bill
        billed, now = bill.total, self._now()
        try:
            return self._counters.debit(batch, now)
        finally:
            if now < self._started + FIRST_MINUTE:
                bill.starts += bill.total - billed

    async def reset(self, account: object, windows: object) -> None:
        raise NotImplementedError

    # What `Limiter` does.

    def ask(self, tenant: int) -> Answer:
        """Decide on a request that the fast path has not admitted."""
        meter = self._meters[tenant]
        decision = meter.reservation.decide(self._now(), 1)
        if decision is None or meter.reservation.refill:
            decision = self._loop.run_until_complete(self._take(meter, decision))
        if decision.unavailable:
            return Answer.UNAVAILABLE
        return Answer.ADMITTED if decision.allowed else Answer.REFUSED

    async def _take(self, meter: Meter, decision: Decision | None) -> Decision:
        if decision is None:
            decision = await meter.check(1)
        else:
            meter.worker.work(meter)
        await self._groups.finish()
        return decision

    def warm(self) -> None:
        """`Limiter.warm` with all tenants."""
        if not self._supply.is_billed():
            return
        for tenant in range(len(self._limits)):
            self.reservation(tenant)
        self._loop.run_until_complete(self._warm())

    async def _warm(self) -> None:
        await self._groups.take_for_all(list(self._meters.values()))
        await self._groups.finish()

    def watch(self, tenant: int) -> None:
        self._watched[tenant] = None

    def look(self) -> None:
        """Once a second, as `Upkeep.return_surplus`: give back what is held for a demand that has gone elsewhere."""
        if self._watched:
            self._loop.run_until_complete(self._look())

    async def _look(self) -> None:
        watched, self._watched = self._watched, {}
        for tenant in watched:
            meter = self._meters[tenant]
            if meter.reservation.watched:
                self._watched[tenant] = None
                meter.worker.work(meter)
        await self._groups.finish()

    def granted(self) -> Iterable[tuple[int, int]]:
        """The tokens of this minute that were granted here, by tenant."""
        for tenant, meter in self._meters.items():
            yield tenant, meter.reservation.hand_over(self._now())

    def stop(self) -> None:
        """Give everything back, in an orderly stop."""
        bill = self._counters.bill
        billed = bill.total
        self._loop.run_until_complete(self._groups.give_back(list(self._meters.values())))
        bill.stops += bill.total - billed
