"""`tenantcache resolve HOST`: how a host is read, what decides, which store answers, and what a request would get.

The library's own code reads the host, looks it up and judges a copy in Redis. What is here shows its answers.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenantcache.cli.terminal import AsJson, Exit, Terminal

if TYPE_CHECKING:
    from tenantcache.cli.hostlookup import Answer
    from tenantcache.cli.verdict import Verdict
    from tenantcache.lookup.core.hosts import HostRules
    from tenantcache.lookup.core.hoststeps import HostReading


def resolve(
    host: Annotated[str, typer.Argument(metavar="HOST", help="As in a Host header, port allowed.")],
    *,
    redis: Annotated[
        bool, typer.Option("--redis", help="Ask Redis for its copy first, as a process does: one billed command.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say how a host is read, what decides, which store answers, and what a request for it would get.

    Exit with 0 if a request reaches the application (a tenant that is served, a redirect, a bypass), otherwise with 1.

    Example: tenantcache resolve acme.example.com:8000
    """
    raise typer.Exit(asyncio.run(_resolve(Terminal(as_json=as_json, unfolded=True), host, redis=redis)))


async def _resolve(terminal: Terminal, host: str, *, redis: bool) -> Exit:
    from tenantcache.cli import verdict as verdicts
    from tenantcache.cli.hostlookup import look_up
    from tenantcache.lookup.core.hosts import HostRules
    from tenantcache.lookup.core.hoststeps import read_host
    from tenantcache.settings.model import Settings

    settings = Settings()
    rules = HostRules(settings.base_domains, settings.reserved_subdomains, settings.base_domain_tenant)
    raw = host.encode("utf-8", "surrogateescape")
    reading = read_host(rules, raw)
    answer = None if reading.match.alias is None else await look_up(reading.match, redis=redis)
    verdict = verdicts.judge(settings, rules, raw, reading.match, None if answer is None else answer.tenant)
    advice = _advice(rules, host, reading, verdict, answer)
    document = _document(host, reading, verdict, answer, advice)
    terminal.show(document, *_render(document, reading, answer))
    if not any(strategy.partition(":")[0] == "host" for strategy in settings.strategies):
        terminal.say("requests here do not name their tenant by the host: see TENANTCACHE_STRATEGIES")
    return Exit.FINE if verdict.reaches else Exit.FINDINGS


def _advice(rules: HostRules, host: str, reading: HostReading, verdict: Verdict, answer: Answer | None) -> str | None:
    from tenantcache.cli.verdict import advise_on_setting, advise_on_tenant, suggest_host

    if reading.fault is not None:
        meant = suggest_host(rules, host)
        return None if meant is None else f"did you mean {meant}?"
    if answer is not None and answer.advice is not None:
        return answer.advice
    if answer is not None and answer.tenant is not None:
        return advise_on_tenant(verdict, answer.tenant, is_adopted=answer.is_adopted)
    return advise_on_setting(reading.decided_by, reading.base)


def _document(
    host: str, reading: HostReading, verdict: Verdict, answer: Answer | None, advice: str | None
) -> dict[str, Any]:
    from tenantcache.cli.tenantview import tenant_document

    tenant = None if answer is None else answer.tenant
    copy = None if answer is None else answer.copy

    return {
        "host": host,
        "outcome": verdict.outcome,
        "status": verdict.status,
        "location": verdict.location,
        "fault": reading.fault,
        "steps": [{"step": step.name, "left": step.left, "found": step.told} for step in reading.steps],
        "alias": reading.match.alias,
        "decided_by": _decider(reading),
        "answered_by": None if answer is None else answer.tier,
        "redis": None if copy is None else copy.told,
        "tenant": None if answer is None or tenant is None else tenant_document(tenant, answer.origins),
        "advice": advice,
        "billed_commands": 0 if copy is None else copy.billed,
    }


def _decider(reading: HostReading) -> str | None:
    from tenantcache.settings.model import variable_of

    if reading.decided_by is None or reading.decided_by == "row":
        return reading.decided_by
    return variable_of(reading.decided_by)


def _render(document: dict[str, Any], reading: HostReading, answer: Answer | None) -> list[Any]:
    from tenantcache.cli.tenantview import lines_table, rows_table, tenant_lines

    lines = [("host", document["host"]), ("answer", _told(document))]
    if reading.fault is not None:
        lines.append(("fault", reading.fault))
    if document["decided_by"] is not None:
        row = "no row has this name" if document["tenant"] is None else "the row that has this name"
        lines.append(("decided by", row if document["decided_by"] == "row" else document["decided_by"]))
    if answer is not None:
        lines.append(("answered by", answer.tier))
    if answer is not None and answer.copy is not None:
        lines.append(("Redis", f"{answer.copy.told}; billed commands: {answer.copy.billed}"))
    if document["advice"] is not None:
        lines.append(("what to do", document["advice"]))
    parts: list[Any] = [lines_table(lines)]
    if reading.steps:
        parts += [
            "",
            rows_table(("step", "left", "found"), [(step.name, step.left, step.told) for step in reading.steps]),
        ]
    if answer is not None and answer.tenant is not None:
        parts += ["", lines_table(tenant_lines(answer.tenant, answer.origins))]
    return parts


_TOLD = {
    "served": "served: the application answers, within the tenant's limits",
    "bypass": "bypass: the application answers, without a tenant",
    "redirect": "308, a redirect to {location}",
    "malformed": "{status}: not a host",
    "unknown": "{status}: no tenant",
    "foreign": "{status}: no tenant, and under no base domain",
    "suspended": "{status}: the tenant is suspended",
    "maintenance": "{status}: the tenant is under maintenance",
    "deleted": "{status}: the tenant is deleted",
}


def _told(document: dict[str, Any]) -> str:
    return _TOLD[document["outcome"]].format(**document)
