"""`tenantcache budget`: what the fleet uses of its Redis in this period, what that costs, and what comes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenantcache.cli.terminal import AsJson, Exit, FailOn, Terminal

if TYPE_CHECKING:
    from tenantcache.budget.core.budget import Budget
    from tenantcache.cli.fleetbudget import FleetBudget


OF_THIS_PROCESS = ("own", "unreported", "by_command")
"""What a budget says of the process that reads it: here that is the command, which tells nothing."""


def budget(
    *,
    fail_on: Annotated[
        FailOn, typer.Option(help="Exit with 1 if the budget may be used up (warn), or will be (crit).")
    ] = FailOn.CRIT,
    as_json: AsJson = False,
) -> None:
    """Show what the fleet uses of its Redis in this period, the forecast, and what the next bands would save.

    Reads Postgres alone, in which every process writes its use once a minute, and costs no Redis command.

    Example: tenantcache budget --fail-on warn --json
    """
    raise typer.Exit(asyncio.run(_show(Terminal(as_json=as_json, unfolded=True), fail_on)))


async def _show(terminal: Terminal, fail_on: FailOn) -> Exit:
    from tenantcache.cli.reader import open_reader
    from tenantcache.cli.tenantview import lines_table

    async with open_reader() as reader:
        fleet = await reader.read_budget()
    found = fleet.summary
    severity = severity_of(found)
    parts: list[Any] = [lines_table(_lines(fleet))]
    if any(one.billed for one in found.by_purpose):
        parts += ["", _purposes_table(found)]
    if fleet.ahead:
        parts += ["", _bands_table(fleet)]
    terminal.show(_document(fleet) | {"severity": severity}, *parts)
    terminal.say(found.note)
    failing = ("crit",) if fail_on is FailOn.CRIT else ("warn", "crit")
    return Exit.FINDINGS if severity in failing else Exit.FINE


def severity_of(found: Budget) -> str:
    """crit: the budget is expected to be used up in this period. warn: it may be, by the forecast's interval."""
    if found.forecast.exhausted_at is not None:
        return "crit"
    return "ok" if found.forecast.exhausted_from is None else "warn"


def _document(fleet: FleetBudget) -> dict[str, Any]:
    document = {name: value for name, value in fleet.summary.as_dict().items() if name not in OF_THIS_PROCESS}
    ahead = [{"band": one.band.value, "begins_at": one.begins_at, "saves": one.saves} for one in fleet.ahead]
    return document | {"bands_ahead": ahead}


def _lines(fleet: FleetBudget) -> list[tuple[str, str]]:
    found, ahead = fleet.summary, fleet.summary.forecast
    used = f"{found.used:,} {found.unit}, ${found.cost:,.2f}"
    lines = [
        ("period", f"{_day(found.period_start)} to {_day(found.period_end)} (UTC)"),
        ("used", used if found.share is None else f"{used}, {found.share:.1%} of the budget"),
        ("forecast", f"{ahead.expected:,} at its end, ${found.forecast_cost:,.2f}"),
        ("interval", f"{ahead.low:,} to {ahead.high:,} (95 %), by the last {_days(ahead.days)}"),
        ("a day", f"{ahead.per_day:,.0f}"),
    ]
    if found.provider is not None:
        told = f"{found.provider.billed:,} on {_minute(found.provider.read_at)}; {found.counted:,} counted here"
        lines.insert(2, ("the provider", told))
    if found.limit is None:
        return [*lines, ("budget", "none: see TENANTCACHE_REDIS_MONTHLY_BUDGET")]
    budget = [("budget", f"{found.limit:,} {found.unit}"), ("used up", _exhaustion(found)), ("band", found.band)]
    return [*lines, *budget]


def _exhaustion(found: Budget) -> str:
    ahead = found.forecast
    if ahead.exhausted_from is None:
        return "not in this period"
    earliest = _minute(ahead.exhausted_from)
    if ahead.exhausted_at is None:
        return f"not as expected; at the earliest on {earliest}"
    return f"on {_minute(ahead.exhausted_at)}, at the earliest on {earliest}"


def _purposes_table(found: Budget) -> Any:
    from tenantcache.cli.tenantview import rows_table

    total = sum(one.billed for one in found.by_purpose)
    rows = [
        (one.purpose, f"{one.billed:,}", f"{one.billed / total:.1%}" if total else "", f"${one.cost:,.4f}")
        for one in sorted(found.by_purpose, key=lambda one: -one.billed)
        if one.billed
    ]
    return rows_table(("purpose", found.unit, "share", "cost"), rows, right=(found.unit, "share", "cost"))


def _bands_table(fleet: FleetBudget) -> Any:
    from tenantcache.cli.tenantview import rows_table

    rows = [
        (one.band.value, f"{one.begins_at:,}", "depends on the traffic" if one.saves is None else f"{one.saves:,}")
        for one in fleet.ahead
    ]
    columns = ("next bands", "begins at", "if it began now, it would save until the period's end")
    return rows_table(columns, rows, right=("begins at",))


def _days(days: float) -> str:
    return f"{days * 24:.0f} hours" if days < 2 else f"{days:.0f} days"


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def _minute(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
