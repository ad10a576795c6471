"""The metrics of the values that the application caches."""

from __future__ import annotations

from collections.abc import Mapping

from tenantcache.observability.metric import Reading, Section, counter, gauge


def _copies(reading: Reading) -> Mapping[str, int]:
    stats = reading.stats["values"]
    return {"found": stats["redis_hits"], "refused": stats["redis_refused"], "undecodable": stats["undecodable"]}


def _writes(reading: Reading) -> Mapping[str, int]:
    stats = reading.stats["values"]
    return {"written": stats["written"], "given up": stats["failed_writes"]}


def _misuses(reading: Reading) -> Mapping[str, int]:
    stats = reading.stats["values"]
    return {"one-time keys": stats["one_time_keys"], "loops": stats["loops"], "secrets": stats["secrets"]}


VALUES = Section(
    "Values",
    (
        gauge(
            "tenantcache_values_entries",
            "Values of the application in memory.",
            lambda reading: reading.stats["values"]["entries"],
        ),
        gauge(
            "tenantcache_values_bytes",
            "Their size, about.",
            lambda reading: reading.stats["values"]["bytes"],
        ),
        counter(
            "tenantcache_values_evictions",
            "Values that left memory because it was full.",
            lambda reading: reading.stats["values"]["evictions"],
        ),
        counter(
            "tenantcache_values_loads",
            "Values that were asked of the application's loaders.",
            lambda reading: reading.stats["values"]["loads"],
        ),
        counter(
            "tenantcache_values_load_failures",
            "Loads that failed while the old value was still served.",
            lambda reading: reading.stats["values"]["failed_reloads"],
        ),
        counter(
            "tenantcache_values_stale_served",
            "Values that were served while they were loaded again.",
            lambda reading: reading.stats["values"]["stale_served"],
        ),
        counter("tenantcache_values_copies", "Copies of values in Redis, by what came of them.", _copies, "result"),
        counter(
            "tenantcache_values_too_large",
            "Values that were not stored in Redis, or not kept in memory, because of their size.",
            lambda reading: reading.stats["values"]["too_large"],
        ),
        counter("tenantcache_values_writes", "Values of `write_later`, by what came of them.", _writes, "result"),
        gauge(
            "tenantcache_values_waiting_writes",
            "Values of `write_later` that are not written yet.",
            lambda reading: reading.stats["values"]["waiting_writes"],
        ),
        counter(
            "tenantcache_values_misuses",
            "What makes values cost more than they save, by what it is.",
            _misuses,
            "kind",
        ),
    ),
)
