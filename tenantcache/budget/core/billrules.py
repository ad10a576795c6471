"""Rules about the bill: the quota, the plan, the fleet's budget; and about what the server and Postgres let us know."""

from __future__ import annotations

from tenantcache.budget.core.facts import Facts, QuotaFacts
from tenantcache.budget.core.finding import Judgement, NotKnown, crit, ok, warn
from tenantcache.budget.core.plans import (
    MONTH,
    PAY_AS_YOU_GO,
    PRICES_OF,
    UPSTASH,
    MonthlyUse,
    Plan,
    break_even,
    cheapest,
    monthly_cost,
)
from tenantcache.budget.core.serverrules import NO_RATE
from tenantcache.budget.core.traffic import duration, size

QUOTA_WARN = 0.7
"""The share of a quota from which it is worth a look; the governor begins to save at the same."""

MIN_SAVING = 1.0
"""Dollars a month for which a change of plan is worth the while."""

LARGE_LOG = 1 << 30
MANY_UNPUBLISHED = 10_000
SLOW_PROCESS = 15.0
"""Seconds without a sign of life. A process gives one each 10 seconds, and counts as dead after 30."""


def judge_suspension(facts: Facts) -> Judgement:
    if facts.refusal is not None:
        return crit("The provider refuses this account", facts.refusal)
    if facts.quota is not None:
        return _judge_quota(facts.quota)
    if facts.plan is not None and facts.plan.quota is None:
        billed = "each command is billed" if facts.plan.per_100k else "commands are not billed"
        return ok(f"{facts.plan.title} has no quota of commands", billed)
    if facts.plan is not None or facts.server.provider == "Upstash":
        return NotKnown(NO_RATE)
    return NotKnown("no quota is known; give --plan or --quota")


def _judge_quota(quota: QuotaFacts) -> Judgement:
    outlook = quota.outlook
    evidence = (
        f"{quota.name}: about {outlook.used:,.0f} of {outlook.quota:,} commands used ({quota.measured}), "
        f"{outlook.full_month:,.0f} by the end of the month at {outlook.per_second:,.3g} a second"
    )
    if quota.day is not None:
        title = "The quota is used up" if outlook.ends_in == 0 else f"The quota is used up on {quota.day}"
        if quota.assumed:
            return warn(f"{title}, if this is the free plan", f"{evidence}; give --plan")
        return crit(title, evidence)
    if outlook.full_month > QUOTA_WARN * outlook.quota:
        return warn(f"{100 * outlook.full_month / outlook.quota:.0f} % of the quota will be used", evidence)
    return ok("The quota lasts", evidence)


def judge_plan(facts: Facts) -> Judgement:
    if facts.plan is None and facts.server.provider != "Upstash":
        return None
    rate = facts.traffic.per_second(facts.traffic.billed)
    if rate is None:
        return NotKnown(NO_RATE)
    moved = facts.traffic.per_second(facts.traffic.network)
    use = MonthlyUse(rate * MONTH, facts.server.memory, None if moved is None else moved * MONTH)
    costs = [f"{plan.title} ${cost:,.2f}" for plan in UPSTASH[1:3] if (cost := monthly_cost(plan, use)) is not None]
    evidence = (
        f"{use.commands:,.0f} commands a month at the rate {facts.traffic.span}: {', '.join(costs) or 'no plan fits'}; "
        f"break-even at {break_even(UPSTASH[2], PAY_AS_YOU_GO):,.0f} commands (prices of {PRICES_OF})"
    )
    return _judge_plans(facts.plan, use, evidence)


def _judge_plans(present: Plan | None, use: MonthlyUse, evidence: str) -> Judgement:
    best = cheapest(use)
    if best is None:
        return warn("No plan of the price list fits this use", evidence)
    plan, cost = best
    if present is None:
        return ok(f"{plan.title} costs least: ${cost:,.2f} a month", evidence)
    now = monthly_cost(present, use)
    if now is None:
        return warn(f"This use does not fit into {present.title}; {plan.title} costs ${cost:,.2f} a month", evidence)
    if now - cost >= MIN_SAVING:
        return warn(f"{plan.title} saves ${now - cost:,.2f} a month", f"now ${now:,.2f}; {evidence}")
    return ok(f"{present.title} is the right plan: ${now:,.2f} a month", evidence)


def judge_budget(facts: Facts) -> Judgement:
    fleet = facts.fleet
    if fleet is None:
        return None
    low, high = fleet.bounds
    evidence = (
        f"{fleet.used:,} {fleet.unit} billed to this fleet in this period, "
        f"{fleet.forecast:,} ({low:,} to {high:,}) by its end; the band is {fleet.band}"
    )
    if fleet.budget is None:
        return ok("The fleet has no budget", evidence)
    evidence += f", the budget {fleet.budget:,}"
    if fleet.used >= fleet.budget:
        return crit("The fleet's budget is used up", evidence)
    if fleet.ends is not None:
        return warn(f"The fleet's budget is used up on {fleet.ends}", evidence)
    return ok("The fleet keeps within its budget", evidence)


def judge_blind_spots(facts: Facts) -> Judgement:
    provider = facts.server.provider or "This server"
    told = [*(f"{command} is refused" for command in facts.refused), *facts.hidden]
    if told:
        return ok(f"{provider} does not tell everything", "; ".join(told))
    return ok("This server tells everything that is asked", "INFO, CONFIG, OBJECT, MEMORY and commandstats answer")


def judge_schema(facts: Facts) -> Judgement:
    postgres = facts.postgres
    if postgres is None:
        return None
    if postgres.faults:
        return crit("Postgres or the settings have faults", "; ".join(postgres.faults))
    if postgres.warnings:
        return warn("tenantcache check warns", "; ".join(postgres.warnings))
    return ok("Schema, rights and settings are right", "all that `tenantcache check` looks at")


def judge_log_size(facts: Facts) -> Judgement:
    postgres = facts.postgres
    if postgres is None:
        return None
    if postgres.log_bytes is None or postgres.log_entries is None:
        return NotKnown("the change log cannot be read")
    age = f", the oldest {duration(postgres.oldest_entry)} old" if postgres.oldest_entry is not None else ""
    evidence = f"about {postgres.log_entries:,} entries in {size(postgres.log_bytes)}{age}"
    if postgres.log_bytes > LARGE_LOG:
        return warn("The change log is large", evidence)
    return ok(f"The change log has {size(postgres.log_bytes)}", evidence)


def judge_lag(facts: Facts) -> Judgement:
    postgres = facts.postgres
    if postgres is None:
        return None
    if postgres.unpublished is None or postgres.processes is None:
        return NotKnown("the tables of the log cannot be read")
    evidence = f"{postgres.unpublished:,} changes are not published, {postgres.processes} processes are alive"
    if postgres.slowest_process is not None:
        evidence += f", the slowest gave a sign {postgres.slowest_process:.0f} s ago"
    if postgres.unpublished and not postgres.processes:
        return warn("Changes wait, and no process is there to publish them", evidence)
    if postgres.unpublished > MANY_UNPUBLISHED:
        return warn("Changes wait to be published", evidence)
    if (postgres.slowest_process or 0) > SLOW_PROCESS:
        return warn("A process is late", evidence)
    return ok("Followers keep up", evidence)
