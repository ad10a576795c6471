"""What a person should know before a table is served: nothing here keeps it from working, all of it may surprise."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence

import asyncpg

from tenantcache.stores.adopt.catalog import Column, Table
from tenantcache.stores.adopt.expressions import canonical, id_of, literal
from tenantcache.stores.adopt.mapping import HostColumn, TableMapping

EXAMPLES = 3
"""Values that a message shows of many."""

# One label, and a host: what a request can carry (RFC 1123 2.1), in lower case.
_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_SUBDOMAIN = f"^{_LABEL}$"
_DOMAIN = f"^{_LABEL}(\\.{_LABEL})+$"

_SECRET = re.compile(r"passw|secret|token|api_?key|private|credential|salt|hash", re.IGNORECASE)


async def find_doubts(connection: asyncpg.Connection, mapping: TableMapping) -> list[str]:
    """Read the tables once over, and say what looks wrong, a line each."""
    doubts = list(_key_doubts(mapping)) + list(_secret_doubts(mapping))
    tables = [mapping.table] if mapping.domains is None else [mapping.table, mapping.domains.table]
    doubts += [
        f"{table.name}: row security hides rows from this user, and what it cannot see is not served"
        for table in tables
        if table.restricted
    ]
    if mapping.subdomain is not None:
        doubts += [doubt async for doubt in _host_doubts(connection, mapping.table, mapping.subdomain, _SUBDOMAIN)]
    if mapping.custom_domain is not None:
        doubts += [doubt async for doubt in _host_doubts(connection, mapping.table, mapping.custom_domain, _DOMAIN)]
    if mapping.domains is not None:
        domains = mapping.domains
        doubts += [doubt async for doubt in _host_doubts(connection, domains.table, domains.host, _DOMAIN)]
        if not any(index.keys[0] in {column.quoted for column in domains.owner} for index in domains.table.indexes):
            doubts.append(_no_index(domains.table, domains.owner[0].quoted, "reading a tenant's domains"))
    doubts += [doubt async for doubt in _status_doubts(connection, mapping)]
    if mapping.time_zone is not None:
        doubts += [doubt async for doubt in _zone_doubts(connection, mapping.table, mapping.time_zone)]
    return doubts


def _key_doubts(mapping: TableMapping) -> Sequence[str]:
    table, names = mapping.table, [column.quoted for column in mapping.key]
    together = ", ".join(names)
    doubts = []
    if not table.is_unique(names):
        doubts.append(
            f"{table.name}: nothing keeps two rows from having the same {together}, and they would share one tenant's "
            f"limits; a unique index on ({together}) does"
        )
    untyped = [c for c in mapping.key if not (c.is_text or c.is_integer or c.type_name == "uuid")]
    if len(untyped) == len(mapping.key):
        doubts.append(f"{table.name}: {together} is neither text, integer nor uuid: get_many reads the whole table")
    return doubts


def _secret_doubts(mapping: TableMapping) -> Sequence[str]:
    if mapping.attributes_whole:
        return ()
    return [
        f"{mapping.table.name}.{column.quoted} looks like a secret, and becomes an attribute that is kept in memory "
        f"and in Redis; --exclude {column.quoted} keeps it out"
        for column in mapping.attributes
        if _SECRET.search(column.name)
    ]


async def _host_doubts(
    connection: asyncpg.Connection, table: Table, host: HostColumn, shape: str
) -> AsyncIterator[str]:
    name, column = f"{table.name}.{host.column.quoted}", host.column.quoted
    if not (host.lowered or table.is_indexed(column)):
        yield _no_index(table, column, "a look-up of a host that is not in memory")
    served = canonical("t", host)
    if host.needs_spellings or not table.is_unique([column]):
        twice = await connection.fetch(
            f"select {served} from {table.name} t where {served} is not null group by 1 having count(*) > 1 order by 1"
            f" limit {EXAMPLES}"
        )
        if twice:
            yield f"{name}: rows share names ({_examples(twice)}); the active one with the smallest id is served"
    unreachable = await connection.fetch(
        f"select distinct t.{column}::text from {table.name} t"
        f" where {served} is not null and {served} !~ {literal(shape)} order by 1 limit {EXAMPLES}"
    )
    if unreachable:
        yield f"{name}: no request can carry names like {_examples(unreachable)}; write them as ASCII host names"


async def _status_doubts(connection: asyncpg.Connection, mapping: TableMapping) -> AsyncIterator[str]:
    column: Column | None = mapping.status
    if column is None or column.category in "BD":
        return
    known = ", ".join(literal(value) for value in mapping.statuses)
    value = f"coalesce(t.{column.quoted}::text, '')"
    rows = await connection.fetch(
        f"select distinct {value} from {mapping.table.name} t where {value} not in ({known})"
        f" order by 1 limit {EXAMPLES}"
    )
    if rows:
        yield (
            f"{mapping.table.name}.{column.quoted}: {_examples(rows)} count as suspended; "
            f"--status-map {rows[0][0]}=active says otherwise"
        )


async def _zone_doubts(connection: asyncpg.Connection, table: Table, column: Column) -> AsyncIterator[str]:
    rows = await connection.fetch(
        f"select distinct t.{column.quoted}::text from {table.name} t where t.{column.quoted} is not null"
        f" and t.{column.quoted}::text not in (select name from pg_timezone_names) order by 1 limit {EXAMPLES}"
    )
    if rows:
        yield f"{table.name}.{column.quoted}: {_examples(rows)} are no time zones; the days of these tenants end in UTC"


async def find_duplicate_id(connection: asyncpg.Connection, mapping: TableMapping) -> str | None:
    """An id that two rows have, or None."""
    if mapping.table.is_unique([column.quoted for column in mapping.key]):
        return None
    own_id = id_of("t", mapping.key)
    found: str | None = await connection.fetchval(
        f"select {own_id} from {mapping.table.name} t where {own_id} is not null group by 1 having count(*) > 1 limit 1"
    )
    return found


def _no_index(table: Table, column: str, what: str) -> str:
    return (
        f"{table.name}: no index begins with {column}, so {what} reads the whole table; "
        f"create index concurrently on {table.name} ({column})"
    )


def _examples(rows: Sequence[asyncpg.Record]) -> str:
    return ", ".join(repr(row[0]) for row in rows)
