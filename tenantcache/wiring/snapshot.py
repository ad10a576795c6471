"""The statistics of an engine, collected from its parts."""

from __future__ import annotations

from tenantcache.budget.core.meter import Meter
from tenantcache.stats import LinkStats, Stats
from tenantcache.wiring.parts import Parts

NO_REDIS: LinkStats = {"billed_commands": 0, "breaker": "closed", "billed_by_purpose": Meter().stats()}


def stats_of(parts: Parts) -> Stats:
    """As `TenantCache.stats`. No I/O."""
    link, postgres, in_loop = parts.stores.link, parts.stores.postgres, parts.in_loop
    counters = None if parts.fleet_counters is None else parts.fleet_counters.stats()
    return {
        "memory": parts.memory.stats(),
        "lookups": {
            **in_loop.resolver.stats(),
            "warm_up": in_loop.warm_up.state,
            "warmed_up": in_loop.warm_up.tenants,
        },
        "freshness": {**parts.freshness.stats(parts.clock()), **in_loop.follower.stats()},
        "index": in_loop.indexer.stats(),
        "limits": {**parts.limiter.stats(), "shadowed": parts.shadow.count, "counters": counters},
        "usage": parts.usage.stats(),
        "values": parts.values.stats(),
        "redis": {
            "configured": link is not None,
            **(NO_REDIS if link is None else link.stats()),
            **parts.governor.stats(),
        },
        "postgres": {"queries": 0 if postgres is None else postgres.queries},
    }
