"""`tenantcache init` of tables of our own. What adopts tables of the application's is in `adopting`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import typer

from tenantcache.cli.connections import ServerError, postgres
from tenantcache.schema import install as schema
from tenantcache.schema.inspection import find_conflicts, find_whole_hosts
from tenantcache.schema.rebuild import rebuild_if_changed
from tenantcache.settings.model import Settings, variable_of
from tenantcache.settings.urls import POSTGRES_PORT, address
from tenantcache.stores.changelog import REBUILD_TIMEOUT


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
    """Print the SQL, for a person with the right to run it. Needs no settings."""
    typer.echo(schema.sql() + options.sql)


async def create_schema(options: Options) -> None:
    """Create what is missing in the database that the settings name. Raises ServerError or ConfigurationError."""
    settings = Settings()
    await install_at(settings.database_url, variable_of("database_url"), options)
    async with database() as (connection, where):
        await finish(connection, settings.base_domains)
    typer.echo(f"tenantcache: the schema is in place at {where}")


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


async def finish(connection: asyncpg.Connection, base_domains: Sequence[str]) -> None:
    """Mend what can be mended, and warn of the rest."""
    if (fault := await rebuild_if_changed(connection, REBUILD_TIMEOUT)) is not None:
        warn(f"changes cannot be followed: {fault}")
    for host in await find_whole_hosts(connection, base_domains):
        warn(
            f"the domain {host!r} is under a base domain. Only the first label counts there, so no request leads to it"
        )
    for name in await find_conflicts(connection):
        warn(f"several active tenants have the name {name!r}: it is served for none of them")


def warn(text: str) -> None:
    typer.echo(f"tenantcache: warning: {text}", err=True)


@asynccontextmanager
async def database() -> AsyncIterator[tuple[asyncpg.Connection, str]]:
    """The database that the settings name, and what to call it. Says what to do if a right is missing."""
    settings, variable = Settings(), variable_of("database_url")
    async with postgres(settings.database_url, variable) as connection:
        try:
            yield connection, address(settings.database_url, POSTGRES_PORT)
        except asyncpg.InsufficientPrivilegeError as error:
            raise ServerError(
                f"{variable}: this user may not do that ({error.args[0]}); "
                "run it as the owner of the database and of the tables, or hand over the SQL that `--dry-run` prints"
            ) from None
