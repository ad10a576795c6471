"""Rules about what INFO tells: operations, hits, keys, memory, eviction, persistence, connections.

The thresholds of operations, hit rate, keys and memory are those of the team's guide that this project began with.
"""

from __future__ import annotations

from tenantcache.budget.core.facts import Facts, KeyFacts, PatternFacts
from tenantcache.budget.core.finding import Judgement, NotKnown, crit, ok, warn
from tenantcache.budget.core.traffic import share, size

OPERATIONS_WARN, OPERATIONS_CRIT = 100.0, 1_000.0
GOOD_HIT_RATE, EFFECTIVE_HIT_RATE, ANY_HIT_RATE = 0.8, 0.5, 0.2
MIN_LOOKUPS = 100
"""Fewer lookups give no rate: a process that has just started misses everything."""

MANY_KEYS = 100_000
LARGE_MEMORY = 1 << 30
NEARLY_FULL, FULL = 0.8, 0.95
SPIKE = 3.0
"""Times the average that count as a spike, if they are over `SPIKE_LEAST` operations a second."""
SPIKE_LEAST = 10.0

INFO_IS_SILENT = "INFO does not tell"
NO_RATE = "INFO does not tell since when it counts; measure with --seconds"


def judge_operations(facts: Facts) -> Judgement:
    now, average = facts.server.now_per_second, facts.traffic.per_second(facts.traffic.processed)
    if not facts.traffic.since_start:
        now = None  # the span that was asked for says more than the last second does
    told = [rate for rate in (now, average) if rate is not None]
    if not told:
        return NotKnown(INFO_IS_SILENT)
    rate = max(told)
    evidence = "; ".join([
        *([f"{now:,.0f} a second just now"] if now is not None else []),
        *([f"{average:,.1f} a second {facts.traffic.span}"] if average is not None else []),
    ])  # fmt: skip
    if rate > OPERATIONS_CRIT:
        return crit(f"{rate:,.0f} operations a second: a loop without end?", evidence)
    if rate > OPERATIONS_WARN:
        return warn(f"{rate:,.0f} operations a second", evidence)
    return ok(f"{rate:,.3g} operations a second", evidence)


def judge_spike(facts: Facts) -> Judgement:
    now, average = facts.server.now_per_second, facts.traffic.per_second(facts.traffic.processed)
    if now is None or average is None:
        return NotKnown(INFO_IS_SILENT)
    evidence = f"{now:,.0f} operations a second just now, {average:,.1f} {facts.traffic.span}"
    if now > SPIKE_LEAST and now > SPIKE * average:
        return warn(f"{now / max(average, 0.1):,.0f} times as many operations as on average", evidence)
    return ok("No spike", evidence)


def judge_thresholds(facts: Facts) -> Judgement:
    """How far the present use is from where the other rules begin to warn."""
    average, keys, memory = facts.traffic.per_second(facts.traffic.processed), facts.server.keys, facts.server.memory
    parts = {
        "operations": None if average is None else average / OPERATIONS_WARN,
        "keys": None if keys is None else keys / MANY_KEYS,
        "memory": None if memory is None else memory / LARGE_MEMORY,
    }
    told = [f"{name} at {share(part)} of the threshold" for name, part in parts.items() if part is not None]
    if not told:
        return NotKnown(INFO_IS_SILENT)
    return ok("Compare your own alarms with the present use", ", ".join(told))


def judge_hit_rate(facts: Facts) -> Judgement:
    if facts.traffic.hits is None:
        return NotKnown(INFO_IS_SILENT)
    rate, lookups = facts.traffic.hit_rate, facts.traffic.lookups
    if rate is None or lookups < MIN_LOOKUPS:
        return ok("Too few lookups for a hit rate", f"{lookups:,} lookups {facts.traffic.span}")
    evidence = f"{facts.traffic.hits:,} of {lookups:,} lookups found their key {facts.traffic.span}"
    if rate < ANY_HIT_RATE:
        return crit(f"Hit rate {100 * rate:.3g} %: no caching, or the wrong keys", evidence)
    if rate < EFFECTIVE_HIT_RATE:
        return warn(f"Hit rate {100 * rate:.3g} %: caching does not pay", evidence)
    if rate < GOOD_HIT_RATE:
        return warn(f"Hit rate {100 * rate:.3g} %", evidence)
    return ok(f"Hit rate {100 * rate:.3g} %", evidence)


def judge_key_count(facts: Facts) -> Judgement:
    keys = facts.server.keys
    if keys is None:
        return NotKnown(f"{INFO_IS_SILENT}, and DBSIZE did not either")
    evidence = f"{keys:,} keys in all databases"
    if keys > MANY_KEYS:
        return warn(f"{keys:,} keys: a key explosion?", evidence)
    return ok(f"{keys:,} keys", evidence)


def judge_memory(facts: Facts) -> Judgement:
    memory = facts.server.memory
    if memory is None:
        return NotKnown(INFO_IS_SILENT)
    evidence = f"{size(memory)} used"
    if memory > LARGE_MEMORY:
        return warn(f"{size(memory)} of memory", evidence)
    return ok(f"{size(memory)} of memory", evidence)


def judge_room(facts: Facts) -> Judgement:
    memory, limit = facts.server.memory, facts.server.memory_limit
    if memory is None or limit is None:
        return NotKnown(INFO_IS_SILENT)
    if facts.server.refused_writes:
        return crit(
            "Writes were refused because the memory is full",
            f"{facts.server.refused_writes:,} writes refused since the start, {size(memory)} used",
        )
    if not limit:
        return ok("No limit of memory is set", f"{size(memory)} used, maxmemory is 0")
    evidence = f"{size(memory)} of {size(limit)} used"
    if memory > FULL * limit:
        return crit(f"The memory is full to {share(memory / limit)}", evidence)
    if memory > NEARLY_FULL * limit:
        return warn(f"The memory is full to {share(memory / limit)}", evidence)
    return ok(f"The memory is full to {share(memory / limit)}", evidence)


def judge_evictions(facts: Facts) -> Judgement:
    evicted = facts.traffic.evicted
    if evicted is None:
        return NotKnown(INFO_IS_SILENT)
    evidence = f"{evicted:,} keys evicted {facts.traffic.span}"
    return warn("Keys are evicted before they expire", evidence) if evicted else ok("No key was evicted", evidence)


def judge_eviction_policy(facts: Facts) -> Judgement:
    policies, limit = facts.server.policies, facts.server.memory_limit
    if not policies:
        return NotKnown(INFO_IS_SILENT)
    told = " and ".join(sorted(policies))
    evidence = f"maxmemory-policy {told}, maxmemory {size(limit) if limit else 'not set'}"
    if len(policies) > 1:
        return warn("The servers of the cluster evict by different policies", evidence)
    if not limit or told == "noeviction":
        return ok(f"Eviction policy {told}", evidence)
    keys, expiring = facts.server.keys or 0, facts.server.expiring or 0
    if told.startswith("volatile-") and keys and (keys - expiring) / keys > 0.5:
        return warn(
            f"{told} can only evict keys that expire, and most do not", f"{evidence}; {expiring:,} of {keys:,} expire"
        )
    return warn(f"{told} may evict counters, locks and queues", evidence)


def judge_persistence(facts: Facts) -> Judgement:
    server = facts.server
    if server.failed_saves:
        return crit("The last save failed", f"failed: {', '.join(sorted(server.failed_saves))}")
    if server.appends or facts.saves:
        kept = "appendonly yes" if server.appends else f"save {facts.saves}, appendonly no"
        return ok("What is written is saved", kept)
    if server.appends is None:
        return NotKnown(INFO_IS_SILENT)
    if facts.saves is None:
        return NotKnown("CONFIG is refused, and INFO does not tell when snapshots are made")
    staying = (server.keys or 0) - (server.expiring or 0)
    evidence = f"no snapshots, appendonly no; {staying:,} keys have no expiry"
    if staying:
        return warn("A restart loses keys that are meant to stay", evidence)
    return ok("A restart empties this Redis, and all of its keys expire anyway", evidence)


def judge_connections(facts: Facts) -> Judgement:
    clients, limit, rejected = facts.server.clients, facts.server.client_limit, facts.server.rejected_clients
    if clients is None:
        return NotKnown(INFO_IS_SILENT)
    evidence = f"{clients:,} connected" + (f", {limit:,} may be" if limit else "")
    if rejected:
        return warn("Connections were rejected", f"{rejected:,} rejected since the start, {evidence}")
    if limit and clients > NEARLY_FULL * limit * facts.server.nodes:
        return warn("Nearly as many clients as may connect", evidence)
    return ok("Connections are few", evidence)


def _short_lived(keys: KeyFacts | None) -> list[PatternFacts]:
    """The patterns of which no key has longer to live, the most frequent first."""
    if keys is None:
        return []
    found = [
        pattern
        for pattern in keys.patterns
        if pattern.longest_ttl is not None and pattern.longest_ttl <= SHORT and not pattern.without_expiry
    ]
    return sorted(found, key=lambda pattern: -pattern.keys)


def judge_lifetime(facts: Facts) -> Judgement:
    """By Little's law, keys that expire live as long as there are of them, divided by how many expire in a second."""
    expiring, rate = facts.server.expiring, facts.traffic.per_second(facts.traffic.expired)
    if expiring is None or rate is None:
        return NotKnown(INFO_IS_SILENT)
    evidence = f"{facts.traffic.expired:,} keys expired {facts.traffic.span}, {expiring:,} have a TTL now"
    short = _short_lived(facts.sample)
    part = facts.sample.share(sum(pattern.keys for pattern in short)) if facts.sample else 0.0
    if part > SHORT_SHARE:
        return warn(f"{share(part)} of the keys live {SHORT:.0f} seconds at most", f"{short[0].pattern}; {evidence}")
    if rate > CHURN_LEAST and expiring / rate < SHORT:
        return warn(f"Keys live {expiring / rate:.1f} seconds on average", f"{evidence}: {rate:,.1f} expire a second")
    return ok("Keys live long enough to be read", evidence)


SHORT = 10.0
"""Seconds. A key that lives less is written more often than it is read, in most applications."""
SHORT_SHARE, CHURN_LEAST = 0.1, 1.0
"""The share of keys, and the keys a second, from which short lives cost something."""
