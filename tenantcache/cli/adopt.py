"""`tenantcache adopt explain | verify | remove`: what is adopted, and whether that is served."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from tenantcache.errors import TenantCacheError
from tenantcache.lookup.core.alias import is_alias

if TYPE_CHECKING:
    import asyncpg

    from tenantcache.settings.model import Settings

app: typer.Typer = typer.Typer(help="Look into tenants that a query of yours describes.", no_args_is_help=True)


@app.command()
def explain(
    name: Annotated[
        str, typer.Argument(metavar="HOST|ALIAS", help="A host, or id:42, subdomain:acme, name:team:acme.")
    ],
) -> None:
    """Show the row that the query gives for a host or an id, which tables are followed, and how."""
    asyncio.run(_explain(name))


@asynccontextmanager
async def installed() -> AsyncIterator[tuple[asyncpg.Connection, str]]:
    """The database that the settings name, with our schema, and what to call it."""
    from tenantcache.cli.schema import database  # with asyncpg, for which the help need not wait

    async with database() as (connection, where):
        if not await connection.fetchval("select exists (select from pg_namespace where nspname = 'tenantcache')"):
            raise TenantCacheError(f"the database at {where} has no tenantcache schema; run `tenantcache init`")
        yield connection, where


async def _explain(name: str) -> None:
    from tenantcache.schema.adopt.explain import explain as look
    from tenantcache.schema.adopt.explain import followed_ways
    from tenantcache.settings.model import Settings

    async with installed() as (connection, _):
        alias = _alias_of(name, Settings())
        typer.echo(f"{name} is looked up as {alias}")
        found = await look(connection, alias)
        if found.candidates:
            typer.echo(f"known to lead to: {', '.join(found.candidates)}")
        typer.echo(f"answer: {_STATES[found.state]}")
        for key, value in sorted((found.tenant or {}).items()):
            typer.echo(f"  {key:<17}{json.dumps(value, ensure_ascii=False)}")
        if found.tenant is not None:
            typer.echo(f"  {'attributes':<17}{found.attributes or '{}'}")
        ways = await followed_ways(connection)
        typer.echo("followed:" if ways else "followed: tenantcache.tenants and tenantcache.tenant_domains")
        for way in ways:
            typer.echo(f"  {way.kind + ': ' if way.kind else ''}{way.told}")
        fault = await connection.fetchval("select tenantcache.fault()")
        typer.echo(f"init would: {'mend this: ' + fault if fault else 'change nothing, with the same query'}")


_STATES = {
    "found": "this tenant",
    "conflict": "nothing, because several active tenants have this name",
    "unknown": "not known yet: names are being read again",
    "absent": "no tenant",
}


def _alias_of(name: str, settings: Settings) -> str:
    from tenantcache.lookup.core.hosts import HostRules

    if is_alias(name):
        return name
    rules = HostRules(settings.base_domains, settings.reserved_subdomains)
    match = rules.classify(name.encode("utf-8", "surrogateescape"))
    if match.alias is None:
        raise TenantCacheError(f"no tenant can have this host: it is {match.kind}; give a host, or an alias like id:42")
    return match.alias


@app.command()
def verify(
    *, repair: Annotated[bool, typer.Option("--repair", help="Read again what differs, everywhere.")] = False
) -> None:
    """Compare every known tenant with what the query says now; exit with 1 if any differs.

    The same runs by itself, 200 tenants a minute.
    """
    if not asyncio.run(_verify(repair=repair)):
        raise typer.Exit(1)


async def _verify(*, repair: bool) -> bool:
    from tenantcache.schema.adopt import explain as comparing

    compared, wrong = 0, list[str]()
    async with installed() as (connection, _):
        if not await connection.fetchval("select exists (select from tenantcache.adoptions)"):
            raise TenantCacheError("nothing is adopted: tenantcache's own tables are read directly, and cannot differ")
        async for so_far, some in comparing.differing(connection):
            compared = so_far
            wrong += some
            for tenant_id in some:
                typer.echo(f"{tenant_id} is not as the query says")
        if repair and wrong:
            await comparing.repair(connection, wrong)
    state = "read again everywhere" if repair and wrong else "--repair reads them again" if wrong else "all as served"
    typer.echo(f"tenantcache: {compared} tenants compared, {len(wrong)} differ; {state}")
    return not wrong or repair


@app.command()
def remove(kind: Annotated[str, typer.Argument(help="The kind, as given to init --kind.")]) -> None:
    """Stop serving tenants of this kind. Its tables lose their triggers."""
    asyncio.run(_remove(kind))


async def _remove(kind: str) -> None:
    from tenantcache.schema.adopt import remove_kind

    async with installed() as (connection, where):
        await remove_kind(connection, kind)
    typer.echo(f"tenantcache: tenants of the kind {kind} are no longer served at {where}")
