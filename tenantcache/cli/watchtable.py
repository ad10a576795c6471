"""`tenantcache watch-table`: rows of an application's own table that tell which values and tags have changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from tenantcache.errors import TenantCacheError

if TYPE_CHECKING:
    from tenantcache.schema.watching import TableWatch

_Names = list[str] | None


def watch_table(
    table: Annotated[str | None, typer.Argument(help="The table, like public.settings; without it, list them.")] = None,
    tenant: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The tenant's id. (default: values are shared)")
    ] = None,
    key: Annotated[
        _Names,
        typer.Option(
            help="The key of a value that a row is part of, like settings or profile:{user_id}; may be repeated."
        ),
    ] = None,
    key_column: Annotated[_Names, typer.Option(metavar="COLUMN", help="The same, from a column.")] = None,
    tag: Annotated[
        _Names, typer.Option(help="The tag of values that a row is part of, likewise; may be repeated.")
    ] = None,
    tag_column: Annotated[_Names, typer.Option(metavar="COLUMN", help="The same, from a column.")] = None,
    only: Annotated[
        _Names, typer.Option(metavar="COLUMN", help="Look at this column alone; may be repeated. (default: at all)")
    ] = None,
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Watch the table no longer.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the SQL, and change nothing.")] = False,
) -> None:
    """Invalidate values and tags when rows of a table of yours change. Run again, it changes nothing."""
    from tenantcache.schema.watching import TableWatch

    listed = [tuple(given or ()) for given in (key, key_column, tag, tag_column, only)]
    if table is None or remove:
        if tenant is not None or any(listed) or (table is None and (remove or dry_run)):
            raise TenantCacheError("give TABLE and what its rows are about, or TABLE --remove, or nothing for a list")
        asyncio.run(_list() if table is None else _remove(table, dry_run=dry_run))
        return
    keys, key_columns, tags, tag_columns, columns = listed
    watch = TableWatch(table, tenant, keys, key_columns, tags, tag_columns, columns)
    asyncio.run(_watch(watch, dry_run=dry_run))


async def _watch(watch: TableWatch, *, dry_run: bool) -> None:
    from tenantcache.cli.adopt import installed
    from tenantcache.schema.watching import install, prepare

    async with installed() as (connection, where):
        plan = await prepare(connection, watch)
        if dry_run:
            typer.echo(f"begin;\n{plan.sql}commit;")
            return
        changed = await install(connection, plan)
    state = "watched" if changed else "watched already, and nothing was changed"
    typer.echo(f"tenantcache: {plan.name} is {state} at {where}: {described(plan.watch)}")


async def _remove(table: str, *, dry_run: bool) -> None:
    from tenantcache.cli.adopt import installed
    from tenantcache.schema.watching import removal_of, remove

    async with installed() as (connection, where):
        if dry_run:
            typer.echo(f"begin;\n{await removal_of(connection, table)}commit;")
            return
        await remove(connection, table)
    typer.echo(f"tenantcache: {table} is no longer watched at {where}; what is kept lives until its TTL")


async def _list() -> None:
    from tenantcache.cli.adopt import installed
    from tenantcache.schema.watching import find_faults, watched

    async with installed() as (connection, where):
        watches, faults = await watched(connection), await find_faults(connection)
    for watch in watches:
        typer.echo(f"{watch.table}: {described(watch)}")
    for fault in faults:
        typer.echo(f"{'FAULT' if fault.is_fault else 'WARN'}  {fault.told}", err=True)
    if not watches:
        typer.echo(f"tenantcache: no table is watched at {where}")


def described(watch: TableWatch) -> str:
    """What a row is about, as the options say it."""
    named = [("--tenant", () if watch.tenant is None else (watch.tenant,)), ("--key", watch.keys)]
    named += [("--key-column", watch.key_columns), ("--tag", watch.tags), ("--tag-column", watch.tag_columns)]
    named += [("--only", watch.only)]
    return " ".join(f"{option} {one}" for option, given in named for one in given)
