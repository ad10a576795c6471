"""`tenantcache check`: each thing that must work, a line each; a fault does not hide the ones behind it."""

from __future__ import annotations

import asyncpg
import typer

from tenantcache.cli.connections import ServerError, postgres, try_redis
from tenantcache.cli.plans import find_unknown_plans
from tenantcache.schema.inspection import (
    find_ambiguous_names,
    find_conflicts,
    find_faults,
    find_watch_faults,
    find_whole_hosts,
)
from tenantcache.settings.model import Settings, variable_of
from tenantcache.settings.urls import POSTGRES_PORT, REDIS_PORT, address
from tenantcache.stores.redis import eviction_warning


async def run_checks() -> bool:
    """Report on stdout what works and on stderr what does not; return whether all does.

    Raises ConfigurationError if the settings have faults, because then there is nothing to connect to.
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
            await _check_schema(connection, variable, settings)
    except ServerError as error:
        for line in str(error).splitlines():
            typer.echo(f"FAULT  {line}", err=True)
        return False
    return True


async def _check_schema(connection: asyncpg.Connection, variable: str, settings: Settings) -> None:
    faults = await find_faults(connection)
    if faults:
        raise ServerError("\n".join(f"{variable}: {fault}" for fault in faults))
    count = await connection.fetchval("select count(*) from tenantcache.tenant_ids()")
    adopted = await connection.fetch(
        "select kind, options ->> 'table' as tables from tenantcache.adoptions order by kind"
    )
    served = "; ".join(f"{row['kind'] or 'tenants'} from {row['tables']}" for row in adopted)
    typer.echo(f"ok     schema    {count} tenants{f' ({served})' if served else ''}")
    for part, warning in await find_warnings(connection, settings):
        typer.echo(f"WARN   {part:<9} {warning}", err=True)


async def find_warnings(connection: asyncpg.Connection, settings: Settings) -> list[tuple[str, str]]:
    """What works and is not as it should be: the part that it is of, and a line for people."""
    found = [
        f"several active tenants have the name {name!r}: it is served for none of them"
        for name in await find_conflicts(connection)
    ]
    found += [
        f"the domain {host!r} is under a base domain: no request leads to it"
        for host in await find_whole_hosts(connection, settings.base_domains)
    ]
    found += await find_ambiguous_names(connection)
    found += await find_watch_faults(connection, harmless=True)
    plans = await find_unknown_plans(connection, settings)
    return [*(("schema", line) for line in found), *(("plans", line) for line in plans)]


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
