"""Taking tenantcache out of a database: its schema, and its triggers on adopted tables, and nothing else of those."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from tenantcache.schema import install as schema
from tenantcache.schema.adopt.catalog import AdoptionError

DATA = ("tenants", "tenant_domains", "domain_challenges", "usage")
"""What an operator may want to keep. Everything else in the schema can be made again from nothing."""

_TRIGGERS = r"""
    select format('drop trigger %I on %s;', t.tgname, t.tgrelid::regclass)
    from pg_trigger t join pg_proc p on p.oid = t.tgfoid join pg_class c on c.oid = t.tgrelid
    where p.pronamespace = 'tenantcache'::regnamespace and not t.tgisinternal
        and (c.relnamespace = p.pronamespace or t.tgname like 'tenantcache\_%')
    order by t.tgrelid::regclass::text, t.tgname
"""
_VIEWS = """
    select 'drop view ' || string_agg(format('tenantcache.%I', relname), ', ' order by relname) || ';'
    from pg_class where relnamespace = 'tenantcache'::regnamespace and relkind = 'v' having count(*) > 0
"""
_ROUTINES = """
    select 'drop routine ' || string_agg(oid::regprocedure::text, ', ' order by proname) || ';'
    from pg_proc where pronamespace = 'tenantcache'::regnamespace having count(*) > 0
"""
_TABLES = """
    select 'drop table ' || string_agg(format('tenantcache.%I', relname), ', ' order by relname) || ';'
    from pg_class where relnamespace = 'tenantcache'::regnamespace and relkind = 'r' and relname <> all ($1)
    having count(*) > 0
"""
# Those that belong to a column go with its table.
_SEQUENCES = """
    select format('drop sequence tenantcache.%I;', c.relname) from pg_class c
    where c.relnamespace = 'tenantcache'::regnamespace and c.relkind = 'S'
        and not exists (select from pg_depend d where d.objid = c.oid and d.deptype in ('a', 'i'))
"""


@dataclass(frozen=True, slots=True)
class Uninstall:
    """The statements, the owned tables that stay because they hold rows, and the tables of the application's that lose
    triggers."""

    sql: str
    kept: Sequence[str]
    adopted: str | None
    drop_data: bool

    async def run(self, connection: asyncpg.Connection) -> None:
        """Raises `AdoptionError` if an object of the application's depends on it, if another session holds a lock, or
        if the plan has changed. A table may have got its first rows while a person was asked."""
        try:
            async with connection.transaction():
                await connection.execute(schema.LOCK)
                if await _plan(connection, drop_data=self.drop_data) != self:
                    raise AdoptionError("nothing was changed: what is there has changed meanwhile; run it again")
                await connection.execute(self.sql)
        except asyncpg.DependentObjectsStillExistError as error:
            raise AdoptionError(f"nothing was changed: {error.detail}; drop that first") from None
        except asyncpg.LockNotAvailableError:
            raise AdoptionError("nothing was changed: a long transaction uses these tables; try again later") from None


async def plan_uninstall(connection: asyncpg.Connection, *, drop_data: bool) -> Uninstall | None:
    """What there is to take away; None if there is nothing. Tables with rows stay unless `drop_data`."""
    async with connection.transaction():
        await connection.execute(schema.LOCK)
        return await _plan(connection, drop_data=drop_data)


async def _plan(connection: asyncpg.Connection, *, drop_data: bool) -> Uninstall | None:
    # By a query of the catalogue, which to_regnamespace is not: that one may answer from before we waited for the lock.
    if not await connection.fetchval("select exists (select from pg_namespace where nspname = 'tenantcache')"):
        return None
    kept = [] if drop_data else [table for table in DATA if await _has_rows(connection, table)]
    parts = ["set local lock_timeout = '5s';"]
    for query, arguments in ((_TRIGGERS, ()), (_VIEWS, ()), (_ROUTINES, ()), (_TABLES, (kept,)), (_SEQUENCES, ())):
        parts += [row[0] for row in await connection.fetch(query, *arguments)]
    if not kept:
        parts.append("drop schema tenantcache;")
    adopted = None
    if await connection.fetchval("select to_regclass('tenantcache.adoptions') is not null"):
        adopted = await connection.fetchval("select string_agg(options ->> 'table', ', ') from tenantcache.adoptions")
    if await connection.fetchval("select to_regclass('tenantcache.value_watches') is not null"):
        watched = await connection.fetchval(
            "select string_agg(name, ', ' order by name) from tenantcache.value_watches"
        )
        adopted = ", ".join(filter(None, (adopted, watched))) or None
    return Uninstall("\n".join(parts) + "\n", kept, adopted, drop_data)


async def _has_rows(connection: asyncpg.Connection, table: str) -> bool:
    if await connection.fetchval("select to_regclass($1) is null", f"tenantcache.{table}"):
        return False
    found: bool = await connection.fetchval(f"select exists (select from tenantcache.{table})")
    return found
