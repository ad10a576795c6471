"""Telling names of values and tags if rows of an application's own table change: `prepare`, then `install` the plan.

The table gets two triggers and nothing else. `values.sql` has the rules.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import asyncpg

from tenantcache.schema import install as schema
from tenantcache.schema.adopt.catalog import AdoptionError, CatalogError, Column, Table, read_table
from tenantcache.schema.adopt.expressions import dollars, identifier, literal
from tenantcache.values.core.keytemplate import KeyTemplate

COMPARABLE = frozenset({"text", "varchar", "name", "uuid", "int2", "int4", "int8"})
"""Types whose text in Postgres is what Python's `str` makes of the value, and is the same if the values are equal. So
are enums. char(n) is padded, citext has several texts of one value, and a time depends on DateStyle."""


@dataclass(frozen=True, slots=True)
class TableWatch:
    """What a row of `table` is about. Each key and tag is of the tenant in the column `tenant`, and is shared without
    one. `keys` and `tags` may name columns, as in `profile:{user_id}`; the others are columns. `only`: columns whose
    change matters, () for all."""

    table: str
    tenant: str | None = None
    keys: tuple[str, ...] = ()
    key_columns: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    tag_columns: tuple[str, ...] = ()
    only: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WatchPlan:
    """What `install` does: `watch` with names as they are stored. `number` is of the trigger function, `columns` those
    that names are made of, the first `naming`, and that matter, with their `numbers` in the table."""

    number: int
    relation: int
    name: str
    watch: TableWatch
    columns: tuple[str, ...]
    numbers: tuple[int, ...]
    naming: int

    @property
    def body(self) -> str:
        """Of the trigger function."""
        return _BODY.format(
            number=self.number,
            naming=self.naming,
            unchanged=_unchanged(self.watch.only),
            old_cells=self._cells("old"),
            new_cells=self._cells("new"),
            old_names=self._names("old_cells"),
            new_names=self._names("new_cells"),
        )

    def _cells(self, row: str) -> str:
        cells = [f"{row}.{identifier(column)}::text" for column in self.columns[: self.naming]]
        return f"array[{', '.join(cells)}]::text[]"

    def _names(self, cells: str) -> str:
        watch = self.watch

        def cell(column: str) -> str:
            return f"{cells}[{self.columns.index(column) + 1}]"

        tenant = "null" if watch.tenant is None else cell(watch.tenant)
        named = [("value:", _filled(key, cell, is_key=True)) for key in watch.keys]
        named += [("value:", cell(column)) for column in watch.key_columns]
        named += [("tag:", _filled(tag, cell, is_key=False)) for tag in watch.tags]
        named += [("tag:", cell(column)) for column in watch.tag_columns]
        return ", ".join(f"tenantcache.name_of_value('{kind}', {tenant}, {key})" for kind, key in named)

    @property
    def sql(self) -> str:
        """The statements, for a database that has the schema. Those of an earlier watch of the table are replaced."""
        options = literal(json.dumps(asdict(self.watch), ensure_ascii=False))
        columns, numbers = ", ".join(map(literal, self.columns)), ", ".join(map(str, self.numbers))
        return f"""-- Another session's long transaction must not make every other one wait behind us.
set local lock_timeout = '5s';
{removal(self.name, self.relation)}
create function tenantcache.values_of_{self.number}() returns trigger language plpgsql
security definer set search_path = pg_catalog, pg_temp as {dollars(self.body)};
create trigger tenantcache_values after insert or update or delete on {self.name}
    for each row execute function tenantcache.values_of_{self.number}();
create trigger tenantcache_values_truncated after truncate on {self.name}
    for each statement execute function tenantcache.log_everything();
alter table {self.name} enable always trigger tenantcache_values, enable always trigger tenantcache_values_truncated;
insert into tenantcache.value_watches (number, relation, name, columns, numbers, options, digest) values (
    {self.number}, {self.relation}, {literal(self.name)}, array[{columns}]::text[], array[{numbers}]::smallint[],
    {options}, '{schema.digest_of(self.body)}');
-- What was kept from before is not told of.
select tenantcache.note_everything('{{}}');
call tenantcache.share();
"""


_BODY = """
declare
    old_cells text[];
    new_cells text[];
begin
    begin
        if tg_op = 'UPDATE' then
            if {unchanged} then
                return null;
            end if;
        end if;
        if tg_op <> 'INSERT' then old_cells := {old_cells}; end if;
        if tg_op <> 'DELETE' then new_cells := {new_cells}; end if;
    exception when others then
        begin
            if tg_op <> 'INSERT' then
                execute tenantcache.cells_of_renamed({number}, tg_relid, {naming}) into strict old_cells using old;
            end if;
            if tg_op <> 'DELETE' then
                execute tenantcache.cells_of_renamed({number}, tg_relid, {naming}) into strict new_cells using new;
            end if;
        exception when others then
            perform tenantcache.note_everything('{{}}');
            return null;
        end;
    end;
    if tg_op = 'INSERT' or old_cells = new_cells then
        perform tenantcache.note_values(array_remove(array[{new_names}], null));
    elsif tg_op = 'DELETE' then
        perform tenantcache.note_values(array_remove(array[{old_names}], null));
    else
        perform tenantcache.note_values(array_remove(array[{old_names}, {new_names}], null));
    end if;
    return null;
end
"""


def _filled(text: str, cell: Callable[[str], str], *, is_key: bool) -> str:
    """What `KeyTemplate.fill` makes of the row; null if a column is null."""
    template, found = KeyTemplate(text), list[str]()
    for before, column, _ in template.parts:
        escaped = f"replace(replace({cell(column)}, '%', '%25'), ':', '%3A')" if is_key else cell(column)
        found += literal(before), escaped
    return " || ".join([*found, literal(template.end)])


def _unchanged(only: Sequence[str]) -> str:
    if not only:
        return "old operator(pg_catalog.*=) new"
    sides = [", ".join(f"{row}.{identifier(column)}" for column in only) for row in ("old", "new")]
    # As records, because rows are compared column by column, and json has no operator for that.
    return f"row({sides[0]})::record operator(pg_catalog.*=) row({sides[1]})::record"


def removal(name: str, relation: int) -> str:
    """The statements that end the watch of a table, if it is watched."""
    ended = f"select relation from tenantcache.value_watches where relation = {relation} or name = {literal(name)}"
    return f"""do $$
declare
    old record;
begin
    -- After a restore the table has another oid than in the list.
    for old in
        select t.tgname, t.tgrelid::regclass as on_table from pg_trigger t join pg_proc p on p.oid = t.tgfoid
        where t.tgname in ('tenantcache_values', 'tenantcache_values_truncated')
            and p.pronamespace = 'tenantcache'::regnamespace
            and (t.tgrelid = {relation} or t.tgrelid in ({ended}))
    loop
        execute format('drop trigger %I on %s', old.tgname, old.on_table);
    end loop;
    for old in delete from tenantcache.value_watches where relation in ({ended}) returning number
    loop
        execute format('drop function if exists tenantcache.values_of_%s()', old.number);
    end loop;
end
$$;"""


async def prepare(connection: asyncpg.Connection, watch: TableWatch) -> WatchPlan:
    """Look at the table and change nothing. Raises `AdoptionError`, with every fault in its text."""
    try:
        table = await read_table(connection, watch.table)
    except CatalogError as error:
        raise AdoptionError(str(error)) from None
    found = dict[str, Column]()
    faults = list(_faults(table, watch, found))
    if not await connection.fetchval("select to_regclass('tenantcache.value_watches') is not null"):
        faults.append("the database has no tenantcache schema, or one of an older version; run `tenantcache init`")
    if faults:
        raise AdoptionError("\n".join(faults))
    known = await connection.fetchval("select number from tenantcache.value_watches where relation = $1", table.oid)
    if known is None:
        known = await connection.fetchval("select nextval('tenantcache.value_watch_numbers')")
    given = [watch.tenant] if watch.tenant is not None else []
    given += [column for text in (*watch.keys, *watch.tags) for column in KeyTemplate(text).names]
    naming = tuple(dict.fromkeys(found[one].name for one in [*given, *watch.key_columns, *watch.tag_columns]))
    columns = tuple(dict.fromkeys([*naming, *(found[one].name for one in watch.only)]))
    numbers = dict(
        await connection.fetch(
            "select attname::text, attnum from pg_attribute where attrelid = $1 and attnum > 0 and not attisdropped",
            table.oid,
        )
    )

    as_stored = _as_stored(watch, table, found)
    return WatchPlan(
        known, table.oid, table.name, as_stored, columns, tuple(numbers[name] for name in columns), len(naming)
    )


def _as_stored(watch: TableWatch, table: Table, found: dict[str, Column]) -> TableWatch:
    """With the names that the catalog has."""
    names = {given: column.name for given, column in found.items()}

    def stored(given: Sequence[str]) -> tuple[str, ...]:
        return tuple(names[column] for column in given)

    def renamed(given: Sequence[str]) -> tuple[str, ...]:
        return tuple(KeyTemplate(text).renamed(names) for text in given)

    return TableWatch(
        table.name,
        None if watch.tenant is None else names[watch.tenant],
        renamed(watch.keys),
        stored(watch.key_columns),
        renamed(watch.tags),
        stored(watch.tag_columns),
        stored(watch.only),
    )


def _faults(table: Table, watch: TableWatch, found: dict[str, Column]) -> Iterator[str]:
    """What is wrong; the columns that are named are put into `found`."""
    if not table.owned:
        yield f"{table.name} belongs to another role; run this as its owner, or as a member of that role"
    named = [("--key-column", column) for column in watch.key_columns]
    named += [("--tag-column", column) for column in watch.tag_columns]
    for option, text in [*(("--key", key) for key in watch.keys), *(("--tag", tag) for tag in watch.tags)]:
        try:
            template = KeyTemplate(text)
        except ValueError as error:
            yield f"{option} {error}"
            continue
        named += [(f"{option} {text}:", ".".join([column, *path])) for _, column, path in template.parts]
    if not (named or watch.keys or watch.tags):
        yield "a row has to name something: give --key, --key-column, --tag or --tag-column"
    if watch.tenant is not None:
        named.append(("--tenant", watch.tenant))
    for option, given in [*named, *(("--only", column) for column in watch.only)]:
        try:
            column = found[given] = table.column(given)
        except CatalogError as error:
            yield f"{option} {given}: {error}"
            continue
        if column.virtual:
            yield f"{option} {given}: the column is virtual, and triggers do not see it"
        elif option != "--only" and column.type_name not in COMPARABLE and column.category != "E":
            yield (
                f"{option} {given}: the type is {column.type_name}, whose text need not be the one in Python; names are"
                " made of text, integers, uuid and enums; add a generated column of such a type"
            )


async def install(connection: asyncpg.Connection, plan: WatchPlan) -> bool:
    """Watch the table from now on; False if that is so already.

    Raises `AdoptionError` and `asyncpg.PostgresError`; then nothing is changed.
    """
    try:
        async with connection.transaction():
            await connection.execute(schema.LOCK)
            if await is_in_place(connection, plan):
                return False
            await connection.execute(plan.sql)
    except asyncpg.LockNotAvailableError:
        raise AdoptionError("the table is in use by a long transaction; nothing was changed, try again") from None
    return True


async def is_in_place(connection: asyncpg.Connection, plan: WatchPlan) -> bool:
    """Whether the table is watched like this, by triggers that fire."""
    row = await connection.fetchrow(
        "select name, numbers, options, digest from tenantcache.value_watches where relation = $1", plan.relation
    )
    wanted = json.loads(json.dumps(asdict(plan.watch)))
    if row is None or (row["name"], row["numbers"]) != (plan.name, list(plan.numbers)):
        return False
    if json.loads(row["options"]) != wanted or row["digest"] != schema.digest_of(plan.body):
        return False
    return not await find_faults(connection, plan.name)


@dataclass(frozen=True, slots=True)
class WatchFault:
    """`is_fault`: changes are missed, or told as "everything may have changed". Else they are told as they are."""

    is_fault: bool
    told: str


async def find_faults(connection: asyncpg.Connection, name: str | None = None) -> list[WatchFault]:
    """What has become of the watched tables, or of the one that is called `name` in SQL."""
    rows = await connection.fetch(
        "select is_fault, told from tenantcache.watch_faults() where $1::text is null or watched = $1 order by 2", name
    )
    return [WatchFault(row["is_fault"], row["told"]) for row in rows]


async def watched(connection: asyncpg.Connection) -> list[TableWatch]:
    """The tables that are watched, and what a row of each is about."""
    rows = await connection.fetch("select options from tenantcache.value_watches order by name")
    return [_watch_of(json.loads(row["options"])) for row in rows]


def _watch_of(options: dict[str, object]) -> TableWatch:
    return TableWatch(**{name: tuple(one) if isinstance(one, list) else one for name, one in options.items()})  # type: ignore[arg-type]


async def removal_of(connection: asyncpg.Connection, given: str) -> str:
    """The statements that end the watch of the table. A table that is gone is named as it is listed. Raises
    `AdoptionError` if it is not watched."""
    row = await connection.fetchrow(
        "select w.name, w.relation from tenantcache.value_watches w where w.name = $1 or w.relation = ("
        "select c.oid from pg_class c where c.oid = to_regclass($1)) order by w.name = $1 limit 1",
        given,
    )
    if row is None:
        names = ", ".join([watch.table for watch in await watched(connection)]) or "none"
        raise AdoptionError(f"{given} is not watched; watched tables: {names}")
    return f"set local lock_timeout = '5s';\n{removal(row['name'], row['relation'])}\n"


async def remove(connection: asyncpg.Connection, given: str) -> None:
    """As `removal_of`, and run them. Values are no longer told of; what is kept lives until its TTL."""
    try:
        async with connection.transaction():
            await connection.execute(schema.LOCK)
            await connection.execute(await removal_of(connection, given))
    except asyncpg.LockNotAvailableError:
        raise AdoptionError("the table is in use by a long transaction; nothing was changed, try again") from None
