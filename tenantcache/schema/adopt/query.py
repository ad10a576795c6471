"""What an adopting query says, as PostgreSQL itself understands it: its columns, and the tables and columns it reads.

A temporary view is made of the query and looked at, in a transaction that is rolled back. `text` is what PostgreSQL
prints of it: every name qualified, so that it means the same whatever the search path is. It is kept as text, and
bound when it runs: nothing of the application's depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from tenantcache.schema.adopt.catalog import AdoptionError

VIEW = "tenantcache_adopting_query"

COLUMNS = {
    "id": "the tenant's id",
    "name": "what it is called",
    "subdomain": "a label under a base domain; the empty text is the base domain itself",
    "subdomains": "several of them",
    "domains": "hosts of its own",
    "primary_domain": "the one that others lead to",
    "old_names": "earlier names, which redirect to the present one: a label, or a host with a dot",
    "slug": "a name that only path and header strategies use",
    "slugs": "several of them",
    "old_slugs": "earlier slugs, which redirect",
    "status": "active, suspended, maintenance or deleted; NULL is active, all else suspended",
    "plan": "a key of TENANTCACHE_PLANS",
    "limit_per_minute": "NULL: the plan's; 0: unlimited",
    "limit_per_day": "NULL: the plan's; 0: unlimited",
    "time_zone": "at whose midnight its days end",
    "attributes": "a JSON object",
}
"""Columns that a query may have, and what each says. A key of several columns is `id_1`, `id_2` ... in place of
`id`."""

# The operator by which an index on a column of the type `t` is asked.
_EQUALS = """coalesce((
            select format('operator(%I.%s)', n.nspname, o.oprname)
            from pg_opclass c join pg_am m on m.oid = c.opcmethod and m.amname = 'btree'
                join pg_amop p on p.amopfamily = c.opcfamily and p.amopstrategy = 3 and p.amoplefttype = t.oid
                    and p.amoprighttype = t.oid
                join pg_operator o on o.oid = p.amopopr join pg_namespace n on n.oid = o.oprnamespace
            where c.opcintype = t.oid and c.opcdefault and n.nspname <> 'pg_catalog'
        ), '=') as equals"""

# With a search path that is empty, so that names of types are qualified. A domain type is followed down to the type
# that its values are stored as: operators and indexes are that one's. -1 is not a length; NULL would make `character`
# one of a single letter.
_SHAPE = f"""
    with recursive stored (attnum, type) as (
        select attnum, atttypid from pg_attribute where attrelid = $1 and attnum > 0
        union all
        select s.attnum, t.typbasetype from stored s join pg_type t on t.oid = s.type where t.typtype = 'd'
    )
    select a.attname as name, format_type(s.type, -1) as type, t.typcategory::text as category, t.typname as base,
        {_EQUALS}
    from stored s join pg_attribute a on a.attrelid = $1 and a.attnum = s.attnum
        join pg_type t on t.oid = s.type and t.typtype <> 'd'
    order by a.attnum
"""

# What values of a column ($1.$2) are compared as. All integers have the same indexes, and so do both kinds of text.
TYPE_OF_COLUMN = f"""
    with recursive stored (type) as (
        select atttypid from pg_attribute where attrelid = to_regclass($1) and attname = $2
        union all
        select t.typbasetype from stored s join pg_type t on t.oid = s.type where t.typtype = 'd'
    )
    select case when t.typname in ('int2', 'int4', 'int8') then 'bigint'
            when t.typname in ('text', 'varchar') then 'text'
            else format('%I.%I', s.nspname, t.typname) end as type,
        {_EQUALS}
    from stored join pg_type t on t.oid = stored.type and t.typtype <> 'd' join pg_namespace s on s.oid = t.typnamespace
"""

_READS = """
    select c.oid, c.relkind::text as kind, format('%I.%I', n.nspname, c.relname) as name,
        c.relispartition or exists (select from pg_inherits i where c.oid in (i.inhparent, i.inhrelid)) as inherits,
        pg_has_role(c.relowner, 'usage') as owned,
        c.relrowsecurity and (c.relforcerowsecurity or not pg_has_role(c.relowner, 'usage')) as restricted,
        array(select distinct a.attname::text from pg_depend e join pg_attribute a on a.attrelid = c.oid
            and a.attnum = e.refobjsubid where e.objid = r.oid and e.classid = 'pg_rewrite'::regclass
            and e.refclassid = 'pg_class'::regclass and e.refobjid = c.oid and e.refobjsubid > 0 order by 1) as used,
        array(select a.attname::text from pg_attribute a
            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by a.attnum) as columns
    from pg_rewrite r join pg_depend d on d.objid = r.oid and d.classid = 'pg_rewrite'::regclass
            and d.refclassid = 'pg_class'::regclass and d.refobjsubid >= 0
        join pg_class c on c.oid = d.refobjid join pg_namespace n on n.oid = c.relnamespace
    where r.ev_class = $1 and c.oid <> $1
    group by c.oid, n.nspname, c.relname, r.oid order by 3
"""

_VOLATILE = """
    select distinct p.oid::regprocedure::text from pg_rewrite r join pg_depend d on d.objid = r.oid
        and d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_proc'::regclass
        join pg_proc p on p.oid = d.refobjid
    where r.ev_class = $1 and p.prokind = 'f' and (p.provolatile = 'v'
        or (p.provolatile = 's' and p.pronamespace <> 'pg_catalog'::regnamespace)) order by 1
"""


@dataclass(frozen=True, slots=True)
class OutputColumn:
    """`type` as SQL, of the stored values; `category` is PostgreSQL's typcategory, `base` its name in pg_type, `equals`
    the operator that an index on it answers."""

    name: str
    type: str
    category: str
    base: str
    equals: str = "="


@dataclass(frozen=True, slots=True)
class ReadTable:
    """A table that the query reads: `used` are the columns that it names, of all its `columns`."""

    oid: int
    name: str
    kind: str
    inherits: bool
    owned: bool
    restricted: bool
    used: tuple[str, ...]
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnalysedQuery:
    """`given` is the text as it came, `text` as PostgreSQL prints it."""

    given: str
    text: str
    columns: Mapping[str, OutputColumn]
    tables: Sequence[ReadTable]
    volatile: Sequence[str]

    @property
    def key(self) -> tuple[OutputColumn, ...]:
        """The columns that identify a tenant: `id`, or `id_1`, `id_2` ..."""
        if "id" in self.columns:
            return (self.columns["id"],)
        numbered = [f"id_{number}" for number in range(1, len(self.columns) + 1)]
        return tuple(self.columns[name] for name in numbered if name in self.columns)


async def analyse(connection: asyncpg.Connection, given: str) -> AnalysedQuery:
    """Look at a query; nothing stays in the database. Raises `AdoptionError` for one that PostgreSQL does not take."""
    query = given.strip().rstrip(";").strip()
    transaction = connection.transaction()
    await transaction.start()
    try:
        await _create_view(connection, query)
        view = await connection.fetchval("select to_regclass('pg_temp.' || $1)::oid", VIEW)
        tables = [
            ReadTable(**{**row, "used": tuple(row["used"]), "columns": tuple(row["columns"])})
            for row in await connection.fetch(_READS, view)
        ]
        volatile = [row[0] for row in await connection.fetch(_VOLATILE, view)]
        await connection.execute("set local search_path = pg_catalog")
        shape = [OutputColumn(*row) for row in await connection.fetch(_SHAPE, view)]
        text = await connection.fetchval("select pg_get_viewdef($1::oid)", view)
    finally:
        await transaction.rollback()
    found = AnalysedQuery(given, text.strip().rstrip(";"), {column.name: column for column in shape}, tables, volatile)
    _check_columns(found)
    return found


async def _create_view(connection: asyncpg.Connection, query: str) -> None:
    try:
        # Not by `execute`, which would take several statements.
        await connection.fetch(f"create temporary view {VIEW} as {query}")
    except asyncpg.InsufficientPrivilegeError:
        raise
    except asyncpg.PostgresError as error:
        place = f" (line {_line(query, error)})" if getattr(error, "position", None) else ""
        hint = f"; {error.hint}" if getattr(error, "hint", None) else ""
        raise AdoptionError(f"the query is not one that can be adopted: {error.args[0]}{place}{hint}") from None


def _line(query: str, error: asyncpg.PostgresError) -> int:
    before = int(error.position) - 1 - len(f"create temporary view {VIEW} as ")
    return query[: max(0, before)].count("\n") + 1


def _check_columns(query: AnalysedQuery) -> None:
    faults = []
    if not query.key:
        faults.append("the query has no column `id`; name the one that identifies a tenant (`select o.id as id, ...`)")
    numbered = {column.name for column in query.key}
    unknown = [name for name in query.columns if name not in COLUMNS and name not in numbered]
    if unknown:
        faults.append(
            f"the query has columns that mean nothing here: {', '.join(unknown)}; there are {', '.join(COLUMNS)}"
        )
    faults += [fault for column in query.columns.values() if (fault := _misfit(column)) is not None]
    if not query.tables:
        faults.append("the query reads no table of yours, so nothing could ever change; functions hide what they read")
    for table in query.tables:
        schema = table.name.partition(".")[0]
        if schema == "tenantcache":
            faults.append(f"{table.name} is tenantcache's own and is served without adopting; name tables of yours")
        elif schema in ("pg_catalog", "information_schema"):
            faults.append(f"the query reads {table.name}, which belongs to PostgreSQL: triggers cannot follow it")
        elif schema.startswith("pg_temp"):
            faults.append(f"the query reads {table.name}, a temporary table that no other session sees")
        elif table.kind != "r" or table.inherits:
            kind = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}.get(
                table.kind, "a partitioned table"
            )
            faults.append(
                f"the query reads {table.name}, which is {kind}: triggers cannot follow it; read its tables instead"
            )
    if faults:
        raise AdoptionError("\n".join(faults))


_NAMES = {"subdomain", "subdomains", "domains", "old_names", "slug", "slugs", "old_slugs"}


def _misfit(column: OutputColumn) -> str | None:
    wanted = None
    if column.name in _NAMES and column.category not in "SA" and column.base not in ("json", "jsonb"):
        wanted = "names are texts, or arrays of texts"
    elif column.name in ("limit_per_minute", "limit_per_day") and column.category != "N":
        wanted = "a limit is a number; cast it (`(value ->> 'max')::numeric`)"
    elif column.name in ("status", "plan", "time_zone", "primary_domain", "name") and column.category not in "SE":
        wanted = "give a text (`case when archived then 'suspended' end`)"
    elif column.name == "attributes" and column.base not in ("json", "jsonb"):
        wanted = "attributes are a JSON object (`jsonb_build_object('seats', o.seats)`)"
    return None if wanted is None else f"the query's column {column.name} is of type {column.type}; {wanted}"
