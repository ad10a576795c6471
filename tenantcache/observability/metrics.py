"""The table of metrics. docs/metrics.md, the Grafana dashboard and what is exported are made from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from tenantcache.observability.metric import Found, Kind, Merge, Metric, Reading, Section, counter, gauge, one_of
from tenantcache.observability.redismetrics import BUDGET, REDIS
from tenantcache.observability.valuemetrics import VALUES
from tenantcache.stats import CounterStats, HealthState, RedisState, StoreName, WarmUpState

LEAST, MOST, EACH = Merge.LEAST, Merge.MOST, Merge.EACH


def _lookups(reading: Reading) -> Found:
    found: dict[tuple[str, str], float] = {
        (tier, result): float(count)
        for tier, results in reading.stats["lookups"]["answers"].items()
        for result, count in results.items()
    }
    found["memory", "found"] += reading.stats["limits"]["fast"]
    return found


def _decisions(reading: Reading) -> Found:
    found: dict[tuple[str, str], float] = {
        (limit, result): float(count)
        for limit, results in reading.stats["limits"]["decisions"].items()
        for result, count in results.items()
    }
    return found


def _evictions(reading: Reading) -> Found:
    memory = reading.stats["memory"]
    return {"full": memory["displaced"], "expired": memory["evictions"] - memory["displaced"]}


def _entries(reading: Reading) -> Found:
    memory = reading.stats["memory"]
    return {"tenants": memory["tenants"], "unknown": memory["negatives"]}


def _counters(reading: Reading) -> CounterStats | None:
    return reading.stats["limits"]["counters"]


def _store(reading: Reading) -> Found:
    counters = _counters(reading)
    return None if counters is None else one_of((*get_args(StoreName), "unknown"), counters["store"] or "unknown")


def _store_states(reading: Reading) -> Found:
    if (counters := _counters(reading)) is None:
        return None
    postgres = one_of(("answering", "failing"), counters["postgres"])
    redis = one_of(get_args(RedisState), counters["redis"])
    return {("postgres", state): value for state, value in postgres.items()} | {
        ("redis", state): value for state, value in redis.items()
    }


LOOKUPS = Section(
    "Lookups",
    (
        counter(
            "tenantcache_lookups",
            "Lookups of hosts and names, by the tier that answered and by what came of it.",
            _lookups,
            "tier",
            "result",
        ),
        counter(
            "tenantcache_lookup_failures",
            "Lookups that were refused because no store could answer.",
            lambda reading: reading.stats["lookups"]["failed"],
        ),
        counter(
            "tenantcache_lookups_over_budget",
            "Lookups of unknown hosts that were put off to spare Postgres.",
            lambda reading: reading.stats["lookups"]["over_budget"],
        ),
        counter(
            "tenantcache_loads",
            "Names that were looked up in Redis or Postgres.",
            lambda reading: reading.stats["lookups"]["loads"],
        ),
        gauge(
            "tenantcache_loads_in_flight",
            "Names that are being looked up in Redis or Postgres.",
            lambda reading: reading.stats["lookups"]["in_flight"],
        ),
        counter(
            "tenantcache_copies_refused",
            "Copies of tenants in Redis that were too old to be used.",
            lambda reading: reading.stats["lookups"]["redis_refused"],
        ),
        counter(
            "tenantcache_refusals",
            "Requests that were answered in place of the application, by reason.",
            lambda reading: {str(reason): count for reason, count in _numbers(reading.stats["refusals"]).items()},
            "reason",
        ),
        counter(
            "tenantcache_postgres_queries",
            "Statements on the connections of lookups, limits and usage.",
            lambda reading: reading.stats["postgres"]["queries"],
        ),
    ),
)

MEMORY = Section(
    "Memory",
    (
        gauge("tenantcache_memory_entries", "Entries in memory: of tenants, and of unknown hosts.", _entries, "kind"),
        gauge(
            "tenantcache_memory_max_entries",
            "Entries of tenants that memory has room for.",
            lambda reading: reading.stats["memory"]["max_tenants"],
        ),
        counter(
            "tenantcache_memory_evictions",
            "Entries of tenants that left memory because it was full, or because they had expired.",
            _evictions,
            "reason",
        ),
        gauge(
            "tenantcache_warm_up",
            "Processes by how far memory is filled at the start.",
            lambda reading: one_of(get_args(WarmUpState), reading.stats["lookups"]["warm_up"]),
            "state",
        ),
        counter(
            "tenantcache_warmed_up_tenants",
            "Tenants that the start has put into memory.",
            lambda reading: reading.stats["lookups"]["warmed_up"],
        ),
        gauge(
            "tenantcache_host_index_ready",
            "Whether the index of known hosts is loaded, in all processes.",
            lambda reading: reading.stats["index"]["ready"],
            merge=LEAST,
        ),
        gauge(
            "tenantcache_host_index_hosts",
            "Hosts that the index held when it was loaded.",
            lambda reading: reading.stats["index"]["hosts"],
            merge=MOST,
        ),
        gauge(
            "tenantcache_host_index_bytes",
            "Size of the index of known hosts.",
            lambda reading: reading.stats["index"]["bytes"],
        ),
        counter(
            "tenantcache_host_index_loads",
            "How often the index of known hosts was loaded.",
            lambda reading: reading.stats["index"]["loads"],
        ),
    ),
)

FRESHNESS = Section(
    "Freshness",
    (
        gauge(
            "tenantcache_memory_valid",
            "Whether memory is known to be fresh, in all processes.",
            lambda reading: reading.stats["freshness"]["valid"],
            merge=LEAST,
        ),
        gauge(
            "tenantcache_log_age_seconds",
            "Time since the look at the change log that vouches for memory: no answer is older while memory is valid.",
            lambda reading: reading.stats["freshness"]["age"],
            merge=EACH,
        ),
        gauge(
            "tenantcache_log_following",
            "Whether the change log is followed, by all processes.",
            lambda reading: reading.stats["freshness"]["following"],
            merge=LEAST,
        ),
        gauge(
            "tenantcache_log_fault",
            "Whether a process has found that the change log cannot be relied on.",
            lambda reading: reading.stats["freshness"]["fault"] is not None,
            merge=MOST,
        ),
        gauge(
            "tenantcache_log_applied",
            "Number of the newest entry of the change log that every process has applied.",
            lambda reading: reading.stats["freshness"]["applied"],
            merge=LEAST,
        ),
        counter(
            "tenantcache_log_pulls",
            "Looks at the change log.",
            lambda reading: reading.stats["freshness"]["pulls"],
        ),
        gauge(
            "tenantcache_fleet_processes",
            "Processes of the fleet that follow the change log.",
            lambda reading: reading.stats["freshness"]["processes"],
            merge=MOST,
        ),
    ),
)

LIMITS = Section(
    "Limits",
    (
        counter(
            "tenantcache_limit_decisions",
            "Decisions of limits, by limit (the tenant's own, or the name of another one) and result.",
            _decisions,
            "limit",
            "result",
        ),
        counter(
            "tenantcache_limit_violations",
            "Refusals by the policy that refused.",
            lambda reading: {policy: float(count) for policy, count in reading.stats["limits"]["violated"].items()},
            "policy",
        ),
        counter(
            "tenantcache_limit_shadowed",
            "Requests that were let through because limits are only watched.",
            lambda reading: reading.stats["limits"]["shadowed"],
        ),
        counter(
            "tenantcache_limit_takes",
            "Takes of tokens from the counters.",
            lambda reading: reading.stats["limits"]["takes"],
        ),
        counter(
            "tenantcache_limit_take_errors",
            "Takes of tokens that failed.",
            lambda reading: reading.stats["limits"]["errors"],
        ),
        gauge(
            "tenantcache_limit_degraded",
            "Processes whose takes have failed, without one that succeeded since.",
            lambda reading: reading.stats["limits"]["degraded"],
        ),
        gauge(
            "tenantcache_limited_tenants",
            "Tenants whose tokens are counted.",
            lambda reading: reading.stats["limits"]["tenants"],
        ),
        gauge(
            "tenantcache_usage_waiting",
            "Tenants and days whose usage is not in Postgres yet.",
            lambda reading: reading.stats["usage"]["waiting"],
        ),
        counter(
            "tenantcache_usage_batches",
            "Batches of usage that were sent to Postgres.",
            lambda reading: reading.stats["usage"]["batches"],
        ),
    ),
)

COUNTERS = Section(
    "Counter stores",
    (
        gauge("tenantcache_counter_store", "Processes by the store that counts limits for them.", _store, "store"),
        counter(
            "tenantcache_counter_store_changes",
            "Changes of the store that counts, each counted by every process that has seen it.",
            lambda reading: None if (counters := _counters(reading)) is None else counters["changes"],
        ),
        gauge(
            "tenantcache_counter_store_since_timestamp_seconds",
            "Since when that store counts, in seconds since the Unix epoch.",
            lambda reading: None if (counters := _counters(reading)) is None else counters["since"],
            merge=MOST,
        ),
        gauge(
            "tenantcache_counter_store_isolated",
            "Processes that see no store that counts.",
            lambda reading: None if (counters := _counters(reading)) is None else counters["isolated"],
        ),
        gauge(
            "tenantcache_counter_store_state",
            "Processes by the state in which they see each store of counters.",
            _store_states,
            "store",
            "state",
        ),
    ),
)

PROCESS = Section(
    "Processes",
    (
        gauge(
            "tenantcache_state",
            "Processes by whether their engine can do its work.",
            lambda reading: one_of(get_args(HealthState), reading.stats["state"]),
            "state",
        ),
        gauge("tenantcache_workers", "Processes whose metrics these are.", lambda reading: 1),
        gauge(
            "tenantcache_info",
            "Versions and settings of the processes, which are always 1.",
            lambda reading: {(reading.version, reading.limits): 1.0},
            "version",
            "limits",
            merge=MOST,
        ),
        Metric(
            "tenantcache_event_loop_lag_seconds",
            Kind.HISTOGRAM,
            "Time by which the event loop was late.",
            lambda reading: reading.loop_lag,
            ("le",),
        ),
        counter(
            "tenantcache_snapshot_failures",
            "Snapshots for the other processes of this machine that could not be written.",
            lambda reading: reading.snapshot_failures,
        ),
    ),
)

TENANT_REQUESTS = Metric(
    "tenantcache_tenant_requests",
    Kind.COUNTER,
    "Requests of the busiest tenants that were admitted, and of all others. Only if it was asked for.",
    lambda reading: reading.tenants or None,
    ("tenant",),
    EACH,
)
"""The only one that names tenants."""

TENANTS = Section("Tenants", (TENANT_REQUESTS,))

SECTIONS = (LOOKUPS, MEMORY, FRESHNESS, LIMITS, COUNTERS, REDIS, BUDGET, VALUES, PROCESS, TENANTS)

METRICS = tuple(metric for section in SECTIONS for metric in section.metrics)


def _numbers(counts: Mapping[str, object]) -> dict[str, float]:
    return {name: float(count) for name, count in counts.items() if isinstance(count, int)}
