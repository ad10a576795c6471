"""The commands `init` and `uninstall`, with their options."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tenantcache.cli.adopting import Wanted
    from tenantcache.schema.adopt import TableOptions

Column = Annotated[str | None, typer.Option(metavar="COLUMN")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the SQL and change nothing.")]

QUERY_OPTIONS = ("adopt_query", "kind", "watch", "static", "show_query")
PLAIN_OPTIONS = ("dry_run", "grant", "notify")
"""Options that need no adopted table."""


def _column(help_text: str) -> Any:
    return typer.Option(metavar="COLUMN", help=help_text)


def init(
    context: typer.Context,
    *,
    dry_run: DryRun = False,
    grant: Annotated[
        list[str] | None, typer.Option(metavar="ROLE", help="Let this role run the application, again for each one.")
    ] = None,
    adopt_query: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Serve the tenants that the SELECT in this file describes.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Adopt beside what is adopted, as this kind of tenants.")
    ] = None,
    watch: Annotated[
        list[str] | None,
        typer.Option(metavar="TABLE=COLUMN", help="The column that holds the tenant's id; * if a row may concern any."),
    ] = None,
    static: Annotated[
        list[str] | None, typer.Option(metavar="TABLE", help="A table that the query reads and that never changes.")
    ] = None,
    show_query: Annotated[bool, typer.Option("--show-query", help="Print the query and change nothing.")] = False,
    adopt: Annotated[str | None, typer.Option(metavar="TABLE", help="Serve this table of yours.")] = None,
    id: Annotated[list[str] | None, _column("Its key, again for each further column. (default: primary key)")] = None,
    subdomain: Column = None,
    custom_domain: Column = None,
    custom_domain_verified: Annotated[
        str | None, _column("Serve it only if this is true, or a time; COLUMN=VALUE compares.")
    ] = None,
    name: Column = None,
    status: Annotated[str | None, _column("A text, a boolean (true: active) or a time (NULL: active).")] = None,
    status_map: Annotated[list[str] | None, typer.Option(metavar="PAIRS", help="live=active,off=suspended")] = None,
    plan: Column = None,
    per_minute: Annotated[str | None, _column("NULL: the plan's limit; 0: unlimited.")] = None,
    per_day: Annotated[str | None, _column("NULL: the plan's limit; 0: unlimited.")] = None,
    time_zone: Annotated[str | None, _column("The zone in which its days end, like Europe/Berlin; NULL: UTC.")] = None,
    attributes: Annotated[list[str] | None, _column("One JSON column, or its members one by one, or '*'.")] = None,
    exclude: Annotated[list[str] | None, _column("Keep this one out of '*', again for each further one.")] = None,
    domains_table: Annotated[str | None, typer.Option(metavar="TABLE", help="Custom domains, one a row.")] = None,
    domains_column: Annotated[str | None, _column("(default: domain)")] = None,
    domains_tenant_column: Annotated[list[str] | None, _column("The tenant's key. (default: tenant_id)")] = None,
    domains_primary: Annotated[str | None, _column("A boolean.")] = None,
    domains_verified: Annotated[
        str | None, _column("Serve a domain only if this is true, or a time; COLUMN=VALUE compares.")
    ] = None,
    notify: Annotated[
        bool | None,
        typer.Option("--notify/--no-notify", help="Writers wake processes. (default: as it was, first yes)"),
    ] = None,
) -> None:
    """Create the schema, or add what is missing. Safe to run again.

    With --adopt-query, a query of yours over any of your tables gives the tenants. The tables get triggers and nothing
    else. --adopt writes such a query over one table; its other options name columns, as in SQL.
    """
    from tenantcache.cli.schema import Options, create_schema, print_schema

    # Each option has the name of the field that it fills, so they are passed on together.
    given = {name: value for name, value in context.params.items() if value and name not in PLAIN_OPTIONS}
    options = Options(notify, tuple(grant or ()))
    if given:
        from tenantcache.cli.adopting import adopt_tenants

        asyncio.run(adopt_tenants(_wanted(given), options, dry_run=dry_run))
    elif dry_run:
        print_schema(options)
    else:
        asyncio.run(create_schema(options))


def _wanted(given: Mapping[str, Any]) -> Wanted:
    from tenantcache.cli.adopting import Wanted
    from tenantcache.schema.adopt import AdoptionError

    columns = {name: value for name, value in given.items() if name not in QUERY_OPTIONS}
    if "adopt_query" in given and columns:
        raise AdoptionError(f"{_options(columns)}: the query of --adopt-query says all this itself; leave them out")
    if "adopt_query" not in given and "adopt" not in columns:
        raise AdoptionError(
            f"{_options(given)}: these describe a table of yours; name it with --adopt,"
            " or give a query with --adopt-query"
        )
    return Wanted(
        source=given["adopt_query"] if "adopt_query" in given else _table_options(columns),
        kind=_kind(given.get("kind") or []),
        watch=_pairs(given.get("watch") or ()),
        static=tuple(given.get("static") or ()),
        show_query=bool(given.get("show_query")),
    )


def _kind(given: list[str]) -> str:
    from tenantcache.schema.adopt import AdoptionError

    if len(given) > 1:
        raise AdoptionError(f"--kind is given several times ({', '.join(given)}); adopt one kind after the other")
    if given == [""]:
        raise AdoptionError("--kind is empty; give a name like team, or leave it out")
    return "".join(given)


def _options(given: Mapping[str, Any]) -> str:
    return ", ".join("--" + name.replace("_", "-") for name in given)


def _table_options(given: Mapping[str, Any]) -> TableOptions:
    from tenantcache.schema.adopt import TableOptions, parse_status_map

    fields = dict(given)
    if "status_map" in fields:
        fields["status_map"] = parse_status_map(fields["status_map"])
    return TableOptions(table=fields.pop("adopt"), **fields)


def _pairs(texts: list[str] | tuple[()]) -> dict[str, str]:
    from tenantcache.schema.adopt import AdoptionError

    found = {}
    for text in texts:
        table, equals, column = text.partition("=")
        if not (table and equals and column):
            raise AdoptionError(f"--watch {text}: give a table and a column, like public.subscriptions=organization_id")
        if table.strip() in found:
            raise AdoptionError(f"--watch {table.strip()} is given twice; one column leads to the tenant")
        found[table.strip()] = column.strip()
    return found


def uninstall(
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    drop_data: Annotated[bool, typer.Option("--drop-data", help="Drop our tables even if they hold rows.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Take the schema away again, and its triggers from adopted tables, which keep everything else."""
    from tenantcache.cli import adopting

    asyncio.run(adopting.uninstall(drop_data=drop_data, dry_run=dry_run, confirmed=yes))
