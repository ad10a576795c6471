"""Serving tenants that are in tables of the application's: `prepare` looks and changes nothing, `install` puts it in
place.

The application's tables get triggers and nothing else: no column, no index, no constraint.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import asyncpg

from tenantcache.lookup.core.names import is_kind
from tenantcache.schema import install as schema
from tenantcache.schema.adopt import routines
from tenantcache.schema.adopt.catalog import AdoptionError
from tenantcache.schema.adopt.expressions import literal
from tenantcache.schema.adopt.query import TYPE_OF_COLUMN, AnalysedQuery, ReadTable, analyse
from tenantcache.schema.adopt.ways import Way, Ways, find_ways
from tenantcache.schema.rebuild import rebuild_if_changed

MAX_NUMBERS = 1000
"""Ways of one adoption: each number is that of the adoption times this, plus its place."""


@dataclass(frozen=True, slots=True)
class Adoption:
    """A query that says what a tenant is, and what it does not say itself.

    `kind` tells the tenants of several queries apart. `watch`: by table, the column that holds the tenant's id.
    `static`: tables that never change. `whole`: tables any change of which matters. Tables are named as in SQL.
    """

    query: str
    kind: str = ""
    watch: Mapping[str, str] = field(default_factory=dict)
    static: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What `install` does. `tables` are those that the query reads, and `ways` lead from them to tenants."""

    adoption: Adoption
    query: AnalysedQuery
    ways: Sequence[Way]
    comparisons: Mapping[Way, Sequence[routines.Comparison | None]]
    whole: frozenset[str]
    has_clock: bool
    names: frozenset[tuple[str, str]]

    @property
    def digest(self) -> str:
        """Of everything that would be installed, the numbers aside."""
        parts = [routine.sql for routine in self._routines(0)]
        parts += [f"{table.oid} {table.name}" for table in self.query.tables]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _routines(self, number: int) -> list[routines.Routine]:
        kind, first = self.adoption.kind, number * MAX_NUMBERS
        made = [routines.reader(number, self.query, kind), routines.lister(number, self.query, kind)]
        for place, way in enumerate(self.ways):
            if way.columns == (routines.ANY_TENANT,):
                continue
            made.append(routines.walker(first + place, way, self.comparisons[way], kind))
        for table in self.followed(number):
            made += routines.follower(table)
        return made

    def followed(self, number: int) -> list[routines.FollowedTable]:
        """The tables that get triggers, each with the ways that begin in it."""
        first, found = number * MAX_NUMBERS, []
        for place, table in enumerate(self.query.tables):
            numbers = {first + at: way.columns for at, way in enumerate(self.ways) if way.table == table.name}
            if numbers:
                columns = None if table.name in self.whole else self._relied_on(table, numbers.values())
                found.append(routines.FollowedTable(table.oid, table.name, columns, numbers, first + place))
        return found

    def _relied_on(self, table: ReadTable, keys: Iterable[Sequence[str]]) -> tuple[str, ...]:
        return tuple(sorted({*table.used, *itertools.chain.from_iterable(keys)} - {routines.ANY_TENANT}))

    def sql(self, number: int) -> str:
        """The statements, for a database that has the schema and nothing of this kind."""
        first, options = number * MAX_NUMBERS, self._options(number)
        parts = [
            f"insert into tenantcache.adoptions (number, kind, query, options) values ({number},"
            f" {literal(self.adoption.kind)}, {literal(self.query.given)}, {literal(json.dumps(options))});"
        ]
        parts += [routine.sql for routine in self._routines(number)]
        oids = {table.name: table.oid for table in self.query.tables}
        parts += [
            f"insert into tenantcache.watches (number, adoption, relation, told) values ({first + place}, {number},"
            f" {oids[way.table]}, {literal(way.told)});"
            for place, way in enumerate(self.ways)
        ]
        for table in self.followed(number):
            parts.append(routines.triggers(table))
            relied_on = next(one for one in self.query.tables if one.name == table.name)
            columns = self._relied_on(relied_on, table.numbers.values())
            listed = ", ".join(literal(column) for column in columns)
            parts.append(
                "insert into tenantcache.watched_tables (relation, name, columns, triggers)"
                f" values ({table.oid}, {literal(table.name)}, array[{listed}]::text[], 2)"
                " on conflict (relation) do update set columns = array(select distinct c from"
                " unnest(watched_tables.columns || excluded.columns) c), triggers = watched_tables.triggers + 2;"
            )
        return "\n".join(parts)

    def _options(self, number: int) -> dict[str, object]:
        tables = ", ".join(table.name for table in self.query.tables)
        return {
            "digest": self.digest,
            "table": tables,
            "watch": dict(self.adoption.watch),
            "static": list(self.adoption.static),
            "names": sorted(map(list, self.names)),
            "routines": self.bodies(number),
        }

    def bodies(self, number: int) -> dict[str, str]:
        """What each function must be, as the digest of its body."""
        return {routine.name.split("(")[0]: schema.digest_of(routine.body) for routine in self._routines(number)}


async def prepare(connection: asyncpg.Connection, adoption: Adoption) -> Plan:
    """Look at the query and the tables. Raises `AdoptionError`, with every fault in its text."""
    if adoption.kind and not is_kind(adoption.kind):
        raise AdoptionError(f"kind {adoption.kind!r:.80} is not possible; give 1 to 63 of a to z, 0 to 9, _ and -")
    query = await analyse(connection, adoption.query)
    columns = {table.name: table.columns for table in query.tables}
    found = find_ways(query.text, [column.name for column in query.key], columns)
    faults = [
        f"{table.name} belongs to another role; run this as its owner, or as a member of that role"
        for table in query.tables
        if not table.owned
    ]
    watched = await _tables_by_name(connection, adoption.watch, columns, "--watch", faults)
    static = await _tables_by_name(connection, dict.fromkeys(adoption.static, ""), columns, "--static", faults)
    faults += [
        f"{name} is called static and watched as well; leave one of them out" for name in watched.keys() & static
    ]
    ways = [way for way in found.ways if way.table not in watched and way.table not in static]
    ways += [Way(name, (column,)) for name, column in watched.items()]
    for name in sorted(found.unknown - watched.keys() - static.keys()):
        ways = [way for way in ways if way.table != name]
        by_key = await _by_foreign_key(connection, found, name)
        if by_key is not None:
            ways.append(by_key)
            continue
        faults.append(
            f"{name} is read, and the query does not say which tenants a row of it concerns; give"
            f" --watch {name}=COLUMN with the column that holds the tenant's id, --watch '{name}=*' if a row may"
            f" concern any tenant, or --static {name} if it never changes"
        )
    if faults:
        raise AdoptionError("\n".join(faults))
    comparisons = {way: await _comparisons(connection, way) for way in ways}
    return Plan(adoption, query, tuple(dict.fromkeys(ways)), comparisons, found.whole, found.has_clock, found.names)


_QUALIFIED = """
    select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.oid = to_regclass($1)
"""


async def _tables_by_name(
    connection: asyncpg.Connection,
    given: Mapping[str, str],
    columns: Mapping[str, Sequence[str]],
    option: str,
    faults: list[str],
) -> dict[str, str]:
    """`given` with each table's qualified name; a table that is not read, or has no such column, is a fault."""
    found = {}
    for name, column in given.items():
        try:
            qualified = await connection.fetchval(_QUALIFIED, name)
        except asyncpg.PostgresError:
            qualified = None
        if qualified not in columns:
            faults.append(f"{option} {name}: the query reads no such table; it reads {', '.join(columns) or 'none'}")
        elif column not in ("", routines.ANY_TENANT, *columns[qualified]):
            faults.append(
                f"{option} {name}={column}: {qualified} has no such column; it has {', '.join(columns[qualified])}"
            )
        else:
            found[qualified] = column
    return found


_FOREIGN_KEY = """
    select a.attname::text from pg_constraint k
        join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
        join pg_attribute f on f.attrelid = k.confrelid and f.attnum = k.confkey[1]
    where k.contype = 'f' and k.conrelid = to_regclass($1) and k.confrelid = to_regclass($2)
        and cardinality(k.conkey) = 1 and f.attname = $3
"""


async def _by_foreign_key(connection: asyncpg.Connection, found: Ways, name: str) -> Way | None:
    """A way by the only foreign key that leads from `name` to the column that is the id."""
    bases = {(way.table, way.columns[0]) for way in found.ways if not way.hops and len(way.columns) == 1}
    keys = set()
    for table, column in bases:
        keys |= {row[0] for row in await connection.fetch(_FOREIGN_KEY, name, table, column)}
    return Way(name, (keys.pop(),)) if len(keys) == 1 else None


async def _comparisons(connection: asyncpg.Connection, way: Way) -> tuple[routines.Comparison | None, ...]:
    """How each hop compares its two columns, so that an index answers; None if only as text."""
    found: list[routines.Comparison | None] = []
    table, column = way.table, way.columns[0]
    for hop in way.hops:
        left = await connection.fetchrow(TYPE_OF_COLUMN, table, column)
        right = await connection.fetchrow(TYPE_OF_COLUMN, hop.table, hop.enter)
        found.append(routines.Comparison(right["type"], right["equals"]) if left == right else None)
        table, column = hop.table, hop.leave
    return tuple(found)


_REMOVE = r"""
do $$
declare
    old record;
begin
    for old in
        select t.tgname, t.tgrelid::regclass as on_table
        from pg_trigger t join pg_class c on c.oid = t.tgrelid
        where t.tgname ~ '^tenantcache_(written|truncated)_[0-9]+$' and c.relnamespace <> 'tenantcache'::regnamespace
            and substring(t.tgname from '[0-9]+$')::bigint / {most} = any (array[{numbers}]::bigint[])
    loop
        execute format('drop trigger %I on %s', old.tgname, old.on_table);
    end loop;
    for old in
        select p.oid::regprocedure as routine from pg_proc p
        where p.pronamespace = 'tenantcache'::regnamespace and (
            (p.proname ~ '^(watched|follow)_[0-9]+$'
                and substring(p.proname from '[0-9]+$')::bigint / {most} = any (array[{numbers}]::bigint[]))
            or (p.proname ~ '^adopted_(ids_)?[0-9]+$'
                and substring(p.proname from '[0-9]+$')::bigint = any (array[{numbers}]::bigint[])))
    loop
        execute format('drop routine %s', old.routine);
    end loop;
end
$$;
delete from tenantcache.adoptions where number = any (array[{numbers}]::integer[]);
delete from tenantcache.watches where adoption = any (array[{numbers}]::integer[]);
"""


def removal(numbers: Sequence[int]) -> str:
    """The statements that take adoptions away; `watched_tables` is to be set anew."""
    return _REMOVE.replace("{numbers}", ", ".join(map(str, numbers))).replace("{most}", str(MAX_NUMBERS))


FINISH = "select tenantcache.rebuild();"


async def install(connection: asyncpg.Connection, plan: Plan, *, beside: bool = False) -> bool:
    """Serve what the plan says, in place of what was adopted before, or `beside` other kinds.

    False if it is so already. Raises `AdoptionError` and `asyncpg.PostgresError`; then nothing is changed.
    """
    try:
        async with connection.transaction():
            await schema.install(connection)
            if await is_in_place(connection, plan, beside=beside):
                return False
            await connection.execute(await script(connection, plan, beside=beside))
    except asyncpg.LockNotAvailableError:
        raise AdoptionError("a table is in use by a long transaction; nothing was changed, try again later") from None
    await connection.execute(FINISH)
    return True


async def script(connection: asyncpg.Connection, plan: Plan, *, beside: bool) -> str:
    """The statements of `install`, for a database that may or may not have the schema."""
    number, old = 1, list[int]()
    if await connection.fetchval("select to_regclass('tenantcache.adoption_numbers') is not null"):
        number = await connection.fetchval("select nextval('tenantcache.adoption_numbers')")
        for row in await connection.fetch("select number, kind from tenantcache.adoptions"):
            if not beside or row["kind"] == plan.adoption.kind:
                old.append(row["number"])
    parts = [
        "-- Another session's long transaction must not make every other one wait behind us.",
        "set local lock_timeout = '5s';",
    ]
    if old:
        parts.append(removal(old))
    parts.append(FOLLOWED_ANEW)
    parts += [plan.sql(number), SERVE]
    return "\n".join(parts)


FOLLOWED_ANEW = """
delete from tenantcache.watched_tables where name like 'tenantcache.%';
update tenantcache.watched_tables w set triggers = (
    select count(*) from pg_trigger t join pg_proc p on p.oid = t.tgfoid
    where t.tgrelid = w.relation and p.pronamespace = 'tenantcache'::regnamespace and t.tgname ~ '_[0-9]+$');
delete from tenantcache.watched_tables where triggers = 0;
"""

SERVE = """
call tenantcache.serve_adopted_tables();
delete from tenantcache.outbox where watch <> 0;
update tenantcache.publisher set incomplete = 'changed: tables were adopted';
call tenantcache.share();
"""


async def remove_kind(connection: asyncpg.Connection, kind: str) -> None:
    """Stop serving tenants of this kind. Raises `AdoptionError` if there is no such kind, or it is the only one."""
    async with connection.transaction():
        await connection.execute(schema.LOCK)
        rows = await connection.fetch("select number, kind from tenantcache.adoptions")
        numbers = [row["number"] for row in rows if row["kind"] == kind]
        if not numbers:
            kinds = ", ".join(sorted(row["kind"] for row in rows if row["kind"])) or "none"
            raise AdoptionError(f"there are no adopted tenants of the kind {kind!r}; there are: {kinds}")
        if len(rows) == 1:
            raise AdoptionError(f"{kind!r} is the only kind; `tenantcache uninstall` takes everything away")
        await connection.execute(f"set local lock_timeout = '5s'; {removal(numbers)} {FOLLOWED_ANEW} {SERVE}")
    await connection.execute(FINISH)


async def is_in_place(connection: asyncpg.Connection, plan: Plan, *, beside: bool) -> bool:
    """Whether everything is there that `install` would make: the functions as they should be, and triggers that
    fire."""
    rows = await connection.fetch("select number, kind, options ->> 'digest' as digest from tenantcache.adoptions")
    same = [row["number"] for row in rows if row["kind"] == plan.adoption.kind and row["digest"] == plan.digest]
    if not same or (not beside and len(rows) != 1):
        return False
    fault = await rebuild_if_changed(connection)
    found = dict(
        await connection.fetch(
            "select proname::text, md5(prosrc) from pg_proc where pronamespace = 'tenantcache'::regnamespace"
        )
    )
    expected = plan.bodies(same[0])
    return fault is None and all(found.get(name) == digest for name, digest in expected.items())
