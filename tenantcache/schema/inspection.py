"""What is really in the database, beside what should be there: functions, triggers, rights, and whether it can be
written."""

from __future__ import annotations

import re
from collections.abc import Sequence

import asyncpg

from tenantcache.schema import install as schema

_DEFINED = re.compile(
    r"create or replace (?:function|procedure) tenantcache\.(\w+)\(.*?\bas \$(\w*)\$(.*?)\$\2\$", re.S
)

WRITTEN = (
    "processes",
    "counters",
    "counter_store",
    "counter_holders",
    "counter_reports",
    "counter_slots",
    "usage",
    "usage_writers",
    "redis_usage",
    "redis_bill",
    "process_reports",
    "change_log",
)
"""Tables that a process writes by itself; `change_log` it prunes."""

SERVING = {
    "find_tenants",
    "read_tenants",
    "tenant_ids",
    "all_aliases",
    "names_after",
    "incomplete_after_everything",
    "read_everything",
}
"""The routines that read tenants: they differ between tables of ours and adopted ones."""

READ = ("outbox", "publisher", "tenants", "tenant_domains", "adoptions", "value_watches")


async def find_faults(connection: asyncpg.Connection) -> list[str]:
    """What is wrong with the schema for this user, a line each; empty if nothing is."""
    if not await connection.fetchval("select exists (select from pg_namespace where nspname = 'tenantcache')"):
        return ["the database has no tenantcache schema; run `tenantcache init`"]
    if not await connection.fetchval("select has_schema_privilege('tenantcache', 'usage')"):
        return ["this user may not use the schema tenantcache; run `tenantcache init --grant ROLE` as its owner"]
    if not await connection.fetchval("select to_regclass('tenantcache.process_reports') is not null"):
        return ["the tenantcache schema is of an older version; run `tenantcache init`"]
    faults = await _rights(connection)
    if await connection.fetchval("select pg_is_in_recovery()"):
        faults.append(
            "this server is a replica (in recovery), which may lag behind and proves nothing; name the primary"
        )
    elif await connection.fetchval("select current_setting('transaction_read_only') = 'on'"):
        faults.append(
            "this server takes no writes (read-only), so no change can be published and no limit counted there"
        )
    if faults:
        return faults
    faults += await _definitions(connection)
    fault = await connection.fetchval("select tenantcache.fault()")
    if fault is not None:
        faults.append(f"changes cannot be followed: {fault}; run `tenantcache init` again")
    if not faults:
        faults += await find_watch_faults(connection)
    return faults


async def find_watch_faults(connection: asyncpg.Connection, *, harmless: bool = False) -> list[str]:
    """Why changes of watched tables are missed, or told as "everything may have changed"; or what is `harmless`."""
    rows = await connection.fetch(
        "select told from tenantcache.watch_faults() where is_fault <> $1 order by told", harmless
    )
    return [f"{row['told']}; run `tenantcache watch-table` again" for row in rows]


async def _rights(connection: asyncpg.Connection) -> list[str]:
    lacking = []
    for tables, rights in ((WRITTEN, ("select", "insert", "update", "delete")), (READ, ("select",))):
        for table in tables:
            missing = [
                right
                for right in rights
                if not await connection.fetchval("select has_table_privilege($1, $2)", f"tenantcache.{table}", right)
            ]
            if missing:
                lacking.append(f"{', '.join(missing)} on {table}")
    routine = await connection.fetchval(
        "select p.proname from pg_proc p where p.pronamespace = 'tenantcache'::regnamespace"
        " and p.prorettype <> 'trigger'::regtype"
        " and p.prokind = 'f' and not has_function_privilege(p.oid, 'execute') order by 1 limit 1"
    )
    if routine is not None:
        lacking.append(f"execute on {routine} and other routines")
    if not lacking:
        return []
    return [f"this user lacks {'; '.join(lacking)}; run `tenantcache init --grant ROLE` as the owner of the schema"]


async def _definitions(connection: asyncpg.Connection) -> list[str]:
    expected: dict[str, set[str]] = {}
    for name, _, body in _DEFINED.findall(schema.sql()):
        expected.setdefault(name, set()).add(schema.digest_of(body))
    found = await connection.fetch(
        "select proname::text, md5(prosrc) from pg_proc where pronamespace = 'tenantcache'::regnamespace"
    )
    actual = {name: digest for name, digest in found}
    made = await connection.fetch(
        "select r.key, r.value from tenantcache.adoptions a, jsonb_each_text(a.options -> 'routines') r"
    )
    expected.update({name: {digest} for name, digest in made})
    missing = sorted((expected.keys() | SERVING) - actual.keys())
    other = sorted(name for name in expected.keys() & actual.keys() if actual[name] not in expected[name])
    faults = []
    if missing:
        faults.append(f"the schema lacks {_listed(missing)}; run `tenantcache init`")
    if other:
        faults.append(f"the schema has {_listed(other)} of another version; run `tenantcache init`")
    return faults


async def find_conflicts(connection: asyncpg.Connection, most: int = 3) -> list[str]:
    """Names that two active tenants have, at most `most` of them."""
    shared = await connection.fetchval(
        "select array(select alias::text from tenantcache.aliases group by alias having count(*) > 1 limit 1000)"
    )
    rows = await connection.fetch(
        "select alias from tenantcache.find_tenants($1) where state = 'conflict' order by 1 limit $2", shared, most
    )
    return [row["alias"].partition(":")[2] for row in rows]


async def find_whole_hosts(connection: asyncpg.Connection, base_domains: Sequence[str], most: int = 3) -> list[str]:
    """Domains under a base domain, which no request leads to: the first label alone counts there."""
    rows = await connection.fetch(
        "select distinct substr(a, 8) as host from tenantcache.all_aliases() a, unnest($1::text[]) b"
        " where starts_with(a, 'domain:') and right(a, length(b) + 1) = '.' || b order by 1 limit $2",
        list(base_domains),
        most,
    )
    return [row["host"] for row in rows]


_NOT_UNIQUE = """
    select format('%s.%s', n.table_name, n.column_name)
    from unnest($1::text[], $2::text[]) as n (table_name, column_name)
        -- Not to_regclass, which refuses to look into a schema that this user may not use.
        join pg_class c on c.relkind = 'r' join pg_namespace s on s.oid = c.relnamespace
            and format('%I.%I', s.nspname, c.relname) = n.table_name
        join pg_attribute a on a.attrelid = c.oid and a.attname = n.column_name
        join pg_type t on t.oid = a.atttypid
    where t.typcategory = 'S' and not exists (
        select from pg_index i where i.indrelid = a.attrelid and i.indisunique and i.indisvalid and i.indnkeyatts = 1
            and (pg_get_indexdef(i.indexrelid, 1, true) like 'lower(%' || quote_ident(a.attname) || '%'
                or (t.typname = 'citext' and i.indkey[0] = a.attnum)))
    order by 1
"""


async def find_ambiguous_names(
    connection: asyncpg.Connection, names: Sequence[tuple[str, str]] | None = None
) -> list[str]:
    """Columns (table, column) of names in which two rows may have one that differs in capitals only; by default those
    of what is adopted."""
    if names is None:
        rows = await connection.fetch(
            "select n ->> 0, n ->> 1 from tenantcache.adoptions,"
            " jsonb_array_elements(coalesce(options -> 'names', '[]')) n"
        )
        names = [(row[0], row[1]) for row in rows]
    found = await connection.fetch(_NOT_UNIQUE, [table for table, _ in names], [column for _, column in names])
    return [
        f"{row[0]}: no unique index keeps two rows from names that differ in capitals only; a host has no capitals, and"
        " such a name is served for neither; add a unique index on lower(...)"
        for row in found
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
