"""`tenantcache resolve HOST`: how a host is read, what decides, which store answers, and what a request would get.

The library's own code reads the host, looks it up and judges a copy in Redis. What is here shows its answers.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenantcache.cli.terminal import AsJson, Exit, Terminal

if TYPE_CHECKING:
    from tenantcache.cli.engine import CommandEngine
    from tenantcache.cli.verdict import Verdict
    from tenantcache.lookup.core.hoststeps import HostReading
    from tenantcache.tenant import LimitOrigins, Tenant


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


@dataclass(frozen=True, slots=True)
class Answer:
    """What the stores said of a host. `tier` is the store that answered; None if none was asked.

    `redis` says what became of the copy in Redis, if it was asked for.
    """

    tier: str | None = None
    tenant: Tenant | None = None
    origins: LimitOrigins | None = None
    redis: str | None = None
    billed: int = 0
    advice: str | None = None
    is_adopted: bool = False


async def _resolve(terminal: Terminal, host: str, *, redis: bool) -> Exit:
    from tenantcache.cli import verdict as verdicts
    from tenantcache.lookup.core.hosts import HostRules
    from tenantcache.lookup.core.hoststeps import read_host
    from tenantcache.settings.model import Settings

    settings = Settings()
    rules = HostRules(settings.base_domains, settings.reserved_subdomains, settings.base_domain_tenant)
    raw = host.encode("utf-8", "surrogateescape")
    reading = read_host(rules, raw)
    answer = Answer() if reading.match.alias is None else await _look_up(reading, raw, redis=redis)
    verdict = verdicts.judge(settings, rules, raw, reading.match, answer.tenant)
    advice = answer.advice or _advice(rules, host, reading, verdict, answer)
    document = _document(host, reading, verdict, answer, advice)
    terminal.show(document, *_render(document, reading, answer))
    if not any(strategy.partition(":")[0] == "host" for strategy in settings.strategies):
        terminal.say("requests here do not name their tenant by the host: see TENANTCACHE_STRATEGIES")
    return Exit.FINE if verdict.reaches else Exit.FINDINGS


async def _look_up(reading: HostReading, raw: bytes, *, redis: bool) -> Answer:
    """Ask the stores as a process does, but write nothing. Raises `UnreachableError` and ConfigurationError."""
    from tenantcache.cli.engine import UnwrittenCopies, open_engine
    from tenantcache.errors import ConfigurationError
    from tenantcache.settings.model import variable_of

    async with open_engine(UnwrittenCopies if redis else None) as engine:
        if redis and engine.settings.redis_url is None:
            raise ConfigurationError(
                f"--redis: {variable_of('redis_url')} is not set, so there are no copies to ask for"
            )
        entry = await engine.find(reading.match)
        told = _copy_told(engine) if redis else None
        is_adopted = await engine.is_adopted()
        if entry.tenant is None:
            advice = await _missing(engine, reading, is_adopted=is_adopted)
            return Answer(entry.tier, None, None, told, engine.billed, advice, is_adopted)
        assert entry.alias is not None
        row = await engine.read_row(entry.alias)
        origins = None if row is None else engine.settings.limit_table.origins(row)
        return Answer(entry.tier, entry.tenant, origins, told, engine.billed, None, is_adopted)


def _copy_told(engine: CommandEngine) -> str:
    """What became of the copy in Redis."""
    from tenantcache.cli.engine import UnwrittenCopies

    stats = engine.stats()
    if stats["lookups"]["redis_hits"]:
        return "has a copy that is fresh"
    if stats["lookups"]["redis_refused"]:
        return "has a copy that is refused: older than a change, or of another database"
    copies = engine.copies
    assert isinstance(copies, UnwrittenCopies)
    if copies.failure is not None:
        return f"cannot be asked: {copies.failure}"
    return "has no copy" if copies.asked else "is not asked, because changes cannot be followed"


async def _missing(engine: CommandEngine, reading: HostReading, *, is_adopted: bool) -> str | None:
    """What to do about an alias that leads to no tenant."""
    from tenantcache.lookup.core.alias import cut

    alias = reading.match.alias
    assert alias is not None
    kind, name = cut(alias)
    if not name:
        return None  # the base domain itself
    rivals = await engine.rivals(alias)
    if len(rivals) > 1:
        return f"several tenants have this name ({', '.join(rivals)}), so it is served for none of them"
    if is_adopted:
        return f"no adopted row gives this name; `tenantcache adopt explain {name}` looks into the query"
    if kind == "subdomain":
        return f"no tenant has it; for a new one: tenantcache tenants create NAME --subdomain {name}"
    claims = await engine.domains.claims(name)
    if claims:
        return f"the tenant {claims[0].tenant_id!r} has asked for it: tenantcache domains verify {name}"
    return f"no tenant has it; for one of them: tenantcache domains add ID {name}"


def _advice(rules: Any, host: str, reading: HostReading, verdict: Verdict, answer: Answer) -> str | None:
    from tenantcache.cli.verdict import advise_on_setting, advise_on_tenant, suggest_host

    if reading.fault is not None:
        meant = suggest_host(rules, host)
        return None if meant is None else f"did you mean {meant}?"
    if answer.tenant is not None:
        return advise_on_tenant(verdict, answer.tenant, is_adopted=answer.is_adopted)
    return advise_on_setting(reading.decided_by, reading.base)


def _document(host: str, reading: HostReading, verdict: Verdict, answer: Answer, advice: str | None) -> dict[str, Any]:
    from tenantcache.cli.tenantview import tenant_document

    return {
        "host": host,
        "outcome": verdict.outcome,
        "status": verdict.status,
        "location": verdict.location,
        "fault": reading.fault,
        "steps": [{"step": step.name, "left": step.left, "found": step.told} for step in reading.steps],
        "alias": reading.match.alias,
        "decided_by": _decider(reading),
        "answered_by": answer.tier,
        "redis": answer.redis,
        "tenant": None if answer.tenant is None else tenant_document(answer.tenant, answer.origins),
        "advice": advice,
        "billed_commands": answer.billed,
    }


def _decider(reading: HostReading) -> str | None:
    from tenantcache.settings.model import variable_of

    if reading.decided_by is None or reading.decided_by == "row":
        return reading.decided_by
    return variable_of(reading.decided_by)


def _render(document: dict[str, Any], reading: HostReading, answer: Answer) -> list[Any]:
    from tenantcache.cli.tenantview import lines_table, rows_table, tenant_lines

    lines = [("host", document["host"]), ("answer", _told(document))]
    if reading.fault is not None:
        lines.append(("fault", reading.fault))
    if document["decided_by"] is not None:
        row = "no row has this name" if answer.tenant is None else "the row that has this name"
        lines.append(("decided by", row if document["decided_by"] == "row" else document["decided_by"]))
    if answer.tier is not None:
        lines.append(("answered by", answer.tier))
    if answer.redis is not None:
        lines.append(("Redis", f"{answer.redis} ({answer.billed} billed command{'' if answer.billed == 1 else 's'})"))
    if document["advice"] is not None:
        lines.append(("what to do", document["advice"]))
    parts: list[Any] = [lines_table(lines)]
    if reading.steps:
        parts += [
            "",
            rows_table(("step", "left", "found"), [(step.name, step.left, step.told) for step in reading.steps]),
        ]
    if answer.tenant is not None:
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
