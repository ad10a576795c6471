"""What the follower finds, passed on to the parts that act on it."""

from __future__ import annotations

from tenantcache.budget.governor import Governor
from tenantcache.freshness.core.servertime import ServerTime
from tenantcache.freshness.log import VALUES_ID, ChangeKind, Doubt, LogEntry, Pull
from tenantcache.ratelimit.counters import FleetCounters
from tenantcache.ratelimit.limiter import Limiter
from tenantcache.ratelimit.shadow import ShadowLog
from tenantcache.values.parts import ValueParts
from tenantcache.wiring.inloop import InLoop


class Changes:
    """Acts on what the follower finds: the `ChangeSink` of every follower that the engine has."""

    def __init__(
        self,
        in_loop: InLoop,
        limiter: Limiter,
        shadow: ShadowLog,
        server_time: ServerTime,
        fleet_counters: FleetCounters | None,
        governor: Governor,
        values: ValueParts,
    ) -> None:
        self._in_loop = in_loop
        self._limiter = limiter
        self._shadow = shadow
        self._server_time = server_time
        self._fleet_counters = fleet_counters
        self._governor = governor
        self._values = values
        self._offset = server_time.offset

    def changed(self, entry: LogEntry) -> None:
        self._values.changed(entry)
        if entry.kind is ChangeKind.VALUES:
            return
        self._in_loop.resolver.changed(entry)
        self._in_loop.indexer.changed(entry)
        if entry.kind is ChangeKind.RESET:
            self._limiter.restart(entry.tenant_id)

    def doubted(self, doubt: Doubt) -> None:
        if doubt.tenant_id == VALUES_ID:
            self._values.doubted()
        else:
            self._in_loop.resolver.evict(doubt.tenant_id, doubt.aliases)

    def flush(self) -> None:
        self._values.flush()
        self._in_loop.resolver.flush()
        self._in_loop.indexer.flush()
        self._limiter.upkeep.check_slots()

    def clock_moved(self) -> None:
        moved_by, self._offset = self._server_time.offset - self._offset, self._server_time.offset
        self._limiter.clock_moved(moved_by)
        self._shadow.forget()
        if self._fleet_counters is not None:
            self._fleet_counters.clock_moved(moved_by)

    def pulled(self, pull: Pull) -> None:
        """Every answer to a pull, with a change or without."""
        self._governor.follow(pull.band)
        if self._fleet_counters is not None:
            self._fleet_counters.follow(pull)
