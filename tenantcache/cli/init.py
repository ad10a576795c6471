"""The commands `init` and `uninstall`, with their options."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tenantcache.stores.adopt import Adoption

Column = Annotated[str | None, typer.Option(metavar="COLUMN")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the SQL and change nothing.")]


def _column(help_text: str) -> Any:
    return typer.Option(metavar="COLUMN", help=help_text)


def init(
    context: typer.Context,
    *,
    dry_run: DryRun = False,
    adopt: Annotated[str | None, typer.Option(metavar="TABLE", help="Serve this table of yours.")] = None,
    id: Annotated[list[str] | None, _column("Its key, again for each further column. (default: primary key)")] = None,
    subdomain: Column = None,
    custom_domain: Column = None,
    custom_domain_verified: Annotated[str | None, _column("Serve it only where this is true, or not NULL.")] = None,
    name: Column = None,
    status: Annotated[str | None, _column("A text, a boolean (true: active) or a time (NULL: active).")] = None,
    status_map: Annotated[list[str] | None, typer.Option(metavar="PAIRS", help="live=active,off=suspended")] = None,
    plan: Column = None,
    per_minute: Annotated[str | None, _column("NULL: the plan's limit; 0: unlimited.")] = None,
    per_day: Annotated[str | None, _column("NULL: the plan's limit; 0: unlimited.")] = None,
    time_zone: Annotated[str | None, _column("Where its days end, like Europe/Berlin; NULL: UTC.")] = None,
    attributes: Annotated[list[str] | None, _column("One JSON column, or its members one by one, or '*'.")] = None,
    exclude: Annotated[list[str] | None, _column("Keep this one out of '*', again for each further one.")] = None,
    domains_table: Annotated[str | None, typer.Option(metavar="TABLE", help="Custom domains, one a row.")] = None,
    domains_column: Annotated[str | None, _column("(default: domain)")] = None,
    domains_tenant_column: Annotated[list[str] | None, _column("The tenant's key. (default: tenant_id)")] = None,
    domains_primary: Annotated[str | None, _column("A boolean.")] = None,
    domains_verified: Annotated[str | None, _column("Serve only what is true here, or not NULL.")] = None,
    grant: Annotated[list[str] | None, typer.Option(metavar="ROLE", help="Processes may connect as it.")] = None,
    notify: Annotated[
        bool | None,
        typer.Option("--notify/--no-notify", help="Writers wake processes. (default: as it was, first yes)"),
    ] = None,
) -> None:
    """Create the schema, or add what is missing. Safe to run again.

    With --adopt a table of yours is served instead, as it is: views are made over it, and triggers on it log its
    changes. All other options name its columns, as in SQL.
    """
    from tenantcache.cli.schema import Options, adopt_table, create_schema, print_schema

    # Each option has the name of the field that it fills, so they are handed on together.
    ours = ("dry_run", "grant", "notify")
    given = {name: value for name, value in context.params.items() if value and name not in ours}
    options = Options(notify, tuple(grant or ()))
    if given:
        asyncio.run(adopt_table(_adoption(given), options, dry_run=dry_run))
    elif dry_run:
        print_schema(options)
    else:
        asyncio.run(create_schema(options))


def _adoption(given: Mapping[str, Any]) -> Adoption:
    from tenantcache.stores.adopt import Adoption, AdoptionError, parse_status_map

    fields = dict(given)
    if "adopt" not in fields:
        options = ", ".join("--" + name.replace("_", "-") for name in fields)
        raise AdoptionError(f"{options}: these name parts of a table of yours; give the table with --adopt")
    if "status_map" in fields:
        fields["status_map"] = parse_status_map(fields["status_map"])
    return Adoption(table=fields.pop("adopt"), **fields)


def uninstall(
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    drop_data: Annotated[bool, typer.Option("--drop-data", help="Drop our tables even where they hold rows.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Take the schema away again, and its triggers from an adopted table, which keeps everything else."""
    from tenantcache.cli import schema

    asyncio.run(schema.uninstall(drop_data=drop_data, dry_run=dry_run, confirmed=yes))
