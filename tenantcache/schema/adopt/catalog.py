"""A table of the application's: its columns and primary key, as PostgreSQL's catalogue has them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

from tenantcache.errors import TenantCacheError

INTEGERS = frozenset({"int2", "int4", "int8"})

# An unquoted name is folded, as psql does it; one that is given exactly as it is stored is found too.
_FIND = """
    with given as (
        select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.oid = to_regclass($1) or n.nspname || '.' || c.relname = $1
            or (c.relname = $1 and pg_table_is_visible(c.oid))
        order by c.oid = to_regclass($1) desc nulls last limit 1
    )
    select c.oid, format('%I.%I', n.nspname, c.relname) as name, n.nspname as schema, c.relkind::text as kind,
        c.relispartition or exists (select from pg_inherits i where c.oid in (i.inhparent, i.inhrelid)) as inherits,
        pg_has_role(c.relowner, 'usage') as owned,
        c.relrowsecurity and (c.relforcerowsecurity or not pg_has_role(c.relowner, 'usage')) as restricted
    from given join pg_class c on c.oid = given.oid join pg_namespace n on n.oid = c.relnamespace
"""

_TABLES = """
    select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and n.nspname !~ '^(pg_|information_schema$|tenantcache$)' order by 1
"""

# A domain type is followed down to the type that its values are stored as: operators and indexes are that one's.
_COLUMNS = """
    with recursive stored (attnum, type) as (
        select attnum, atttypid from pg_attribute where attrelid = $1 and attnum > 0 and not attisdropped
        union all
        select s.attnum, t.typbasetype from stored s join pg_type t on t.oid = s.type where t.typtype = 'd'
    )
    select a.attname as name, quote_ident(a.attname) as quoted, format('%I.%I', n.nspname, t.typname) as type,
        t.typname as type_name, t.typcategory::text as category, a.attnotnull as not_null,
        a.attgenerated::text = 'v' as virtual
    from stored s join pg_attribute a on a.attrelid = $1 and a.attnum = s.attnum
        join pg_type t on t.oid = s.type and t.typtype <> 'd' join pg_namespace n on n.oid = t.typnamespace
    order by a.attnum
"""

_PRIMARY_KEY = """
    select a.attname from pg_index i cross join unnest(i.indkey::smallint[]) with ordinality as k (number, place)
        join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
    where i.indrelid = $1 and i.indisprimary and i.indisvalid and k.place <= i.indnkeyatts
    order by k.place
"""

_KINDS = {
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "p": "a partitioned table",
    "i": "an index",
    "I": "an index",
    "S": "a sequence",
    "c": "a composite type",
    "t": "a TOAST table",
}


class AdoptionError(TenantCacheError):
    """Tenants cannot be served like this. The text lists every fault, one a line."""


class CatalogError(TenantCacheError):
    """There is no such table or column. The text lists those that there are."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `quoted` is its name as it stands in SQL, `type` that of the stored values, with its schema.

    `category` is PostgreSQL's typcategory: "S" is text, "N" a number, "B" boolean, "D" a time.
    """

    name: str
    quoted: str
    type: str
    type_name: str
    category: str
    not_null: bool
    virtual: bool

    @property
    def is_text(self) -> bool:
        return self.category == "S"

    @property
    def is_integer(self) -> bool:
        return self.type_name in INTEGERS

    @property
    def is_json(self) -> bool:
        return self.type_name in ("json", "jsonb")

    def compares_with(self, other: Column) -> bool:
        """Can both stand on the sides of `=` without a cast that would keep an index from being used?"""
        return self.type == other.type or (self.is_text and other.is_text) or (self.is_integer and other.is_integer)


@dataclass(frozen=True, slots=True)
class Table:
    """`name` is qualified and quoted. `owned`: this user may do what the owner may. `restricted`: row security hides
    rows from this user."""

    oid: int
    name: str
    owned: bool
    restricted: bool
    columns: Mapping[str, Column]
    primary_key: tuple[Column, ...]

    def column(self, given: str) -> Column:
        """The column that `given` names, as it is stored or as one would write it in SQL. Raises `CatalogError`."""
        found = self.columns.get(given)
        if found is None:
            found = self.columns.get(_fold(given))
        if found is None:
            names = ", ".join(column.quoted for column in self.columns.values())
            raise CatalogError(f"{self.name} has no column {given!r}; it has {names}")
        return found


async def read_table(connection: asyncpg.Connection, given: str) -> Table:
    """The table that `given` names. Raises `CatalogError` if there is none, or none that triggers can follow."""
    try:
        found = await connection.fetchrow(_FIND, given)
    except asyncpg.InsufficientPrivilegeError:
        raise  # the schema is there, and closed to this user
    except (asyncpg.SyntaxOrAccessError, asyncpg.InvalidNameError, asyncpg.FeatureNotSupportedError):
        raise CatalogError(f'{given!r} is not a table name; give one like public.tenants or public."Tenants"') from None
    if found is None:
        raise CatalogError(f"there is no table {given!r}; {await _close_to(connection, given)}")
    if found["schema"] == "tenantcache":
        raise CatalogError(f"{found['name']} is tenantcache's own and is served without --adopt; name a table of yours")
    if found["kind"] != "r":
        kind = _KINDS.get(found["kind"], "no table")
        raise CatalogError(f"{found['name']} is {kind}; only an ordinary table can be followed by triggers")
    if found["inherits"]:
        raise CatalogError(f"{found['name']} has parent or child tables; triggers would miss what is written to those")
    oid = found["oid"]
    columns = {row["name"]: Column(**row) for row in await connection.fetch(_COLUMNS, oid)}
    primary_key = tuple(columns[row["attname"]] for row in await connection.fetch(_PRIMARY_KEY, oid))
    return Table(oid, found["name"], found["owned"], found["restricted"], columns, primary_key)


async def _close_to(connection: asyncpg.Connection, given: str) -> str:
    names = [row[0] for row in await connection.fetch(_TABLES)]
    close = difflib.get_close_matches(given, names, n=5, cutoff=0.4) or names[:20]
    return "there are " + ", ".join(close) if close else "the database has no tables but tenantcache's own"


def _fold(given: str) -> str:
    """A name as SQL reads it: what is quoted stays, everything else becomes lower case."""
    if len(given) > 1 and given[0] == given[-1] == '"':
        return given[1:-1].replace('""', '"')
    return given.lower()
