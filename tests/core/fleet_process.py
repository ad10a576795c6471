"""A process of a simulated fleet: it follows the row, watches Redis, and hands minutes over."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tenantcache.budget.core.bands import BandChoice
from tenantcache.ratelimit.core.agreement import Store, StoreChoice
from tenantcache.ratelimit.core.failover import Failover
from tenantcache.ratelimit.core.handover import LEASE
from tenantcache.ratelimit.core.redishealth import RedisEvent
from tenantcache.ratelimit.core.windows import minute_at
from tests.core.fleet_meter import Meter

if TYPE_CHECKING:
    from tests.core.fleet_of_stores import World


class Process:
    """`name` is another one after each crash."""

    def __init__(self, world: World, name: int) -> None:
        self.paused_until = self.log_away_until = self.redis_away_until = 0.0
        self.next_pull = 0.0
        self.demand: tuple[int, ...] | None = None
        """In place of the world's."""
        self.inbox: list[Callable[[], None]] = []
        """What came while it was paused."""
        self.meter = Meter(world, self)
        self._world = world
        self._next_probe = 0.0
        self.restart(name)

    def restart(self, name: int) -> None:
        self.name = name
        self.failover = Failover(has_redis=True)
        self.inbox.clear()
        self.meter.forget()
        self.next_hold = 0.0
        self._band_version = 0
        self._is_reporting = False

    def is_cut_off_from(self, store: Store) -> bool:
        world = self._world
        if store == "redis":
            return max(self.redis_away_until, world.redis_away_until, world.redis_mute_until) > world.now
        return max(self.log_away_until, world.log_away_until) > world.now

    def step(self) -> None:
        if self._world.random.random() < 0.5:
            self.meter.serve()  # before what has come meanwhile is heard, as after a pause
        arrived, self.inbox = self.inbox, []
        for work in arrived:
            work()
        if self._world.now >= self.next_pull:
            self.next_pull = self._world.now + 1
            self._pull()
        self._watch_redis()
        self._report_unavailable()
        self._register()
        self._hand_over()
        self.meter.serve()

    def _pull(self) -> None:
        world, postgres, fleet = self._world, self._world.postgres, self.failover

        def read() -> None:
            if self.is_cut_off_from("postgres"):
                return
            row, settled, band, read_at = postgres.row, postgres.settled, postgres.band, world.now
            world.send(lambda: world.deliver(self, fleet, lambda: self._follow(row, settled, band, read_at)))

        world.send(read)

    def _follow(self, row: StoreChoice, settled: float | None, band: BandChoice, read_at: float) -> None:
        # Pulls of one process come one after the other; an older one is not heard after a newer.
        known = self.failover.choice
        if band.version < self._band_version:
            return
        if row.version > known.version or (row.version == known.version and row.from_minute <= known.from_minute):
            self._band_version = band.version
            self.failover.follow(row, settled, band.band, read_at=read_at)

    def _watch_redis(self) -> None:
        world, fleet, now = self._world, self.failover, self._world.now
        if now < self._next_probe or not fleet.redis.is_silent(now, 0.4):
            return
        self._next_probe = now + 0.2
        if world.suspended_until > now:
            fleet.redis_failed(RedisEvent.ACCOUNT_REFUSED, "the account is refused", now, asked=now)
        elif max(self.redis_away_until, world.redis_away_until) > now:
            fleet.redis_failed(RedisEvent.SILENT, "gone", now, asked=now)
        elif world.redis_mute_until <= now:
            fleet.redis_answered(now, now)
        elif fleet.redis.ping_suffices:
            fleet.redis_answered(now, now, RedisEvent.PINGED)
        else:
            fleet.redis_failed(RedisEvent.REFUSED, "does not count", now, asked=now)

    def _report_unavailable(self) -> None:
        world, now = self._world, self._world.now
        if self.is_cut_off_from("postgres"):
            return
        if (proposal := self.failover.propose(now)) is not None:
            world.send(lambda: world.postgres.choose(proposal))
        if self.failover.has_to_report_unavailable(now):
            world.postgres.report_unavailable()

    # Handing a minute over.

    def _register(self) -> None:
        world, fleet, name, now = self._world, self.failover, self.name, self._world.now
        if now < self.next_hold or not fleet.redis.answers or fleet.choice.store is None:
            return
        self.next_hold = now + (1.0 if fleet.handover.through < minute_at(now) + LEASE - 1 else 30.0)
        version = fleet.choice.version

        def write() -> Callable[[], None]:
            through = world.postgres.register(name, version)
            if through is None:
                return lambda: None
            return lambda: setattr(fleet.handover, "through", max(through, fleet.handover.through))

        self._write(write, exclusive=False)

    def _hand_over(self) -> None:
        fleet, name, now = self.failover, self.name, self._world.now
        if self._is_reporting or not fleet.has_to_hand_over(now):
            return
        version, minute = fleet.choice.version, minute_at(now)
        granted = self.meter.hand_over()
        fleet.handover.give_up(version)
        self._is_reporting = True

        def write() -> Callable[[], None]:
            self._world.postgres.report(name, version, minute, granted)
            return done

        def done() -> None:
            self._is_reporting = False
            fleet.handover.report(version, minute)

        self._write(write, exclusive=True)

    def _write(self, work: Callable[[], Callable[[], None]], *, exclusive: bool) -> None:
        """Have `work` done in Postgres, once the lock is free, and then what it returns in the process."""
        world, postgres, fleet = self._world, self._world.postgres, self.failover

        def apply() -> None:
            if self.is_cut_off_from("postgres"):
                world.deliver(self, fleet, self._stop_reporting)
                return
            if postgres.waits(apply):
                return
            if exclusive:
                postgres.lock()
            answer = work()
            if world.random.random() < 0.1 and world.delays != [0.0]:
                answer = self._stop_reporting  # it was lost
            world.send(lambda: world.deliver(self, fleet, answer))

        world.send(apply)

    def _stop_reporting(self) -> None:
        self._is_reporting = False
