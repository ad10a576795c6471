"""The parts of an engine that follow and look up, over simulated servers. Put together as the engine does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypedDict, Unpack

from tenantcache.freshness.core.freshness import Freshness
from tenantcache.freshness.core.servertime import ServerTime
from tenantcache.freshness.follower import Follower
from tenantcache.freshness.puller import ChangeSink
from tenantcache.lookup.core.lookupbudget import LookupBudget
from tenantcache.lookup.fastpaths import FastPaths
from tenantcache.lookup.indexer import Indexer
from tenantcache.lookup.memory import Memory
from tenantcache.lookup.resolver import Resolver
from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.tenant import Limits
from tests.freshness.database import LIMITS, Database
from tests.freshness.network import Link, Redis, SimulatedCopies, SimulatedLog, SimulatedTenants

MAX_STALENESS = 3.0
REDIS_TTL = 20.0


class Sizes(TypedDict, total=False):
    """Small ones bring out what otherwise happens once in a million requests.

    `has_refresher`: entries past `memory_ttl` are read again in the background, as the engine does it; without it only
    a test does that. `hot_only`: what is in memory is looked at as hot requests do, who never touch the cache.
    """

    max_tenants: int
    memory_ttl: float
    negative_ttl: float
    redis_ttl: float
    max_floors: int
    has_index: bool
    stale_if_error: float
    lookups: float
    has_refresher: bool
    hot_only: bool


@dataclass(frozen=True)
class Servers:
    """The links to them are the process's own: "log", "tenants" and "redis"."""

    database: Database
    redis: Redis
    links: Mapping[str, Link]


class Parts:
    def __init__(self, servers: Servers, sink: ChangeSink, clock: Callable[[], float], **sizes: Unpack[Sizes]) -> None:
        links, grace = servers.links, sizes.get("stale_if_error", 0.0)
        max_floors, lookups = sizes.get("max_floors", 50_000), sizes.get("lookups", 1000.0)
        self.freshness = Freshness(max_staleness=MAX_STALENESS, stale_if_error=grace, max_floors=max_floors)
        self.memory = Memory(
            max_tenants=sizes.get("max_tenants", 100),
            ttl=sizes.get("memory_ttl", 300.0),
            grace=grace,
            negative_ttl=sizes.get("negative_ttl", 60.0),
            clock=clock,
            max_negatives=4,
        )
        tenants = SimulatedTenants(links["tenants"], servers.database)
        max_hosts = 1000 if sizes.get("has_index") else 0
        self.indexer = Indexer(tenants, self.freshness, clock=clock, max_hosts=max_hosts)
        self.resolver = Resolver(
            tenants,
            SimulatedCopies(links["redis"], servers.redis),
            self.memory,
            self.freshness,
            LIMITS,
            on_read=lambda _tenant: None,
            known=self.indexer,
            budget=LookupBudget(lookups, lookups),
            on_timeline=self._wake_follower,
            clock=clock,
        )
        self.server_time = ServerTime(0.0)
        unlimited = Reservation(Limits(), 0.0)
        self.fast_paths = FastPaths(
            self.memory,
            self.freshness,
            self.server_time,
            reservation_of=lambda _tenant: unlimited,
            is_elsewhere=lambda: False,
        )
        tail_age = sizes.get("redis_ttl", REDIS_TTL) + 60.0
        log = SimulatedLog(links["log"], servers.database)
        self.follower = Follower(log, self.freshness, self.server_time, sink, clock=clock, tail_age=tail_age)

    # The follower is made last, of parts that need it.
    def _wake_follower(self) -> None:
        self.follower.wake()
