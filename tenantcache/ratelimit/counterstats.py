"""What operators are told of the counter stores."""

from __future__ import annotations

from typing import Literal, TypedDict

from tenantcache.ratelimit.core.agreement import Store
from tenantcache.ratelimit.core.failover import Failover
from tenantcache.ratelimit.core.redishealth import RedisReport
from tenantcache.ratelimit.core.windows import MINUTE, minute_at


class CounterStats(TypedDict):
    """`stats()["limits"]["counters"]`. Times are server time, in seconds since the Unix epoch."""

    store: Store | None
    """The store that counts this minute; None if the fleet has not chosen one."""
    alone: bool
    """Whether this process sees neither store, and decides by itself from the next minute on."""
    known: bool
    """Whether this process knows which store counts this minute."""
    since: int
    why: str
    changes_to: Store | None
    changes_at: float | None
    postgres: Literal["answering", "failing"]
    redis: RedisReport


def counter_stats(failover: Failover, now: float) -> CounterStats:
    choice, begins = failover.choice, failover.begins(now)
    return {
        "store": choice.store if begins is None else choice.previous,
        "alone": failover.is_isolated(now),
        "known": failover.store_of(minute_at(now)) is not None,
        "since": (choice.from_minute if begins is None else choice.previous_from) * MINUTE,
        "why": choice.why,
        "changes_to": None if begins is None else choice.store,
        "changes_at": begins,
        "postgres": "failing" if failover.postgres_fails else "answering",
        "redis": failover.redis.describe(now),
    }
