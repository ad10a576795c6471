"""`tenantcache check`: each thing that must work, a line each; a fault does not hide the ones behind it."""

from __future__ import annotations

import asyncpg
import typer

from tenantcache.cli.connections import POSTGRES_PORT, REDIS_PORT, ServerError, postgres, try_redis
from tenantcache.settings import Settings, variable_of
from tenantcache.stores.redis import eviction_warning
from tenantcache.urls import address

_PARTS = tuple(
    f"tenantcache.{name}" for name in ("tenant_source", "domain_source", "change_log", "processes", "counter_holders")
)


async def run_checks() -> bool:
    """Report on stdout what works and on stderr what does not; return whether all does.

    Raises ConfigurationError where the settings have faults, because then there is nothing to connect to.
    """
    settings = Settings()
    typer.echo("ok     settings  read from the environment")
    postgres_works = await _check_postgres(settings)
    return await _check_redis(settings) and postgres_works


async def _check_postgres(settings: Settings) -> bool:
    variable, where = variable_of("database_url"), address(settings.database_url, POSTGRES_PORT)
    try:
        async with postgres(settings.database_url, variable) as connection:
            version = await connection.fetchval("SHOW server_version")
            typer.echo(f"ok     postgres  {where}, PostgreSQL {version}")
            await _check_schema(connection, variable)
    except ServerError as error:
        typer.echo(f"FAULT  {error}", err=True)
        return False
    return True


async def _check_schema(connection: asyncpg.Connection, variable: str) -> None:
    try:
        missing = [part for part in _PARTS if await connection.fetchval("SELECT to_regclass($1) IS NULL", part)]
        if missing:
            raise ServerError(f"{variable}: the database lacks {', '.join(missing)}; run `tenantcache init`")
        count = await connection.fetchval("SELECT count(*) FROM tenantcache.tenant_source")
    except asyncpg.InsufficientPrivilegeError:
        raise ServerError(
            f"{variable}: this user may not read the tables; GRANT USAGE on the schema tenantcache and SELECT on it"
        ) from None
    typer.echo(f"ok     schema    {count} tenants")


async def _check_redis(settings: Settings) -> bool:
    if settings.redis_url is None:
        typer.echo("ok     redis     not set: no shared copies, and counters are kept in Postgres")
        return True
    try:
        info = await try_redis(settings.redis_url, variable_of("redis_url"), settings.key_prefix)
    except ServerError as error:
        typer.echo(f"FAULT  {error}", err=True)
        return False
    version = f"Redis {info['redis_version']}" if "redis_version" in info else "version unknown (INFO is forbidden)"
    typer.echo(f"ok     redis     {address(settings.redis_url, REDIS_PORT)}, {version}")
    if warning := eviction_warning(info):
        typer.echo(f"WARN   {variable_of('redis_url')}: {warning}", err=True)
    return True
