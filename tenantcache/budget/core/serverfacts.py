"""What a Redis says of itself, read from INFO.

Servers differ in what they tell: a provider's subset leaves fields out, and a user may be forbidden to run INFO. What
is not told is None, never zero. Of a cluster, counts are the sum of its primaries.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tenantcache.budget.core.prices import FREE

_DATABASE = re.compile(r"db\d+")


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """One reading of INFO. Sizes are in bytes. `calls` has each command in upper case (CONFIG for CONFIG GET)."""

    nodes: int
    version: str | None = None
    provider: str | None = None
    uptime: int | None = None
    now_per_second: float | None = None
    processed: int | None = None
    calls: Mapping[str, int] = field(default_factory=dict)
    hits: int | None = None
    misses: int | None = None
    keys: int | None = None
    expiring: int | None = None
    mean_ttl: float | None = None
    memory: int | None = None
    memory_limit: int | None = None
    policies: frozenset[str] = frozenset()
    evicted: int | None = None
    expired: int | None = None
    clients: int | None = None
    client_limit: int | None = None
    rejected_clients: int | None = None
    refused_writes: int = 0
    network: int | None = None
    appends: bool | None = None
    failed_saves: frozenset[str] = frozenset()

    @property
    def billed(self) -> int | None:
        """Commands since the start that are billed where commands are; an upper bound if `calls` is not told."""
        if not self.calls:
            return self.processed
        return sum(calls for name, calls in self.calls.items() if name not in FREE)


def read_facts(infos: Sequence[Mapping[str, Any]], *, host: str = "") -> ServerFacts:
    """Read INFO of each primary, as redis-py parses it. `host` is the first one's: it may tell the provider."""
    first: Mapping[str, Any] = infos[0] if infos else {}
    databases = [db for info in infos for name, db in info.items() if _DATABASE.fullmatch(name)]
    # A server without keys names no database. One that tells nothing of its keyspace does neither.
    keyspace = [db for db in databases if isinstance(db, Mapping)]
    tells_keys = bool(keyspace) or _sum(infos, "keyspace_hits") is not None
    return ServerFacts(
        nodes=len(infos),
        version=_version(first),
        provider=_provider(first, host),
        uptime=_least(infos, "uptime_in_seconds"),
        now_per_second=_sum(infos, "instantaneous_ops_per_sec"),
        processed=_sum(infos, "total_commands_processed"),
        calls=_calls(infos),
        hits=_sum(infos, "keyspace_hits"),
        misses=_sum(infos, "keyspace_misses"),
        keys=(_sum(keyspace, "keys") or 0) if tells_keys else None,
        expiring=(_sum(keyspace, "expires") or 0) if tells_keys else None,
        mean_ttl=_mean_ttl(keyspace),
        memory=_sum(infos, "used_memory"),
        memory_limit=_sum(infos, "maxmemory"),
        policies=frozenset(str(info["maxmemory_policy"]) for info in infos if "maxmemory_policy" in info),
        evicted=_sum(infos, "evicted_keys"),
        expired=_sum(infos, "expired_keys"),
        clients=_sum(infos, "connected_clients"),
        client_limit=_least(infos, "maxclients"),
        rejected_clients=_sum(infos, "rejected_connections"),
        refused_writes=_sum([info["errorstat_OOM"] for info in infos if "errorstat_OOM" in info], "count") or 0,
        network=_total(_sum(infos, "total_net_input_bytes"), _sum(infos, "total_net_output_bytes")),
        appends=None if "aof_enabled" not in first else any(info.get("aof_enabled") == 1 for info in infos),
        failed_saves=frozenset(_failed_saves(infos)),
    )


def number(value: object) -> int | float | None:
    """`value` if it is a number. A server may put text into any field."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _numbers(infos: Iterable[object], name: str) -> list[int | float]:
    told = (number(info.get(name)) for info in infos if isinstance(info, Mapping))
    return [value for value in told if value is not None]


def _sum(infos: Iterable[object], name: str) -> int | None:
    values = _numbers(infos, name)
    return int(sum(values)) if values else None


def _least(infos: Iterable[object], name: str) -> int | None:
    return int(min(values)) if (values := _numbers(infos, name)) else None


def _total(*values: int | None) -> int | None:
    told = [value for value in values if value is not None]
    return sum(told) if told else None


def _calls(infos: Iterable[Mapping[str, Any]]) -> Mapping[str, int]:
    counted: dict[str, int] = {}
    for info in infos:
        for name, entry in info.items():
            calls = number(entry.get("calls")) if isinstance(entry, Mapping) else None
            if name.startswith("cmdstat_") and calls is not None:
                command = name.removeprefix("cmdstat_").partition("|")[0].upper()
                counted[command] = counted.get(command, 0) + int(calls)
    return counted


def _mean_ttl(databases: Iterable[Mapping[str, Any]]) -> float | None:
    """Seconds that keys which expire have left, on average."""
    told = [(number(db.get("avg_ttl")), number(db.get("expires"))) for db in databases]
    weighed = [(ttl / 1000, expires) for ttl, expires in told if ttl and expires]
    return sum(ttl * n for ttl, n in weighed) / sum(n for _, n in weighed) if weighed else None


def _failed_saves(infos: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    told = {"rdb_last_bgsave_status": "snapshot", "aof_last_write_status": "append-only file"}
    for info in infos:
        yield from (what for name, what in told.items() if info.get(name, "ok") != "ok")


def _version(info: Mapping[str, Any]) -> str | None:
    for field_name, name in (("valkey_version", "Valkey"), ("redis_version", "Redis")):
        if field_name in info:
            return f"{name} {info[field_name]}"
    return None


def _provider(info: Mapping[str, Any], host: str) -> str | None:
    if "upstash_version" in info:
        return "Upstash"
    if "ElastiCache" in str(info.get("os", "")):
        return "ElastiCache"
    return next((name for end, name in _HOSTS.items() if host.lower().endswith(end)), None)


_HOSTS = {
    ".upstash.io": "Upstash",
    ".cache.amazonaws.com": "ElastiCache",
    ".memorydb.amazonaws.com": "MemoryDB",
    ".redislabs.com": "Redis Cloud",
    ".redis-cloud.com": "Redis Cloud",
    ".redis.cache.windows.net": "Azure",
    ".redis.azure.net": "Azure",
    ".ondigitalocean.com": "DigitalOcean",
    ".aivencloud.com": "Aiven",
    ".render.com": "Render",
    ".rlwy.net": "Railway",
}
"""How the names of providers' hosts end."""
