"""`tenantcache usage`: requests by tenant and day, as far as processes have written them to Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenantcache.cli.terminal import AsJson, Terminal

if TYPE_CHECKING:
    from tenantcache.cli.reader import TenantReader

DAYS = 30
"""Days that are shown if none are given, today included."""


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a date; give one like 2026-03-31") from None


Day = Annotated[date | None, typer.Option(parser=_date, metavar="DATE", help="This day alone.")]
From = Annotated[date | None, typer.Option("--from", parser=_date, metavar="DATE", help="The first day.")]
To = Annotated[date | None, typer.Option("--to", parser=_date, metavar="DATE", help="The last day. (default: today)")]


@dataclass(frozen=True, slots=True)
class Days:
    """From one day to another, that one included; without `until`, to the newest."""

    since: date
    until: date | None = None

    @property
    def end(self) -> date:
        return date.max if self.until is None else self.until

    @property
    def told(self) -> str:
        return f"{self.since} to {'now' if self.until is None else self.until}"

    @property
    def document(self) -> dict[str, str | None]:
        return {"from": self.since.isoformat(), "to": None if self.until is None else self.until.isoformat()}


def usage(
    name: Annotated[
        str | None, typer.Argument(metavar="ID|HOST", help="One tenant, by its id or a host. (default: all)")
    ] = None,
    *,
    day: Day = None,
    since: From = None,
    until: To = None,
    top: Annotated[int, typer.Option(min=1, max=10_000, help="Tenants to show, those with most requests.")] = 20,
    by_day: Annotated[bool, typer.Option("--by-day", help="All tenants together, by day.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how many requests were let through: by tenant, or the days of one tenant. (default: the last 30 days)

    Days are those of each tenant's time zone. Reads Postgres alone, and costs no Redis command.

    Example: tenantcache usage --from 2026-03-01 --to 2026-03-31 --top 10
    """
    days = choose_days(day, since, until, lambda: datetime.now(UTC).date())
    if by_day and name is not None:
        raise typer.BadParameter("--by-day is for all tenants; one tenant is shown by day anyway")
    terminal = Terminal(as_json=as_json, unfolded=True)
    if name is not None:
        asyncio.run(_show_tenant(terminal, name, days))
    elif by_day:
        asyncio.run(_show_days(terminal, days))
    else:
        asyncio.run(_show_busiest(terminal, days, top))


def choose_days(day: date | None, since: date | None, until: date | None, today: Callable[[], date]) -> Days:
    """What --day, --from and --to ask for. Raises typer.BadParameter if they contradict each other.

    Without --to there is no last day: in some time zones it is tomorrow already.
    """
    if day is not None:
        if since is not None or until is not None:
            raise typer.BadParameter("--day is one day; leave --from and --to out")
        return Days(day, day)
    last = until or today()
    begin = since or max(date.min + timedelta(days=DAYS - 1), last) - timedelta(days=DAYS - 1)
    if until is not None and begin > until:
        raise typer.BadParameter(f"--from {begin} is after --to {until}")
    return Days(begin, until)


async def _show_busiest(terminal: Terminal, days: Days, top: int) -> None:
    from tenantcache.cli.reader import open_reader
    from tenantcache.cli.tenantview import rows_table

    async with open_reader() as reader:
        totals = await reader.usage.busiest(days.since, days.end, limit=top)
        requests = sum(day.requests for day in await reader.usage.by_day(days.since, days.end))
        names = await reader.names_of(total.tenant_id for total in totals)
    tenants: list[dict[str, Any]] = [
        {
            "tenant_id": total.tenant_id,
            "name": names.get(total.tenant_id),
            "requests": total.requests,
            "share": round(total.requests / requests, 4) if requests else 0.0,
            "days": total.days,
            "last_seen_at": total.last_seen_at.isoformat(timespec="seconds"),
        }
        for total in totals
    ]
    columns = ("tenant", "name", "requests", "share", "days", "last seen")
    rows = [
        (
            one["tenant_id"],
            "(deleted)" if one["name"] is None else one["name"],
            f"{one['requests']:,}",
            f"{one['share']:.1%}",
            one["days"],
            one["last_seen_at"],
        )
        for one in tenants
    ]
    table = rows_table(columns, rows, right=("requests", "share", "days"))
    terminal.show({**days.document, "requests": requests, "tenants": tenants}, *([table] if rows else []))
    terminal.say(f"{days.told}: {requests:,} requests of all tenants")


async def _show_days(terminal: Terminal, days: Days) -> None:
    from tenantcache.cli.reader import open_reader

    async with open_reader() as reader:
        found = await reader.usage.by_day(days.since, days.end)
    _show(terminal, {}, days, found)


async def _show_tenant(terminal: Terminal, name: str, days: Days) -> None:
    from tenantcache.cli.reader import open_reader

    async with open_reader() as reader:
        tenant_id = await _find_id(reader, name)
        found = [day for day in await reader.usage.read(tenant_id, days.since) if day.day <= days.end]
    _show(terminal, {"tenant_id": tenant_id}, days, found)


async def _find_id(reader: TenantReader, name: str) -> str:
    """The id of a tenant that is there, or that was: usage outlives its tenant. Raises `UnknownTenantError`."""
    from tenantcache.cli.tenantread import find_tenant, is_storable

    if is_storable(name) and await reader.usage.last_seen([name]):
        return name
    return (await find_tenant(reader, name))[0].id


def _show(terminal: Terminal, whose: dict[str, str], days: Days, found: list[Any]) -> None:
    from tenantcache.cli.tenantview import rows_table

    requests = sum(day.requests for day in found)
    rows = [
        {
            "day": day.day.isoformat(),
            "requests": day.requests,
            "last_seen_at": day.last_seen_at.isoformat(timespec="seconds"),
        }
        for day in found
    ]
    table = rows_table(
        ("day", "requests", "last seen"),
        [(row["day"], f"{row['requests']:,}", row["last_seen_at"]) for row in rows],
        right=("requests",),
    )
    terminal.show({**whose, **days.document, "requests": requests, "days": rows}, *([table] if rows else []))
    terminal.say(f"{days.told}: {requests:,} requests")
