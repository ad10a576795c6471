"""A tenant's meter in one process of a simulated fleet: it serves requests, and sends takes to two stores."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tenantcache.ratelimit.core.agreement import Store
from tenantcache.ratelimit.core.failover import Failover
from tenantcache.ratelimit.core.ledger import Take
from tenantcache.ratelimit.core.redishealth import RedisEvent
from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.ratelimit.core.windows import Debit, Window, minute_at

if TYPE_CHECKING:
    from tests.core.fleet_of_stores import World
    from tests.core.fleet_process import Process


class Meter:
    def __init__(self, world: World, process: Process) -> None:
        self.shares: Counter[int] = Counter()
        """What it has admitted of its own, by minute, while it saw neither store."""
        self._world, self._process = world, process
        self._reservation: Reservation | None = None

    def forget(self) -> None:
        self._reservation = None

    def serve(self) -> None:
        """Some requests, and one take if it needs one."""
        world, process = self._world, self._process
        process.failover.note_time(world.now)
        if process.failover.choice.store is None:
            return
        if self._reservation is None:
            self._reservation = Reservation(world.limits, world.now, version_of=process.failover.version_of)
        reservation = self._reservation
        for _ in range(world.random.choice(world.demand if process.demand is None else process.demand)):
            cost = world.random.choice(world.costs) if len(world.costs) > 1 else world.costs[0]
            decision = reservation.decide(world.now, cost)
            if decision is not None and decision.allowed:
                world.admit(cost)
                if cost > 1 and world.random.random() < 0.3:
                    self._refund_later(reservation, cost)
            elif decision is None and world.local and process.failover.isolation.own_minute == minute_at(world.now):
                self._take_share()
            elif decision is None:
                self._send(reservation, reservation.plan(world.now, cost, len(world.processes), ahead=True))
                return
        self._send(reservation, self._surplus(reservation) or self._along(reservation))

    def _surplus(self, reservation: Reservation) -> Take | None:
        """As the limiter asks for it, and when new windows are to be entered."""
        now = self._world.now
        return reservation.surplus(now) if reservation.watched or now >= reservation.until else None

    def _along(self, reservation: Reservation) -> Take | None:
        """What goes with a command that is sent for another tenant."""
        if self._world.random.random() >= 0.1:
            return None
        return reservation.plan_along(self._world.now, len(self._world.processes), ahead=True, day=True)

    def _take_share(self) -> None:
        """As the limiter does for `on_error="local"`."""
        world = self._world
        minute = minute_at(world.now)
        if self.shares[minute] < (world.limits.per_minute or 0) // len(world.processes):
            self.shares[minute] += 1
            world.admitted[Window("minute", minute)] += 1

    def _refund_later(self, reservation: Reservation, cost: int) -> None:
        world, process, fleet, admitted_at = self._world, self._process, self._process.failover, self._world.now
        world.send(lambda: world.deliver(process, fleet, lambda: self._refund(reservation, cost, admitted_at)))

    def _refund(self, reservation: Reservation, cost: int, admitted_at: float) -> None:
        """What comes back comes back in the windows of now: there, that much less was admitted."""
        now = self._world.now
        reservation.refund(0, now, now)
        minute, day = reservation.minute, reservation.day
        reservation.refund(cost, now, admitted_at)
        self._world.take_back(reservation.minute - minute, reservation.day - day)

    # Handing over.

    def hand_over(self) -> int:
        """What was granted of the running minute."""
        return 0 if self._reservation is None else self._reservation.hand_over(self._world.now)

    def leave(self) -> int:
        """What was spent of the running minute; the rest is lost here."""
        if self._reservation is not None:
            self._reservation.release(self._world.now)
        return self.hand_over()

    # Takes.

    def _send(self, reservation: Reservation, take: Take | None) -> None:
        if take is None:
            return
        world, process, fleet = self._world, self._process, self._process.failover
        stores = [self._store_of(debit) for debit in take.debits]
        minute = minute_at(world.now)
        counters = fleet.version_of(minute)
        is_known = counters is not None or all(debit.amount <= 0 for debit in take.debits)
        if not is_known or None in stores or minute in (fleet.isolation.own_minute, fleet.isolation.lost_minute):
            reservation.fail(take, world.now)
            return

        def apply() -> None:
            values = self._debit(take, stores)
            answer = lambda: world.deliver(process, fleet, lambda: settle(values))  # noqa: E731
            if values.count(None) == len(values):
                world.at(world.now, answer)
            else:
                world.send(answer)

        def settle(values: list[int | None]) -> None:
            if any(store == "redis" and value is None for store, value in zip(stores, values, strict=True)):
                fleet.redis_failed(RedisEvent.NOT_COUNTED, "gone", world.now)
            if fleet.version_of(minute) != counters:
                values = [None if store == "redis" else value for store, value in zip(stores, values, strict=True)]
            self._settle(reservation, take, values, fleet)

        world.send(apply)

    def _store_of(self, debit: Debit) -> Store | None:
        fleet, now = self._process.failover, minute_at(self._world.now)
        match debit.window.unit:
            case "day":
                return fleet.day_store(debit.window, self._world.now)
            case "quarter":
                return fleet.store_of(now)
        return fleet.store_of(min(debit.window.number, now))

    def _debit(self, take: Take, stores: list[Store | None]) -> list[int | None]:
        """As `FleetCounters` does: one store after the other, until one fails."""
        world = self._world
        values: list[int | None] = [None] * len(stores)
        for store in ("postgres", "redis"):
            places = [place for place, each in enumerate(stores) if each == store]
            if places and self._process.is_cut_off_from(store):
                break
            found = [world.debit(store, take.debits[place]) for place in places]
            if places and world.silent and world.random.random() < world.silent:
                break
            for place, value in zip(places, found, strict=True):
                values[place] = value
        return values

    def _settle(self, reservation: Reservation, take: Take, values: list[int | None], fleet: Failover) -> None:
        world = self._world
        if values.count(None) == len(values):
            reservation.fail(take, world.now)
            return
        following = reservation.settle(take, values, world.now)
        if following is not None and following.repairs:
            for owner in world.losers:
                fleet.redis_lost(owner, following.debits[0].window)
        self._send(reservation, following)
