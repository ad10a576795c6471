"""What an engine says of itself, put together from its parts. No I/O."""

from __future__ import annotations

from tenantcache.budget.core.meter import Meter
from tenantcache.lookup.core.readiness import readiness
from tenantcache.stats import HealthState, LinkStats, Stats
from tenantcache.wiring.parts import Parts

NO_REDIS: LinkStats = {
    "billed_commands": 0,
    "breaker": "closed",
    "breaker_openings": 0,
    "billed_by_purpose": Meter().stats(),
    "billed_by_command": {},
}


def state_of(parts: Parts) -> HealthState:
    """As `TenantCache.state`."""
    freshness, phase, warm_up = parts.freshness, parts.home.phase.value, parts.in_loop.warm_up.state
    return readiness(phase, warm_up, parts.clock(), freshness.valid_until, freshness.stale_if_error)


def stats_of(parts: Parts) -> Stats:
    """As `TenantCache.stats`."""
    link, postgres, in_loop = parts.stores.link, parts.stores.postgres, parts.in_loop
    counters = None if parts.fleet_counters is None else parts.fleet_counters.stats()
    return {
        "state": state_of(parts),
        "memory": parts.memory.stats(),
        "lookups": {
            **in_loop.resolver.stats(),
            "warm_up": in_loop.warm_up.state,
            "warmed_up": in_loop.warm_up.tenants,
        },
        "freshness": {**parts.freshness.stats(parts.clock()), **in_loop.follower.stats()},
        "index": in_loop.indexer.stats(),
        "limits": {**parts.limiter.stats(), "shadowed": parts.shadow.count, "counters": counters},
        "refusals": parts.refusals.stats(),
        "usage": parts.usage.stats(),
        "values": parts.values.stats(),
        "redis": {
            "configured": link is not None,
            **(NO_REDIS if link is None else link.stats()),
            **parts.governor.stats(),
        },
        "postgres": {"queries": 0 if postgres is None else postgres.queries},
    }
