"""`tenantcache doctor`: what is wrong with a Redis, why it matters, and what to do."""

from __future__ import annotations

from rich.padding import Padding

from tenantcache.budget.core.diagnosis import diagnose, needs_keys
from tenantcache.budget.core.finding import Checklist, Severity
from tenantcache.budget.core.plans import PLANS, Plan
from tenantcache.cli.examination import MOST, Wanted, examine
from tenantcache.cli.findings import render
from tenantcache.cli.redistarget import open_redis
from tenantcache.cli.terminal import Exit, Terminal
from tenantcache.cli.vitals import Vitals, headline, table
from tenantcache.errors import ConfigurationError


async def run_doctor(
    redis_url: str | None,
    lists: Checklist,
    *,
    seconds: float,
    plan: str | None,
    quota: int | None,
    is_free: bool,
    fail_on: Severity,
    max_commands: int,
    as_json: bool,
) -> Exit:
    """Examine, print, and return the exit status. Raises ConfigurationError, UnreachableError and OverQuotaError."""
    terminal = Terminal(as_json=as_json)
    keys = needs_keys(lists) and not is_free
    wanted = Wanted(keys, seconds, find_plan(plan), quota)
    async with open_redis(redis_url, terminal, at_most=MOST if keys else 0, max_commands=max_commands) as redis:
        facts = await examine(redis, wanted, terminal)
        address, spent = redis.nodes[0].address, redis.spending.spent
    diagnosis = diagnose(facts, lists)
    vitals = Vitals(address, facts.server, facts.traffic, facts.fleet)
    result = {"findings": [finding.as_json() for finding in diagnosis.findings], "billed_commands": spent}
    above = (headline(vitals), "", Padding(table(vitals), (0, 0, 0, 2)), "")
    terminal.show(result, *above, *render(diagnosis, lists, spent))
    if facts.refusal is not None:
        return Exit.UNREACHABLE
    return Exit.FINDINGS if diagnosis.worst.rank >= fail_on.rank else Exit.FINE


def find_plan(name: str | None) -> Plan | None:
    """Raises ConfigurationError if the price list has no such plan."""
    if name is None:
        return None
    if name not in PLANS:
        raise ConfigurationError(f"--plan: there is no plan {name!r}; give one of {', '.join(PLANS)}")
    return PLANS[name]
