"""All parts of an engine.

There are two kinds. Those of `Parts` live as long as the engine. Those of `InLoop` wait for one another, so they belong
to one event loop, and are made anew in another one (`Parts.renew`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from tenantcache.admin.domains import Domains
from tenantcache.admin.plannames import PlanNames
from tenantcache.admin.tenants import Tenants
from tenantcache.admin.usage import Usage
from tenantcache.budget.fleetuse import FleetUse
from tenantcache.budget.governor import Governor
from tenantcache.errors import StoreError
from tenantcache.fleet.reports import Reports
from tenantcache.freshness.core.freshness import Freshness
from tenantcache.freshness.core.servertime import ServerTime
from tenantcache.freshness.follower import Follower
from tenantcache.lookup.core.copies import thrifty_life
from tenantcache.lookup.core.hosts import HostRules
from tenantcache.lookup.core.lookupbudget import LookupBudget
from tenantcache.lookup.fastpaths import FastPaths
from tenantcache.lookup.indexer import Indexer
from tenantcache.lookup.memory import Memory
from tenantcache.lookup.resolver import Resolver
from tenantcache.lookup.warmup import WarmUp
from tenantcache.ratelimit.counters import FleetCounters
from tenantcache.ratelimit.limiter import Limiter
from tenantcache.ratelimit.shadow import ShadowLog
from tenantcache.runtime.clock import Clock
from tenantcache.runtime.eventloops import Home
from tenantcache.settings.model import Settings
from tenantcache.tenant import Tenant
from tenantcache.values.values import Values
from tenantcache.wiring.changes import Changes
from tenantcache.wiring.inloop import InLoop
from tenantcache.wiring.refusals import Refusals
from tenantcache.wiring.stores import Stores

LOOKUPS_PER_SECOND, LOOKUP_BURST = 200.0, 1_000.0
"""Lookups of hosts that are neither in memory nor ruled out by the index. A process that starts cold meets its
tenants a thousand at once at most; a flood is worth 200 cheap queries a second, not more."""

COPY_LIFE_MARGIN = 60.0
"""Seconds that a copy may be on its way into Redis before its TTL begins to count."""


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
    governor: Governor
    tenants: Tenants
    domains: Domains
    plan_names: PlanNames
    values: Values
    changes: Changes
    in_loop: InLoop
    reports: Reports
    refusals: Refusals = field(default_factory=Refusals)

    @property
    def fleet_use(self) -> FleetUse:
        return self.governor.fleet_use

    async def _take_first_tokens(self) -> None:
        """For the tenants that are in memory. Without an answer, requests take them."""
        with suppress(StoreError):
            await self.limiter.warm(self.memory.tenants())

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
            tracing=stores.tracing,
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
            take_tokens=self._take_first_tokens,
        )
        made.follower = Follower(
            stores.log,
            self.freshness,
            self.server_time,
            self.changes,
            clock=self.clock,
            tail_age=self._longest_copy_life() + COPY_LIFE_MARGIN,
            pull_interval=min(1.0, settings.max_staleness / 3),
            on_pull=self.changes.pulled,
            tracing=stores.tracing,
            on_beat=self.reports.watch,
        )

    def _longest_copy_life(self) -> float:
        ttl = self.settings.redis_ttl
        return ttl if self.fleet_use.budget is None else thrifty_life(ttl)

    def _put_in_force(self, tenant: Tenant) -> None:
        self.plan_names.note(tenant)
        self.limiter.update(tenant)

    def _is_valid(self) -> bool:
        return self.freshness.is_valid(self.clock())
