"""`tenantcache tenants`: list, show, create, update, suspend, resume, delete."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenantcache.cli.terminal import AsJson, Terminal
from tenantcache.tenant import Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tenantcache.engine import TenantCache
    from tenantcache.tenant import Tenant

app: typer.Typer = typer.Typer(help="List, show and change tenants.", no_args_is_help=True)

TenantId = Annotated[str, typer.Argument(metavar="ID", help="The tenant's id.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

Subdomain = Annotated[str | None, typer.Option(metavar="LABEL", help="Its label under the base domains.")]
StatusOption = Annotated[Status | None, typer.Option(help="What its requests get.")]
Plan = Annotated[str | None, typer.Option(help="A plan of TENANTCACHE_PLANS.")]
PerMinute = Annotated[int | None, typer.Option(metavar="REQUESTS", help="A limit of its own; 0 is unlimited.")]
PerDay = Annotated[int | None, typer.Option(metavar="REQUESTS", help="A limit of its own; 0 is unlimited.")]
TimeZone = Annotated[str | None, typer.Option(metavar="ZONE", help="At whose midnight its days end: Europe/Berlin.")]
Attributes = Annotated[
    str | None,
    typer.Option(metavar="JSON", help="A JSON object, which replaces the one before; - reads it from stdin."),
]

FIELDS = {
    "subdomain": "subdomain",
    "plan": "plan",
    "per-minute": "limit_per_minute",
    "per-day": "limit_per_day",
    "time-zone": "time_zone",
    "attributes": "attributes",
}
"""What --unset takes, and the column of each."""


@app.command("list")
def list_tenants(
    *,
    status: Annotated[Status | None, typer.Option(help="Only those with this status.")] = None,
    plan: Annotated[str | None, typer.Option(help="Only those with this plan.")] = None,
    search: Annotated[
        str, typer.Option(metavar="TEXT", help="Only those with this in their id, name, subdomain or domains.")
    ] = "",
    after: Annotated[str, typer.Option(metavar="ID", help="Begin behind this id: the next page.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Tenants of a page.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List tenants by id, those of an adopted table as well.

    Example: tenantcache tenants list --status suspended --search acme
    """
    asyncio.run(
        _list(
            Terminal(as_json=as_json, unfolded=True), status=status, plan=plan, search=search, after=after, limit=limit
        )
    )


async def _list(terminal: Terminal, **wanted: Any) -> None:
    from tenantcache.cli.reader import open_reader
    from tenantcache.cli.tenantview import tenant_document, tenants_table

    async with open_reader() as reader:
        page = await reader.tenants.list(**wanted)
    documents = [tenant_document(tenant) for tenant in page.tenants]
    terminal.show({"tenants": documents, "next": page.next}, *([tenants_table(page.tenants)] if documents else []))
    if not documents:
        terminal.say("no tenants")
    elif page.next is not None:
        terminal.say(f"there are more: --after {_quoted(page.next)}")


def _quoted(text: str) -> str:
    import shlex

    from tenantcache.cli.visible import visible

    return shlex.quote(visible(text))


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="ID|HOST", help="The tenant's id, or a host that leads to it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one tenant: its columns, the limits in force with the origin of each, and when it was last seen.

    A text that is an id and a host as well is taken for the id.

    Example: tenantcache tenants show acme.example.com
    """
    asyncio.run(_show(Terminal(as_json=as_json, unfolded=True), name))


async def _show(terminal: Terminal, name: str) -> None:
    from tenantcache.cli.reader import open_reader
    from tenantcache.cli.tenantread import find_tenant
    from tenantcache.cli.tenantview import lines_table, tenant_document, tenant_lines

    async with open_reader() as reader:
        tenant, origins = await find_tenant(reader, name)
        seen = (await reader.usage.last_seen([tenant.id])).get(tenant.id)
    last_seen = None if seen is None else seen.isoformat(timespec="seconds")
    lines = [*tenant_lines(tenant, origins), ("last seen", last_seen or "not yet, as far as usage has been written")]
    terminal.show(tenant_document(tenant, origins) | {"last_seen_at": last_seen}, lines_table(lines))


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is called.")],
    *,
    tenant_id: Annotated[str | None, typer.Option("--id", help="(default: a random UUID)")] = None,
    subdomain: Subdomain = None,
    domain: Annotated[
        list[str] | None, typer.Option(help="A domain of its own, served without a proof; again for each further one.")
    ] = None,
    primary_domain: Annotated[str | None, typer.Option(metavar="DOMAIN", help="One of its domains.")] = None,
    status: StatusOption = None,
    plan: Plan = None,
    per_minute: PerMinute = None,
    per_day: PerDay = None,
    time_zone: TimeZone = None,
    attributes: Attributes = None,
    as_json: AsJson = False,
) -> None:
    """Create a tenant. With Redis this costs one billed command for each name that leads to it, its id included.

    Example: tenantcache tenants create "Acme Inc." --id acme --subdomain acme --plan pro
    """
    columns = _columns(
        subdomain=subdomain,
        status=status,
        plan=plan,
        limit_per_minute=per_minute,
        limit_per_day=per_day,
        time_zone=time_zone,
        attributes=attributes,
    )
    domains = domain or []

    async def write(cache: TenantCache) -> Tenant:
        return await cache.tenants.create(name, id=tenant_id, domains=domains, primary_domain=primary_domain, **columns)

    asyncio.run(_write(Terminal(as_json=as_json, unfolded=True), write))


@app.command()
def update(
    tenant_id: TenantId,
    *,
    name: Annotated[str | None, typer.Option(help="What it is called.")] = None,
    subdomain: Subdomain = None,
    status: StatusOption = None,
    plan: Plan = None,
    per_minute: PerMinute = None,
    per_day: PerDay = None,
    time_zone: TimeZone = None,
    attributes: Attributes = None,
    unset: Annotated[
        list[str] | None, typer.Option(metavar="FIELD", help=f"Take a value away: {', '.join(FIELDS)}.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given and nothing else. With Redis, one billed command for each name, as for create.

    Example: tenantcache tenants update acme --plan pro --unset per-minute
    """
    columns = _columns(
        name=name,
        subdomain=subdomain,
        status=status,
        plan=plan,
        limit_per_minute=per_minute,
        limit_per_day=per_day,
        time_zone=time_zone,
        attributes=attributes,
    )
    _take_away(columns, unset or [])
    if not columns:
        raise typer.BadParameter("there is nothing to change; give an option, like --plan pro")

    async def write(cache: TenantCache) -> Tenant:
        return await cache.tenants.update(tenant_id, **columns)

    asyncio.run(_write(Terminal(as_json=as_json, unfolded=True), write, tenant_id))


@app.command()
def suspend(tenant_id: TenantId, *, as_json: AsJson = False) -> None:
    """Refuse a tenant's requests from now on (403).

    Example: tenantcache tenants suspend acme
    """
    asyncio.run(
        _write(Terminal(as_json=as_json, unfolded=True), lambda cache: cache.tenants.suspend(tenant_id), tenant_id)
    )


@app.command()
def resume(tenant_id: TenantId, *, as_json: AsJson = False) -> None:
    """Serve a tenant again, after suspend or maintenance.

    Example: tenantcache tenants resume acme
    """
    asyncio.run(
        _write(Terminal(as_json=as_json, unfolded=True), lambda cache: cache.tenants.resume(tenant_id), tenant_id)
    )


@app.command()
def delete(tenant_id: TenantId, *, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete a tenant with its domains. Its usage stays. With Redis this costs one billed command.

    To keep its names from going to another tenant, set its status to deleted instead: update --status deleted.

    Example: tenantcache tenants delete acme --yes
    """
    asyncio.run(_delete(Terminal(as_json=as_json, unfolded=True), tenant_id, yes=yes))


async def _delete(terminal: Terminal, tenant_id: str, *, yes: bool) -> None:
    from tenantcache.cli.confirm import confirm, refuse_without_terminal
    from tenantcache.cli.engine import open_engine
    from tenantcache.cli.tenantread import get_tenant

    refuse_without_terminal(yes=yes)
    async with open_engine() as engine:
        tenant = await get_tenant(engine, tenant_id)
        names = len(tenant.aliases) - 1
        confirm(f"Delete the tenant {tenant.id!r} ({tenant.name!r}) with {names} names that lead to it?", yes=yes)
        await engine.tenants.delete(tenant.id)
        billed = engine.billed
    terminal.show({"deleted": tenant.id, "billed_commands": billed})
    terminal.say(f"deleted {tenant.id}; {billed} billed Redis commands")


async def _write(
    terminal: Terminal, write: Callable[[TenantCache], Awaitable[Tenant]], tenant_id: str | None = None
) -> None:
    """Make one change, and show the tenant as it is then. `tenant_id` is that of a tenant that has to be there."""
    from tenantcache.cli.engine import open_engine
    from tenantcache.cli.tenantread import get_tenant, origins_of
    from tenantcache.cli.tenantview import lines_table, tenant_document, tenant_lines

    async with open_engine() as engine:
        if tenant_id is not None:
            await get_tenant(engine, tenant_id)
        tenant = await write(engine)
        origins = await origins_of(engine, tenant)
        billed = engine.billed
    terminal.show(
        tenant_document(tenant, origins) | {"billed_commands": billed}, lines_table(tenant_lines(tenant, origins))
    )
    terminal.say(f"{billed} billed Redis commands")


def _columns(**given: Any) -> dict[str, Any]:
    """The columns that were given, with the attributes as what they mean."""
    columns = {name: value for name, value in given.items() if value is not None}
    if "attributes" in columns:
        columns["attributes"] = _read_attributes(columns["attributes"])
    return columns


def _take_away(columns: dict[str, Any], fields: list[str]) -> None:
    """Add what --unset says."""
    for field in fields:
        if field not in FIELDS:
            raise typer.BadParameter(f"{field!r} cannot be taken away; there are {', '.join(FIELDS)}")
        if FIELDS[field] in columns:
            raise typer.BadParameter(f"--{field} and --unset {field} contradict each other")
        columns[FIELDS[field]] = {} if field == "attributes" else None


def _read_attributes(text: str) -> Any:
    import json
    import sys

    if text == "-":
        text = sys.stdin.read()
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"--attributes is not JSON: {error}") from None
