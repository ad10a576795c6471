"""`tenantcache init --adopt` and `tenantcache uninstall`.

They need the parser of SQL, which takes a fifth of the start of a command. `tenantcache init` without options does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import typer

from tenantcache.cli.schema import Options, database, finish, warn
from tenantcache.schema import install as schema
from tenantcache.schema.adopt import (
    FINISH,
    Adoption,
    AdoptionError,
    Plan,
    TableOptions,
    find_warnings,
    install,
    plan_uninstall,
    prepare,
    script,
    write_query,
)
from tenantcache.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be adopted: the file of a query, or options that one is written from."""

    source: Path | TableOptions
    kind: str = ""
    watch: Mapping[str, str] = field(default_factory=dict)
    static: Sequence[str] = ()
    show_query: bool = False


async def adopt_tenants(wanted: Wanted, options: Options, *, dry_run: bool) -> None:
    """Serve tenants of the application's tables from now on, or print the SQL that would.

    Raises AdoptionError and ServerError.
    """
    settings = Settings()
    async with database() as (connection, where):
        query = await _query_of(connection, wanted)
        if wanted.show_query:
            typer.echo(query)
            return
        plan = await prepare(connection, Adoption(query, wanted.kind, wanted.watch, wanted.static))
        for warning in await find_warnings(connection, plan, base_domains=settings.base_domains):
            warn(warning)
        for note in await _replaced(connection, plan):
            warn(note)
        if dry_run:
            statements = await script(connection, plan, beside=bool(wanted.kind))
            typer.echo(f"begin;\n{schema.sql()}\n{statements}\n{options.sql}commit;\n{FINISH}")
            return
        changed = await install(connection, plan, beside=bool(wanted.kind))
        if options.sql:  # asyncpg does not take an empty statement
            await connection.execute(options.sql)
        await finish(connection, ())
        count = await connection.fetchval(
            "select count(*) from tenantcache.tenant_ids() i where $1 = '' or starts_with(i, $1 || ':')", wanted.kind
        )
        ours = await connection.fetchval("select count(*) from tenantcache.tenants")
    if ours:
        warn(f"{ours} tenants in tenantcache.tenants are no longer served")
    tables = ", ".join(table.name for table in plan.query.tables)
    state = "served" if changed else "served already, and nothing was changed"
    what = f"{count} tenants of the kind {wanted.kind}" if wanted.kind else f"{count} tenants"
    typer.echo(f"tenantcache: {what} from {tables} are {state} at {where}")


async def _query_of(connection: asyncpg.Connection, wanted: Wanted) -> str:
    if isinstance(wanted.source, Path):
        try:
            return wanted.source.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise AdoptionError(f"--adopt-query {wanted.source}: the file cannot be read ({reason})") from None
    written = await write_query(connection, wanted.source)
    for warning in written.warnings:
        warn(warning)
    return written.sql


async def _replaced(connection: asyncpg.Connection, plan: Plan) -> list[str]:
    """Tables that have been replaced under their names since they were adopted."""
    if not await connection.fetchval("select to_regclass('tenantcache.watched_tables') is not null"):
        return []
    known = dict(await connection.fetch("select name, relation from tenantcache.watched_tables"))
    return [
        f"this replaces {table.name}: the table of that name is not the one that was adopted"
        for table in plan.query.tables
        if known.get(table.name, table.oid) != table.oid
    ]


async def uninstall(*, drop_data: bool, dry_run: bool, confirmed: bool) -> None:
    """Take the schema and the triggers away, or print the SQL that would. Asks, unless `confirmed`."""
    async with database() as (connection, where):
        plan = await plan_uninstall(connection, drop_data=drop_data)
        if plan is None:
            typer.echo(f"tenantcache: there is nothing of ours at {where}")
            return
        if dry_run:
            typer.echo(f"begin;\n{plan.sql}commit;")
            return
        if plan.kept:
            kept = ", ".join(f"tenantcache.{table}" for table in plan.kept)
            typer.echo(f"tenantcache: {kept} hold rows and stay; --drop-data drops them too")
        if not confirmed:
            of_theirs = f", and its triggers from {plan.adopted}" if plan.adopted else ""
            data = " WITH ALL ITS TENANTS" if drop_data else ""
            typer.confirm(f"Remove tenantcache{data} from {where}{of_theirs}?", abort=True)
        await plan.run(connection)
    typer.echo(f"tenantcache: removed from {where}")
