"""Which store counts: the fleet's agreement in virtual time, by the real `Failover`, and what Redis is made to do.

All processes share one `Failover`. They hear of the log at once, and Redis fails for all of them or for none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import ceil

from tenantcache.budget.core.bands import Band
from tenantcache.ratelimit.core.agreement import NOTICE, Store, StoreChoice
from tenantcache.ratelimit.core.failover import Failover
from tenantcache.ratelimit.core.handover import LEASE
from tenantcache.ratelimit.core.redishealth import RedisEvent
from tenantcache.ratelimit.core.windows import Window, minute_at

TICK = 0.25
"""Seconds between looks at Redis and at the row while anything is amiss."""

PROBE_COMMANDS = 2
"""Billed for each process to which Redis counts again: `RedisLink.try_to_count`."""


class Stores:
    """`is_up`: whether Redis answers. `band`: that of the budget. Times are server time, in seconds since the epoch."""

    def __init__(self, now: float) -> None:
        self.is_up = True
        self.band = Band.NORMAL
        self.failover = Failover(has_redis=True)
        self.failover.has_counted = True
        self._versions: dict[int, object] = {}
        self._row = StoreChoice(1, "redis", 0, changed_at=now)
        self.note_time(now)

    def note_time(self, now: float) -> None:
        """A pull of the log, and what each process does with it."""
        self._versions.clear()
        self.failover.follow(self._row, now + NOTICE, self.band)
        self.failover.handover.through = minute_at(now) + LEASE
        self.failover.note_time(now)

    def version_of(self, minute: int) -> object:
        """It does not change before the next pull."""
        if minute not in self._versions:
            self._versions[minute] = self.failover.version_of(minute)
        return self._versions[minute]

    def is_billed(self, now: float) -> bool:
        return self.failover.store_of(minute_at(now)) != "postgres"

    def begins(self, now: float) -> float | None:
        """When another store takes over, if that is announced."""
        return self.failover.begins(now)

    def store_of(self, window: Window, now: float) -> Store | None:
        """The store that a debit goes to; None if there is none now. As `FleetCounters` has it."""
        if window.unit == "day":
            return self.failover.day_store(window, now)
        current = minute_at(now)
        return self.failover.store_of(min(window.number, current) if window.unit == "minute" else current)

    @property
    def is_settled(self) -> bool:
        """Whether Redis counts, and nothing is amiss."""
        return self.is_up and self._row.store == "redis"

    def is_leaving(self, now: float) -> bool:
        """Whether Postgres is announced and has not begun."""
        return self._row.store == "postgres" and self.begins(now) is not None

    def look(self, now: float, hand_over: Callable[[], None]) -> None:
        """What the processes do several times a second. `hand_over` enters what Redis has granted into Postgres."""
        failover = self.failover
        if self.is_up:
            failover.redis_answered(now, now, RedisEvent.COUNTED)
        else:
            failover.redis_failed(RedisEvent.SILENT, "gone", now, asked=now)
        if (proposal := failover.propose(now)) is not None:
            row, leaves = self._row, proposal.store == "postgres"
            self._row = StoreChoice(
                *(row.version + 1, proposal.store, ceil((now + NOTICE) / 60), row.store, row.from_minute),
                *(proposal.why, now, now if leaves else row.complained_at, proposal.quiet),
            )
        elif failover.has_to_report_unavailable(now):
            self._row = replace(self._row, complained_at=now)
        self.note_time(now)
        if failover.has_to_hand_over(now):
            failover.handover.give_up(self._row.version)
            self._versions.clear()
            hand_over()
            failover.handover.report(self._row.version, minute_at(now))
            self._row = replace(self._row, from_minute=minute_at(now))
            self.note_time(now)
