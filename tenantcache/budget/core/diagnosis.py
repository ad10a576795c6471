"""Facts in, findings out. One table has every rule: when to look, why it matters, and what to do.

`docs/doctor.md` has a section for each rule, and tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from tenantcache.budget.core import billrules, keyrules, mixrules, serverrules
from tenantcache.budget.core.facts import Facts
from tenantcache.budget.core.finding import EVERY, Checklist, Finding, Judgement, NotKnown, Severity, Verdict


@dataclass(frozen=True, slots=True)
class Rule:
    """`topic` names it if it cannot be judged. `needs_keys`: a sample of keys, which is billed."""

    id: str
    lists: Checklist
    topic: str
    judge: Callable[[Facts], Judgement]
    why: str
    fix: str
    needs_keys: bool = False


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`findings`: the worst first. `unknown`: what cannot be known, a line each."""

    findings: Sequence[Finding]
    unknown: Sequence[str]

    @property
    def worst(self) -> Severity:
        return max((finding.severity for finding in self.findings), key=lambda found: found.rank, default=Severity.OK)


def diagnose(facts: Facts, lists: Checklist = EVERY) -> Diagnosis:
    """Judge `facts` by the rules of `lists`."""
    findings, unknown = [], []
    for rule in RULES:
        if not rule.lists & lists:
            continue
        match rule.judge(facts):
            case Verdict(severity, title, evidence):
                findings.append(Finding(rule.id, severity, title, evidence, rule.why, rule.fix))
            case NotKnown(reason):
                unknown.append(f"{rule.topic}: {reason}")
    findings.sort(key=lambda finding: -finding.severity.rank)
    return Diagnosis(tuple(findings), tuple(unknown))


def needs_keys(lists: Checklist) -> bool:
    """Whether a rule of `lists` needs a sample of keys."""
    return any(rule.needs_keys for rule in RULES if rule.lists & lists)


_DAILY, _WEEKLY, _MONTHLY = Checklist.DAILY, Checklist.WEEKLY, Checklist.MONTHLY

CHECKLISTS: Mapping[Checklist, Mapping[str, Sequence[str]]] = MappingProxyType({
    _DAILY: {
        "Review the number of commands": ("operations-rate", "suspension", "budget"),
        "Check the hit rate": ("hit-rate",),
        "Look for unusual spikes": ("spike",),
    },
    _WEEKLY: {
        "Review the patterns of keys": (
            "key-count", "who-spends", "large-values", "objects", "one-time-keys", "secrets",
        ),
        "Identify churn": ("churn", "hit-rate"),
        "Check the memory": ("memory",),
    },
    _MONTHLY: {
        "Audit TTLs": ("expiry",),
        "Review the names of keys": ("key-names",),
        "Clean up unused keys": ("unused-keys",),
        "Update the thresholds": ("thresholds",),
    },
})  # fmt: skip
"""What the team's guide has people check, and the rules that answer."""

RULES: Sequence[Rule] = (
    Rule(
        "suspension",
        _DAILY,
        "the quota",
        billrules.judge_suspension,
        "Past its quota, a provider refuses every command. Pages that need Redis then answer 500.",
        "Find who spends (below), and see what the next plan costs. With tenantcache, set a monthly budget.",
    ),
    Rule(
        "budget",
        _DAILY,
        "the fleet's budget",
        billrules.judge_budget,
        "The governor saves commands from 70 % of the budget on, and leaves Redis alone at 98 %.",
        "See `tenantcache budget` for the cost by purpose. Raise the budget, or the reservations.",
    ),
    Rule(
        "plan",
        _MONTHLY,
        "the plan",
        billrules.judge_plan,
        "Pay as you go is cheaper below 5 million commands a month, and a fixed plan is above.",
        "Change the plan in the provider's console. Prices change: compare them first.",
    ),
    Rule(
        "operations-rate",
        _DAILY,
        "operations a second",
        serverrules.judge_operations,
        "At 100 operations a second a month has 259 million, about $518 at $0.20 for 100,000.",
        "Keep in the process what each request asks for. Look for polling, and for loops that ask Redis once for each "
        "item: MGET takes them all. `tenantcache record` shows the commands of a process by key pattern.",
    ),
    Rule(
        "spike",
        _DAILY,
        "spikes",
        serverrules.judge_spike,
        "A spike is most often a loop without end, a retry storm, or a cache that was emptied.",
        "Compare with the last deployment. Watch it with `tenantcache watch`.",
    ),
    Rule(
        "hit-rate",
        _DAILY | _WEEKLY,
        "the hit rate",
        serverrules.judge_hit_rate,
        "A miss costs a command, a query, and a command to fill. Below a half, the cache costs more than it saves.",
        "Check that reads and writes build the same key. Lengthen TTLs to how often the data change. "
        "Leave out what is read once.",
    ),
    Rule(
        "evictions",
        _DAILY,
        "evictions",
        serverrules.judge_evictions,
        "An evicted counter forgets what was used, and an evicted lock is free. Evicted copies are read again at once.",
        "Give keys a TTL, remove what is unused (`tenantcache clean`), or raise the memory.",
    ),
    Rule(
        "memory-limit",
        _DAILY,
        "the room that is left",
        serverrules.judge_room,
        "When the memory is full, Redis refuses writes or evicts keys, as its policy says.",
        "See which patterns hold the bytes (`tenantcache analyze`). Remove or shorten them before you raise maxmemory.",
    ),
    Rule(
        "connections",
        _DAILY,
        "connections",
        serverrules.judge_connections,
        "A client that is rejected fails its request. Many connections often are pools that are made anew each time.",
        "Share one pool in a process, close what is unused, or raise maxclients.",
    ),
    Rule(
        "postgres",
        _DAILY,
        "Postgres",
        billrules.judge_schema,
        "Tenants and changes come from Postgres. A fault there means stale answers or none.",
        "Each fault says what to do. `tenantcache check` looks again.",
    ),
    Rule(
        "follower-lag",
        _DAILY,
        "follower lag",
        billrules.judge_lag,
        "A change is seen when a process has published and followed it. Late processes serve older answers.",
        "See whether processes run and reach Postgres. Look for a transaction that has been open for long.",
    ),
    Rule(
        "key-count",
        _WEEKLY,
        "the number of keys",
        serverrules.judge_key_count,
        "Over 100,000 keys most often are keys with an id in their name that never expire: a leak.",
        "Find the pattern with `tenantcache analyze`. Give it a TTL, and remove the old keys with `tenantcache clean`.",
    ),
    Rule(
        "who-spends",
        _WEEKLY,
        "who spends",
        keyrules.judge_spenders,
        "What uses a quota up is most often one library, and it is rarely the one that is suspected.",
        "A rate limiter that asks Redis at every request can reserve tokens in advance instead, as tenantcache does. "
        "Turn its analytics off.",
        needs_keys=True,
    ),
    Rule(
        "churn",
        _WEEKLY,
        "churn",
        serverrules.judge_lifetime,
        "A key that lives for seconds is written more often than it is read: each write is billed for nothing.",
        "Give TTLs by how often the data change: 60 s for limits, 300 s for sessions, 1,800 s for profiles, "
        "3,600 s for configuration. `tenantcache churn` names the keys.",
    ),
    Rule(
        "polling",
        _WEEKLY,
        "polling",
        mixrules.judge_polling,
        "Workers that ask whether there is work are billed while there is none: once a second is 2.6 million a month.",
        "Lengthen the interval or the blocking timeout to a minute, use fewer workers, or have the producer call.",
    ),
    Rule(
        "single-reads",
        _WEEKLY,
        "loops over keys",
        mixrules.judge_loops,
        "A loop that reads one key for each item is billed for each. One MGET for all of them is billed once.",
        "Read several keys by MGET, and get what is missing by one query. A pipeline saves time alone, not commands.",
    ),
    Rule(
        "memory",
        _WEEKLY,
        "memory",
        serverrules.judge_memory,
        "Over 1 GB most often are large objects, or keys that never expire.",
        "See which patterns hold the bytes with `tenantcache analyze`.",
    ),
    Rule(
        "large-values",
        _WEEKLY,
        "large values",
        keyrules.judge_values,
        "A value over 1 MB costs bandwidth at each read, and over 10 MB it holds all other clients up.",
        "Cache pages or single items instead of whole results.",
        needs_keys=True,
    ),
    Rule(
        "objects",
        _WEEKLY,
        "keys of one object",
        keyrules.judge_objects,
        "An object in several keys costs a command for each of them, to read and to write.",
        "Keep it in one hash (HSET, HGETALL) or one string, and flags of many objects in one set (SADD, SISMEMBER).",
        needs_keys=True,
    ),
    Rule(
        "one-time-keys",
        _WEEKLY,
        "keys that are read once",
        keyrules.judge_one_time,
        "A token that is used once, or a time, makes a key that no caller asks for again: each write is lost.",
        "Leave it out of the cache. Name what is cached by what it is about, and keep a time in the value.",
        needs_keys=True,
    ),
    Rule(
        "secrets",
        _WEEKLY,
        "secrets",
        keyrules.judge_secrets,
        "Keys and values are shown by consoles, slow logs, backups and MONITOR, and are not encrypted.",
        "Leave the field out of the value. Use an id in the key, or the SHA-256 of the secret.",
        needs_keys=True,
    ),
    Rule(
        "log-size",
        _WEEKLY,
        "the change log",
        billrules.judge_log_size,
        "Processes prune the log. If it grows, a bulk change is under way, or the log is not pruned.",
        "See whether `tenantcache check` finds missing rights, and whether autovacuum runs.",
    ),
    Rule(
        "expiry",
        _MONTHLY,
        "expiry",
        keyrules.judge_expiry,
        "A key without a TTL stays until it is deleted, and its storage is billed as long.",
        "Set a TTL with the write (SET ... EX). See `tenantcache ttl` for patterns without, "
        "and `tenantcache clean` to remove them.",
    ),
    Rule(
        "key-names",
        _MONTHLY,
        "names of keys",
        keyrules.judge_names,
        "Flat names cannot be told apart, scanned or cleaned by owner.",
        "Name keys like tenant:123:profile: what it is, which one, which part.",
        needs_keys=True,
    ),
    Rule(
        "unused-keys",
        _MONTHLY,
        "unused keys",
        keyrules.judge_unused,
        "A key that has not been read for a week costs storage, and hides what matters.",
        "Find the patterns with `tenantcache analyze`, and remove them with `tenantcache clean`.",
        needs_keys=True,
    ),
    Rule(
        "eviction-policy",
        _MONTHLY,
        "the eviction policy",
        serverrules.judge_eviction_policy,
        "All policies but noeviction drop keys when the memory is full, and counters, locks and queues are among them.",
        "Set maxmemory-policy to noeviction, or keep what must stay in another Redis than copies.",
    ),
    Rule(
        "persistence",
        _MONTHLY,
        "persistence",
        serverrules.judge_persistence,
        "Without a save, a restart loses everything. After a failed one, Redis may refuse all writes.",
        "Correct the disk or its rights, and run BGSAVE. Turn on appendonly or save if keys are meant to stay.",
    ),
    Rule(
        "slow-commands",
        _MONTHLY,
        "commands that stop the server",
        mixrules.judge_slow_commands,
        "KEYS reads every key while all other clients wait. MONITOR sends each command of all clients once more.",
        "Use SCAN in place of KEYS, and bound MONITOR in time.",
    ),
    Rule(
        "thresholds",
        _MONTHLY,
        "the thresholds",
        serverrules.judge_thresholds,
        "A warning at 100 operations a second says nothing to an application that needs 3: it could grow thirtyfold.",
        "Set the budget and alarms of your own to about twice the usual use.",
    ),
    Rule(
        "blind-spots",
        EVERY,
        "what is hidden",
        billrules.judge_blind_spots,
        "What a server does not tell cannot be watched.",
        "Allow the user INFO, CONFIG|GET, OBJECT and MEMORY (ACL SETUSER), or look into the provider's console.",
    ),
)
"""Every rule, in the order in which findings of the same severity are told."""
