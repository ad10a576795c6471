"""What `TenantCache.stats` returns: a dict of dicts, with a type. docs/api.md says what each key counts.

Counts are since the start of this process; states are as they are now. Everything is ready for JSON.
"""

from __future__ import annotations

from typing import Literal, TypedDict

__all__ = ["HealthState", "Stats"]


class MemoryStats(TypedDict):
    """The tier in the process, in entries: one for each alias that leads to a tenant, or to none."""

    tenants: int
    max_tenants: int
    negatives: int
    evictions: int
    displaced: int


Tier = Literal["memory", "index", "redis", "postgres"]
AnswerResult = Literal["found", "unknown", "stale"]


class AnswerStats(TypedDict):
    """What answered lookups, and how many no store could."""

    failed: int
    answers: dict[Tier, dict[AnswerResult, int]]


class ResolverStats(AnswerStats):
    """Lookups. Apart from `answers`, those that memory did not answer."""

    loads: int
    ruled_out: int
    over_budget: int
    redis_hits: int
    redis_refused: int
    stale_served: int
    in_flight: int


WarmUpState = Literal["off", "filling", "taking tokens", "complete", "full", "too many", "failed"]


class LookupStats(ResolverStats):
    """All lookups, and what came by the stream that warms memory up."""

    warm_up: WarmUpState
    warmed_up: int


class ValidityStats(TypedDict):
    """Whether memory may be served: `valid_for` and `age` in seconds, `applied` is the number of a log entry."""

    valid: bool
    valid_for: float
    age: float | None
    applied: int


class FollowerStats(TypedDict):
    """How this process follows the log."""

    following: bool
    pulls: int
    processes: int
    fault: str | None
    last_error: str | None


class FreshnessStats(ValidityStats, FollowerStats):
    """What vouches for memory."""


class IndexStats(TypedDict):
    """The index of known hosts."""

    ready: bool
    hosts: int
    bytes: int
    loads: int


StoreName = Literal["redis", "postgres"]
RedisState = Literal["none", "answering", "failing", "gone", "refusing", "suspended"]


class CounterStats(TypedDict):
    """Which store counts limits. `since` and `changes_at` are server times, in seconds since the Unix epoch."""

    store: StoreName | None
    isolated: bool
    known: bool
    since: int
    why: str
    changes_to: StoreName | None
    changes_at: float | None
    changes: int
    postgres: Literal["answering", "failing"]
    redis: RedisState


DecisionResult = Literal["admitted", "denied", "unavailable"]


class LimiterStats(TypedDict):
    """What the limiter has done."""

    tenants: int
    takes: int
    denied: int
    unavailable: int
    errors: int
    degraded: bool
    fast: int
    decisions: dict[str, dict[DecisionResult, int]]
    violated: dict[str, int]


class LimitStats(LimiterStats):
    """Limits. `counters` is None if the application brought its own counters along."""

    shadowed: int
    counters: CounterStats | None


class RefusalStats(TypedDict):
    """Requests that were answered in place of the application, by reason."""

    malformed: int
    unknown: int
    foreign: int
    suspended: int
    maintenance: int
    deleted: int
    limit: int
    route_limit: int
    lookup_unavailable: int
    limit_unavailable: int


RefusalReason = Literal[
    "malformed",
    "unknown",
    "foreign",
    "suspended",
    "maintenance",
    "deleted",
    "limit",
    "route_limit",
    "lookup_unavailable",
    "limit_unavailable",
]


class UsageStats(TypedDict):
    """Usage on its way into Postgres."""

    batches: int
    waiting: int
    requests: int


PurposeStats = TypedDict(  # one of the keys is a keyword
    "PurposeStats",
    {"lookup": int, "fill": int, "invalidation": int, "reservation": int, "return": int, "expiry": int, "probe": int},
)
"""Billed units, by what they were for."""


class LinkStats(TypedDict):
    """The connection to Redis."""

    billed_commands: int
    breaker: Literal["closed", "open", "probing"]
    breaker_openings: int
    billed_by_purpose: PurposeStats
    billed_by_command: dict[str, dict[str, int]]


class GuardrailStats(TypedDict):
    """Mistakes in the use of values: values too large for Redis, watched keys that were never asked for again, loops of
    single loads, and secrets in values and keys."""

    too_large: int
    one_time_keys: int
    loops: int
    secrets: int


class ValueStats(GuardrailStats):
    """`cache.values`, without its hits: counting them would cost each of them."""

    entries: int
    bytes: int
    evictions: int
    loads: int
    redis_hits: int
    redis_refused: int
    stale_served: int
    failed_reloads: int
    undecodable: int
    written: int
    failed_writes: int
    waiting_writes: int


BandName = Literal["normal", "thrift", "no copies", "no Redis"]


class WebhookStats(TypedDict):
    """Messages about changes of the budget's band that this process has sent."""

    sent: int
    failed: int


class GovernorStats(TypedDict):
    """The budget's band, and how often it was seen to change here."""

    band: BandName
    band_changes: int
    webhooks: WebhookStats


class RedisStats(LinkStats, GovernorStats):
    """Redis, configured or not."""

    configured: bool


class PostgresStats(TypedDict):
    """Postgres."""

    queries: int


HealthState = Literal["closed", "opening", "warming up", "ready", "stale", "lost", "closing"]
"""Whether an engine can do its work: docs/states.md says what each one means, and what follows it."""


class Stats(TypedDict):
    """A snapshot of one engine."""

    state: HealthState
    memory: MemoryStats
    lookups: LookupStats
    freshness: FreshnessStats
    index: IndexStats
    limits: LimitStats
    refusals: RefusalStats
    usage: UsageStats
    values: ValueStats
    redis: RedisStats
    postgres: PostgresStats
