"""Makes the parts of an engine and joins them: `assemble`.

There are two kinds of parts. Those of `Parts` live as long as the engine. Those of `InLoop` wait for one another, so
they belong to one event loop, and are made anew in another one (`Parts.renew`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from tenantcache.admin.domains import Domains
from tenantcache.admin.plannames import PlanNames
from tenantcache.admin.registry import Registry
from tenantcache.admin.tenants import Tenants
from tenantcache.admin.usage import Usage
from tenantcache.admin.usagestore import UsageStore
from tenantcache.admin.writethrough import WriteThrough
from tenantcache.freshness.core.freshness import Freshness
from tenantcache.freshness.core.servertime import ServerTime
from tenantcache.freshness.follower import Follower
from tenantcache.freshness.log import ChangeKind, ChangeLog, LogEntry, Pull
from tenantcache.lookup.core.hosts import HostRules
from tenantcache.lookup.core.lookupbudget import LookupBudget
from tenantcache.lookup.fastpaths import FastPaths
from tenantcache.lookup.indexer import Indexer
from tenantcache.lookup.memory import Memory
from tenantcache.lookup.resolver import Resolver
from tenantcache.lookup.sources import CopyStore, HostSource, RowSource, TenantStore
from tenantcache.lookup.warmup import WarmUp
from tenantcache.ratelimit.counters import FleetCounters
from tenantcache.ratelimit.counterstore import CounterStore
from tenantcache.ratelimit.limiter import Limiter
from tenantcache.ratelimit.shadow import ShadowLog
from tenantcache.runtime.clock import Clock
from tenantcache.runtime.eventloops import Home
from tenantcache.settings.model import Settings
from tenantcache.stores.changelog import PostgresLog
from tenantcache.stores.counterchoice import PostgresChoices
from tenantcache.stores.counters import PostgresCounters
from tenantcache.stores.postgres import PostgresTenants
from tenantcache.stores.redis import RedisCopies, RedisCounters, RedisLink
from tenantcache.stores.registry import PostgresRegistry
from tenantcache.stores.usage import PostgresUsage
from tenantcache.tenant import Tenant

SYNC_TIMEOUT = 2.0
"""Seconds that `TenantCache.sync` waits for the log."""

LOOKUPS_PER_SECOND, LOOKUP_BURST = 200.0, 1_000.0
"""Lookups of hosts that are neither in memory nor ruled out by the index. A process that starts cold meets its
tenants a thousand at once at most; a flood is worth 200 cheap queries a second, not more."""

COPY_LIFE_MARGIN = 60.0
"""Seconds that a copy may be on its way into Redis before its TTL begins to count."""


@dataclass(slots=True)
class Stores:
    """What the engine stands on. `link` is the connection behind `copies` and `counters`, if that is Redis.

    `registry` writes tenants, and `usage` what they used; without one, nothing is written.
    `rows` is what memory is warmed up from, if that is wanted.
    """

    tenants: TenantStore
    hosts: HostSource
    log: ChangeLog
    counters: CounterStore
    copies: CopyStore | None = None
    registry: Registry = field(default_factory=lambda: PostgresRegistry(None))
    usage: UsageStore | None = None
    postgres: PostgresTenants | None = None
    link: RedisLink | None = None
    rows: RowSource | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        postgres = PostgresTenants(settings.database_url)
        log = PostgresLog(settings.database_url, listen_url=settings.listen_url)
        registry, usage = PostgresRegistry(postgres), PostgresUsage(postgres)
        in_postgres, choices = PostgresCounters(postgres), PostgresChoices(postgres)
        if settings.redis_url is None:
            alone = FleetCounters(None, in_postgres, choices)
            return cls(postgres, postgres, log, alone, None, registry, usage, postgres, None, postgres)
        link = RedisLink(settings.redis_url, prefix=settings.key_prefix)
        copies = RedisCopies(
            link, prefix=settings.key_prefix, ttl=settings.redis_ttl, max_value_bytes=settings.max_value_bytes
        )
        in_redis = RedisCounters(link, prefix=settings.key_prefix)
        counters = FleetCounters(in_redis, in_postgres, choices, link)
        return cls(postgres, postgres, log, counters, copies, registry, usage, postgres, link, postgres)


class InLoop:
    """The parts of one event loop, as `Parts.renew` has made them. What outlives a loop asks its follower here."""

    indexer: Indexer
    resolver: Resolver
    warm_up: WarmUp
    follower: Follower

    def __init__(self, home: Home) -> None:
        self._home = home

    def count_processes(self) -> int:
        """The size of the fleet."""
        return self.follower.processes

    def wake_follower(self) -> None:
        self.follower.wake()

    async def sync(self) -> None:
        """Return once every change committed before this call has been applied.

        Raises `StoreUnavailableError` if the log cannot be read, and `NotOpenError`.
        """
        self._home.require_open()
        await self.follower.sync(SYNC_TIMEOUT)


class Changes:
    """Acts on what the follower finds: the `ChangeSink` of every follower that the engine has."""

    def __init__(
        self,
        in_loop: InLoop,
        limiter: Limiter,
        shadow: ShadowLog,
        server_time: ServerTime,
        fleet_counters: FleetCounters | None,
    ) -> None:
        self._in_loop = in_loop
        self._limiter = limiter
        self._shadow = shadow
        self._server_time = server_time
        self._fleet_counters = fleet_counters
        self._offset = server_time.offset

    def changed(self, entry: LogEntry) -> None:
        self._in_loop.resolver.changed(entry)
        self._in_loop.indexer.changed(entry)
        if entry.kind is ChangeKind.RESET:
            self._limiter.restart(entry.tenant_id)

    def flush(self) -> None:
        self._in_loop.resolver.flush()
        self._in_loop.indexer.flush()

    def clock_moved(self) -> None:
        moved_by, self._offset = self._server_time.offset - self._offset, self._server_time.offset
        self._limiter.clock_moved()
        self._shadow.forget()
        if self._fleet_counters is not None:
            self._fleet_counters.clock_moved(moved_by)

    def pulled(self, pull: Pull) -> None:
        """Every answer to a pull, with a change or without."""
        if self._fleet_counters is not None:
            self._fleet_counters.follow(pull)


@dataclass(frozen=True, slots=True)
class Parts:
    """What an engine is made of. `fleet_counters` is None if the application brought its own counters along.

    `server_now` gives the database server's time as it is known here, in seconds since the Unix epoch.
    """

    settings: Settings
    stores: Stores
    clock: Clock
    server_now: Callable[[], float]
    home: Home
    hosts: HostRules
    freshness: Freshness
    server_time: ServerTime
    memory: Memory
    limiter: Limiter
    fast_paths: FastPaths
    fleet_counters: FleetCounters | None
    shadow: ShadowLog
    usage: Usage
    tenants: Tenants
    domains: Domains
    plan_names: PlanNames
    changes: Changes
    in_loop: InLoop

    def renew(self) -> None:
        """Make the parts that belong to one event loop."""
        made, settings, stores = self.in_loop, self.settings, self.stores
        made.indexer = Indexer(stores.hosts, self.freshness, clock=self.clock, max_hosts=settings.host_index_max_hosts)
        made.resolver = Resolver(
            stores.tenants,
            stores.copies,
            self.memory,
            self.freshness,
            settings.limit_table,
            on_read=self._put_in_force,
            known=made.indexer,
            budget=LookupBudget(LOOKUPS_PER_SECOND, LOOKUP_BURST),
            on_timeline=made.wake_follower,
            clock=self.clock,
        )
        rows, most = stores.rows if settings.warm_up else None, settings.memory_max_tenants
        made.warm_up = WarmUp(
            rows,
            made.resolver,
            self.memory,
            self._is_valid,
            made.sync,
            most=most,
            partly=settings.warm_up is True,
        )
        made.follower = Follower(
            stores.log,
            self.freshness,
            self.server_time,
            self.changes,
            clock=self.clock,
            tail_age=settings.redis_ttl + COPY_LIFE_MARGIN,
            pull_interval=min(1.0, settings.max_staleness / 3),
            on_pull=self.changes.pulled,
        )

    def _put_in_force(self, tenant: Tenant) -> None:
        self.plan_names.note(tenant)
        self.limiter.update(tenant)

    def _is_valid(self) -> bool:
        return self.freshness.is_valid(self.clock())


def assemble(settings: Settings, stores: Stores, clock: Clock, home: Home) -> Parts:
    """Make all parts of an engine. No I/O."""
    hosts = HostRules(settings.base_domains, settings.reserved_subdomains, settings.base_domain_tenant)
    server_time = ServerTime(offset=time.time() - clock())

    def server_now() -> float:
        return clock() + server_time.offset

    memory = _make_memory(settings, clock)
    in_loop, shadow = InLoop(home), ShadowLog()
    limiter = _make_limiter(settings, stores.counters, memory, server_now, in_loop)
    fleet_counters = stores.counters if isinstance(stores.counters, FleetCounters) else None
    write_through = WriteThrough(stores.tenants, stores.copies, in_loop.sync)
    freshness = Freshness(max_staleness=settings.max_staleness, stale_if_error=settings.stale_if_error)
    parts = Parts(
        settings=settings,
        stores=stores,
        clock=clock,
        server_now=server_now,
        home=home,
        hosts=hosts,
        freshness=freshness,
        server_time=server_time,
        memory=memory,
        limiter=limiter,
        fast_paths=FastPaths(
            memory, freshness, server_time, reservation_of=limiter.meter_of, is_elsewhere=home.is_elsewhere
        ),
        fleet_counters=fleet_counters,
        shadow=shadow,
        usage=_make_usage(settings, stores.usage, limiter, server_now, home),
        tenants=Tenants(stores.registry, write_through, hosts, settings.limit_table, home.require_open),
        domains=Domains(stores.registry, write_through, hosts, home.require_open),
        plan_names=PlanNames(settings.plans),
        changes=Changes(in_loop, limiter, shadow, server_time, fleet_counters),
        in_loop=in_loop,
    )
    parts.renew()
    return parts


def _make_memory(settings: Settings, clock: Clock) -> Memory:
    return Memory(
        max_tenants=settings.memory_max_tenants,
        ttl=settings.memory_ttl,
        grace=settings.stale_if_error,
        negative_ttl=settings.negative_ttl,
        clock=clock,
    )


def _make_usage(
    settings: Settings, store: UsageStore | None, limiter: Limiter, server_now: Callable[[], float], home: Home
) -> Usage:
    return Usage(
        store,
        limiter.drain,
        server_now=server_now,
        interval=settings.usage_interval,
        require_here=home.require_here,
    )


def _make_limiter(
    settings: Settings, store: CounterStore, memory: Memory, server_now: Callable[[], float], in_loop: InLoop
) -> Limiter:
    def newest(tenant: Tenant) -> Tenant:
        held = memory.of_tenant(tenant.id)
        return held[-1].tenant or tenant if held else tenant

    limiter = Limiter(
        store,
        server_now=server_now,
        processes=in_loop.count_processes,
        on_error=settings.on_limiter_error,
        enforced=settings.limits != "off",
        sliding=settings.minute_window == "sliding",
        counts_unlimited=settings.usage_interval > 0,
        newest=newest,
        is_cached=lambda tenant_id: bool(memory.of_tenant(tenant_id)),
    )
    if isinstance(store, FleetCounters):
        limiter.share_counters(store.version_of, store.note_lost, store.horizon)
        limiter.local_share.place = store.holder.place
        store.holder.count_granted = limiter.hand_over
    return limiter
