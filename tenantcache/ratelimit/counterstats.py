"""What operators are told of the counter stores."""

from __future__ import annotations

from tenantcache.ratelimit.core.failover import Failover
from tenantcache.ratelimit.core.windows import MINUTE, minute_at
from tenantcache.stats import CounterStats


def counter_stats(failover: Failover, changes: int, now: float) -> CounterStats:
    """`changes` of the store were seen here."""
    choice, begins = failover.choice, failover.begins(now)
    return {
        "store": choice.store if begins is None else choice.previous,
        "isolated": failover.is_isolated(now),
        "known": failover.store_of(minute_at(now)) is not None,
        "since": (choice.from_minute if begins is None else choice.previous_from) * MINUTE,
        "why": choice.why,
        "changes_to": None if begins is None else choice.store,
        "changes_at": begins,
        "changes": changes,
        "postgres": "failing" if failover.postgres_fails else "answering",
        "redis": failover.redis.describe(now),
    }
