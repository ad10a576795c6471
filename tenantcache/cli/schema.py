"""`tenantcache init`."""

from __future__ import annotations

import asyncpg
import typer

from tenantcache.cli.connections import POSTGRES_PORT, ServerError, postgres
from tenantcache.settings import Settings, variable_of
from tenantcache.stores import schema
from tenantcache.urls import address


def print_schema() -> None:
    """Print the SQL, for whoever has the right to run it. Needs no settings."""
    typer.echo(schema.sql())


async def create_schema() -> None:
    """Create what is missing in the database that the settings name. Raises ServerError or ConfigurationError."""
    settings = Settings()
    await install_at(settings.database_url, variable_of("database_url"))
    typer.echo(f"tenantcache: the schema is in place at {address(settings.database_url, POSTGRES_PORT)}")


async def install_at(url: str, variable: str) -> None:
    async with postgres(url, variable) as connection:
        try:
            await schema.install(connection)
        except asyncpg.InsufficientPrivilegeError:
            raise ServerError(
                f"{variable}: this user may not create the schema; "
                "run `tenantcache init` as the owner of the database, or hand over the SQL that `--dry-run` prints"
            ) from None
