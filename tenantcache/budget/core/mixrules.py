"""Rules about the mix of commands, as INFO commandstats counts it."""

from __future__ import annotations

from collections.abc import Mapping

from tenantcache.budget.core.facts import Facts
from tenantcache.budget.core.finding import Judgement, NotKnown, ok, warn
from tenantcache.budget.core.serverrules import OPERATIONS_WARN
from tenantcache.budget.core.traffic import share

MIX_IS_SILENT = "INFO commandstats does not tell"

POLLING = frozenset({
    "BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BZPOPMIN", "BZPOPMAX", "BLMPOP", "BZMPOP", "LPOP", "RPOP", "LLEN",
    "RPOPLPUSH", "LMOVE", "XREAD", "XREADGROUP", "ZRANGEBYSCORE",
})  # fmt: skip
"""Commands with which workers ask whether there is work."""
POLLING_SHARE, POLLING_LEAST = 0.2, 0.5
"""Share of the billed commands, and commands a second: one every other second is 1.3 million a month."""

SINGLE_READS, SEVERAL_READS = frozenset({"GET", "HGET", "HGETALL", "EXISTS"}), frozenset({"MGET", "HMGET"})
FEW_SEVERAL = 0.01
"""Reads of several keys for each of one."""

BLOCKING = frozenset({"KEYS", "MONITOR"})


def judge_polling(facts: Facts) -> Judgement:
    calls, billed = facts.traffic.calls, facts.traffic.billed
    if not calls or billed is None:
        return NotKnown(MIX_IS_SILENT)
    found = {name: calls[name] for name in sorted(POLLING & calls.keys())}
    part, rate = sum(found.values()) / max(billed, 1), facts.traffic.per_second(sum(found.values())) or 0
    evidence = f"{_listed(found) or 'none'} of {billed:,} commands {facts.traffic.span}"
    if part > POLLING_SHARE and rate > POLLING_LEAST:
        return warn(f"{share(part)} of the commands ask whether there is work", f"{evidence}: {rate:,.1f} a second")
    return ok("No tight polling", evidence)


def judge_loops(facts: Facts) -> Judgement:
    """Many reads of one key each, and hardly one of several keys, look like loops over keys."""
    calls, billed = facts.traffic.calls, facts.traffic.billed
    if not calls or not billed:
        return NotKnown(MIX_IS_SILENT)
    single, several = (sum(calls.get(name, 0) for name in names) for names in (SINGLE_READS, SEVERAL_READS))
    rate = facts.traffic.per_second(single) or 0.0
    evidence = f"{single:,} reads of one key, {several:,} of several {facts.traffic.span}: {rate:,.1f} a second"
    if rate > OPERATIONS_WARN and single > billed / 2 and several < FEW_SEVERAL * single:
        return warn("Keys are read one by one", evidence)
    return ok("No loop over single reads", evidence)


def judge_slow_commands(facts: Facts) -> Judgement:
    calls = facts.traffic.calls
    if not calls:
        return NotKnown(MIX_IS_SILENT)
    found = {name: calls[name] for name in sorted(BLOCKING & calls.keys())}
    if found:
        return warn(f"{' and '.join(found)} in use", f"{_listed(found)} {facts.traffic.span}")
    return ok("No command that stops the server", f"no {' or '.join(sorted(BLOCKING))} {facts.traffic.span}")


def _listed(calls: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in calls.items())
