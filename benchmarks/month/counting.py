"""The adapter: how the processes of a fleet take tokens, and what Redis bills for it.

All that the simulation knows of reservations and of keys is here. A `Taker` is what a process has in place of a
`Limiter`, without a loop. `Counters` are Redis and Postgres in one, and bill as `RedisCounters` is billed: a command
for each key that a take touches, and an EXPIRE for each new key.

A take may change the reservations of other tenants than the one that asks. A `Taker` calls `before` each of them
changes, so that what was spent is entered, and `after` it, so that the requests to come are planned anew.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence

from benchmarks.month.bill import Answer, Bill, Purpose
from benchmarks.month.stores import Stores
from tenantcache.ratelimit.core.ledger import Take
from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.ratelimit.core.windows import MINUTES_PER_DAY, Debit, Window, minute_at
from tenantcache.tenant import Limits

MOST = (1 << 32) - 1
DAY_FIELD = MINUTES_PER_DAY


class Counters:
    """A string for each tenant and date: its minutes and its day. `bill` is that of the day that is simulated."""

    def __init__(self, stores: Stores) -> None:
        self.bill = Bill()
        self.stores = stores
        self._redis: dict[tuple[int, int], array[int]] = {}
        self._postgres: dict[tuple[int, Window], int] = {}

    def lose(self, before: float) -> None:
        """Redis has lost what is of dates before that one."""
        self._redis = {key: fields for key, fields in self._redis.items() if key[1] >= before}

    def debit(self, tenant: int, debits: Sequence[Debit], now: float) -> list[int | None]:
        """The counters' new values, None for what failed."""
        values: list[int | None] = []
        kinds: dict[int, Purpose] = {}
        day = next((debit.window for debit in debits if debit.window.policy == "day"), None)
        store_of_day = None if day is None else self.stores.store_of(day, now)
        store_of_minutes = self.stores.store_of(Window("minute", minute_at(now)), now)
        for debit in debits:
            (policy, number), amount = debit
            store = store_of_day if policy == "day" else store_of_minutes
            if store != "redis":
                values.append(None if store is None else self.count_in_postgres(tenant, *debit))
                continue
            date, field = (number, DAY_FIELD) if policy == "day" else divmod(number, MINUTES_PER_DAY)
            if amount >= 0 or date not in kinds:
                kinds[date] = Purpose.RETURN if amount < 0 else Purpose.TAKE
            if (fields := self._redis.get((tenant, date))) is None:
                fields = self._redis[tenant, date] = array("L", bytes(8 * (1 + MINUTES_PER_DAY)))
                self.bill.add(Purpose.EXPIRY)
            fields[field] = value = max(0, min(MOST, fields[field] + amount))
            values.append(value)
        for kind in kinds.values():
            self.bill.add(kind)
        return values

    def count_in_postgres(self, tenant: int, window: Window, amount: int) -> int:
        self._postgres[tenant, window] = value = max(0, self._postgres.get((tenant, window), 0) + amount)
        return value

    def mirror(self, day: int) -> None:
        """Postgres has of the day what Redis had."""
        for (tenant, date), fields in self._redis.items():
            if date == day:
                self._postgres[tenant, Window("day", day)] = fields[DAY_FIELD]


class Taker:
    """The reservations of one process. `limits` are by tenant, `processes` is the size of the fleet."""

    def __init__(
        self,
        counters: Counters,
        limits: Sequence[Limits],
        processes: int,
        before: Callable[[int], object],
        after: Callable[[int], object],
    ) -> None:
        self.reservations: dict[int, Reservation] = {}
        self._counters, self._limits, self._processes = counters, limits, processes
        self._before, self._after, self._watched = before, after, dict[int, None]()

    def reservation(self, tenant: int, now: float) -> Reservation:
        found = self.reservations.get(tenant)
        if found is None:
            version_of = self._counters.stores.version_of
            found = self.reservations[tenant] = Reservation(self._limits[tenant], now, version_of=version_of)
        return found

    def ask(self, tenant: int, now: float) -> Answer:
        """Decide on a request that the fast path has not admitted. What was spent until now has been entered."""
        reservation = self.reservations[tenant]
        decision = reservation.decide(now, 1)
        if decision is None:
            self._work(tenant, reservation, now, 1)
            decision = reservation.decide(now, 1)
        if reservation.refill:
            self._work(tenant, reservation, now, 0)
        if decision is None or decision.unavailable:
            return Answer.UNAVAILABLE
        return Answer.ADMITTED if decision.allowed else Answer.REFUSED

    def _work(self, tenant: int, reservation: Reservation, now: float, cost: int) -> None:
        """As `Meter._work`: take what is needed, refill, and give back what is idle."""
        horizon = self._counters.stores.horizon(now)
        take = reservation.plan(now, cost, self._processes, horizon)
        while take is not None and self._send(tenant, reservation, take, now):
            take = reservation.plan(now, 0, self._processes, horizon) if reservation.refill else None
        if reservation.watched:
            self._watched[tenant] = None

    def _send(self, tenant: int, reservation: Reservation, take: Take | None, now: float) -> bool:
        while take is not None:
            values = self._counters.debit(tenant, take.debits, now)
            if not any(value is not None for value in values):
                reservation.fail(take, now)
                return False
            take = reservation.settle(take, values, now)
        return True

    def look(self, now: float) -> None:
        """Once a second: give back what is held for a demand that has gone elsewhere."""
        for tenant in list(self._watched):
            reservation = self.reservations[tenant]
            self._before(tenant)
            self._send(tenant, reservation, reservation.surplus(now), now)
            if not reservation.watched:
                del self._watched[tenant]
            self._after(tenant)

    def granted(self, now: float) -> Iterable[tuple[int, int]]:
        """The tokens of this minute that were granted here, by tenant."""
        for tenant, reservation in self.reservations.items():
            self._before(tenant)
            yield tenant, reservation.hand_over(now)
            self._after(tenant)

    def stop(self, now: float) -> None:
        """Give everything back, in an orderly stop. What was spent until now has been entered."""
        for tenant, reservation in self.reservations.items():
            if (take := reservation.release(now)) is not None:
                self._counters.debit(tenant, take.debits, now)
