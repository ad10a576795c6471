"""`tenantcache init` and `tenantcache uninstall`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import typer

from tenantcache.cli.connections import POSTGRES_PORT, ServerError, postgres
from tenantcache.settings import Settings, variable_of
from tenantcache.stores import schema
from tenantcache.stores.adopt import Adoption, plan_uninstall, prepare
from tenantcache.urls import address


@dataclass(frozen=True)
class Options:
    """What is chosen at an installation: see `schema.options_sql`."""

    notify: bool | None = None
    roles: tuple[str, ...] = ()

    @property
    def sql(self) -> str:
        return schema.options_sql(notify=self.notify, roles=self.roles)


_NO_OPTIONS = Options()


def print_schema(options: Options) -> None:
    """Print the SQL, for whoever has the right to run it. Needs no settings."""
    typer.echo(schema.sql() + options.sql)


async def create_schema(options: Options) -> None:
    """Create what is missing in the database that the settings name. Raises ServerError or ConfigurationError."""
    settings = Settings()
    await install_at(settings.database_url, variable_of("database_url"), options)
    typer.echo(f"tenantcache: the schema is in place at {address(settings.database_url, POSTGRES_PORT)}")


async def install_at(url: str, variable: str, options: Options = _NO_OPTIONS) -> None:
    async with postgres(url, variable) as connection:
        try:
            await schema.install(connection, notify=options.notify, roles=options.roles)
        except asyncpg.UndefinedObjectError as error:  # a role to grant to
            raise ServerError(f"{variable}: {error.args[0]}") from None
        except asyncpg.InsufficientPrivilegeError:
            raise ServerError(
                f"{variable}: this user may not create the schema; "
                "run `tenantcache init` as the owner of the database, or hand over the SQL that `--dry-run` prints"
            ) from None


async def adopt_table(adoption: Adoption, options: Options, *, dry_run: bool) -> None:
    """Serve an existing table from now on, or print the SQL that would. Raises AdoptionError and ServerError."""
    async with _database() as (connection, where):
        prepared = await prepare(connection, adoption)
        for doubt in prepared.doubts:
            typer.echo(f"tenantcache: warning: {doubt}", err=True)
        if dry_run:
            typer.echo(prepared.dry_run + options.sql, nl=False)
            return
        changed = await prepared.install(connection)
        await connection.execute(options.sql)
        count = await connection.fetchval("select count(*) from tenantcache.tenant_source")
        ours = await connection.fetchval("select count(*) from tenantcache.tenants")
    if ours:
        typer.echo(f"tenantcache: warning: {ours} tenants in tenantcache.tenants are not served any more", err=True)
    state = "is served" if changed else "is served already, and nothing was changed"
    typer.echo(f"tenantcache: {prepared.table} ({count} tenants) {state} at {where}")


async def uninstall(*, drop_data: bool, dry_run: bool, confirmed: bool) -> None:
    """Take the schema and the triggers away, or print the SQL that would. Asks, unless `confirmed`."""
    async with _database() as (connection, where):
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


@asynccontextmanager
async def _database() -> AsyncIterator[tuple[asyncpg.Connection, str]]:
    """The database that the settings name, and what to call it. Says what to do where a right is missing."""
    settings, variable = Settings(), variable_of("database_url")
    async with postgres(settings.database_url, variable) as connection:
        try:
            yield connection, address(settings.database_url, POSTGRES_PORT)
        except asyncpg.InsufficientPrivilegeError as error:
            raise ServerError(
                f"{variable}: this user may not do that ({error.args[0]}); "
                "run it as the owner of the database and of the tables, or hand over the SQL that `--dry-run` prints"
            ) from None
