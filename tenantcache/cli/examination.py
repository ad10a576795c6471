"""Gathers what `doctor` judges: INFO, CONFIG, a sample of keys, Postgres. It sends no command that writes.

What a server or user refuses is noted, and the examination goes on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from tenantcache.budget.core.facts import Facts, IdleFacts, KeyFacts, QuotaFacts, ValueFacts
from tenantcache.budget.core.period import period_of
from tenantcache.budget.core.plans import FREE_PLAN, Plan, project
from tenantcache.budget.core.serverfacts import ServerFacts
from tenantcache.budget.core.traffic import Traffic
from tenantcache.cli.fleet import read_fleet
from tenantcache.cli.keysample import sample
from tenantcache.cli.postgresfacts import read_postgres
from tenantcache.cli.randomkeys import COMMANDS, IDLE_ASKED, ask_random_keys, told
from tenantcache.cli.terminal import Terminal
from tenantcache.cli.vitals import read_traffic
from tenantcache.errors import OverQuotaError
from tenantcache.stores.anyredis import AnyRedis, is_not_known

SAMPLE = 500
"""Billed commands for the sample of keys."""

MOST = SAMPLE + COMMANDS * IDLE_ASKED + 2
"""Billed commands of a whole examination; 2 for DBSIZE and for finding the nodes of a cluster."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look at. `seconds`: the span to measure, 0: since the start. `quota`: billed commands a month."""

    keys: bool
    seconds: float = 0.0
    plan: Plan | None = None
    quota: int | None = None


async def examine(redis: AnyRedis, wanted: Wanted, terminal: Terminal) -> Facts:
    """Raises UnreachableError. A provider that refuses this account is a fact, if INFO was answered before."""
    if wanted.seconds:
        terminal.say(f"measuring for {wanted.seconds:g} seconds")
    server, traffic = await read_traffic(redis, wanted.seconds)
    facts = Facts(server, traffic, plan=wanted.plan, quota=find_quota(server, traffic, wanted, time.time()))
    try:
        facts = await _look_inside(redis, facts, wanted, terminal)
    except OverQuotaError as error:
        facts = replace(facts, refusal=str(error))
    hidden = (*facts.hidden, *_hidden(facts.server))
    return replace(facts, fleet=await read_fleet(), postgres=await read_postgres(), hidden=hidden)


async def _look_inside(redis: AnyRedis, facts: Facts, wanted: Wanted, terminal: Terminal) -> Facts:
    [config] = await redis.nodes[0].send_many([("CONFIG", "GET", "save")])
    refused = [told(("CONFIG", "GET"), config)] if is_not_known(config) else []
    facts = replace(facts, saves=_saves(config), refused=tuple(refused))
    if not wanted.keys:
        return facts
    spending = redis.spending
    if facts.server.keys is None and spending.remaining >= len(redis.nodes):
        facts = replace(facts, server=await _count_keys(redis, facts.server))
    if facts.server.keys == 0:
        return replace(facts, sample=KeyFacts(0, largest=()), idle=IdleFacts(0, 0), values=ValueFacts(0))
    if spending.remaining >= COMMANDS * IDLE_ASKED:
        facts = await ask_random_keys(redis, facts)
    found = await sample(redis, min(SAMPLE, spending.remaining), terminal)
    return replace(facts, sample=found, hidden=found.notes if found else ())


def _saves(reply: object) -> str | None:
    """The directive `save` in a reply to CONFIG GET."""
    match reply:
        case [_, bytes(value)]:
            return value.decode("ascii", "replace")
    return None


async def _count_keys(redis: AnyRedis, server: ServerFacts) -> ServerFacts:
    counts = [(await node.send_many([("DBSIZE",)]))[0] for node in redis.nodes]
    told = [count for count in counts if isinstance(count, int)]
    return replace(server, keys=sum(told)) if len(told) == len(counts) else server


def _hidden(server: ServerFacts) -> tuple[str, ...]:
    """What INFO leaves out."""
    fields = {
        "operations a second": server.now_per_second,
        "the number of keys": server.keys,
        "hits and misses": server.hits,
        "memory": server.memory,
        "the eviction policy": server.policies or None,
        "counts by command (commandstats)": server.calls or None,
        "persistence": server.appends,
    }
    missing = [name for name, value in fields.items() if value is None]
    return (f"INFO does not tell {', '.join(missing)}",) if missing else ()


def find_quota(server: ServerFacts, traffic: Traffic, wanted: Wanted, now: float) -> QuotaFacts | None:
    """The quota that was given, that of the plan, or that of the provider's free plan; and when it is used up."""
    rate = traffic.per_second(traffic.billed)
    assumed = wanted.plan is None and wanted.quota is None and server.provider == "Upstash"
    plan = FREE_PLAN if assumed else wanted.plan
    quota = wanted.quota or (plan.quota if plan else None)
    if quota is None or rate is None:
        return None
    name = "the quota that was given" if wanted.quota else f"the plan {plan.title}" if plan else ""
    month = period_of(now)
    outlook = project(quota, rate, elapsed=now - month.start, length=month.end - month.start)
    day = None if outlook.ends_in is None else f"{datetime.fromtimestamp(now + outlook.ends_in, UTC):%Y-%m-%d}"
    return QuotaFacts(name, outlook, day, f"taken from the rate {traffic.span}", assumed)
