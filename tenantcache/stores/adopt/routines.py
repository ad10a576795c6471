"""The functions and triggers of one adopting query, as SQL.

Each function holds the query as text: PostgreSQL binds it when it runs, so that nothing keeps the application from
changing its tables. `adopted_N(ids)` reads tenants by id, `adopted_ids_N()` lists their ids, `watched_N(keys)` walks
the way from a key to ids, and `follow_N()` is the trigger function of a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tenantcache.stores.adopt.columns import attributes, id_of, joined, members
from tenantcache.stores.adopt.expressions import dollars, identifier, literal
from tenantcache.stores.adopt.query import AnalysedQuery, OutputColumn
from tenantcache.stores.adopt.ways import Way

ROW_ERRORS = "data_exception or cardinality_violation or program_limit_exceeded or raise_exception"
"""What a single row can cause. Everything else is about the query, or about the server."""


@dataclass(frozen=True, slots=True)
class Routine:
    """`name` with its parameters' types, as in `drop function`; `body` as it is stored."""

    name: str
    body: str
    sql: str


@dataclass(frozen=True, slots=True)
class FollowedTable:
    """A table and what its trigger does: `numbers` of the ways from it, by the column that is the key of each.
    `columns`: those whose change matters, None for any."""

    oid: int
    name: str
    columns: tuple[str, ...] | None
    numbers: Mapping[int, Sequence[str]]
    follower: int


def reader(number: int, query: AnalysedQuery, kind: str) -> Routine:
    """`adopted_N(ids)`. If the query fails for what is in a row, each id is asked for by itself, and then each
    column."""
    shown = members(query, kind)
    pairs = ", ".join(f"{literal(name)}, {expression}" for name, expression in shown.items())
    source, by_itself = f"({query.text}) as q", _by_id(query, "$1")
    body = _READER.format(
        names=", ".join(literal(name) for name in shown),
        expressions=", ".join(literal(f"to_jsonb({expression})") for expression in shown.values()),
        made=f"jsonb_build_object({pairs})",
        attributes=attributes(query),
        source=source,
        condition=_by_id(query, "ids"),
        errors=ROW_ERRORS,
        own_id=f"{literal(kind + ':')} || one" if kind else "one",
        one_column=literal(f"select (%s) from {_percents(source)} where {_percents(by_itself)}"),
        own_attributes=literal(f"select {attributes(query)} from {source} where {by_itself}"),
    )
    return _function(f"adopted_{number}", "ids text[]", "text[]", "table (tenant jsonb, attributes text)", body)


# The query's own columns may be called what a variable here is.
_READER = """
#variable_conflict use_column
declare
    tenants jsonb[];
    texts text[];
    one text;
    part jsonb;
    made jsonb;
    names text[] := array[{names}];
    expressions text[] := array[{expressions}];
begin
    begin
        select array_agg({made}), array_agg({attributes}) into tenants, texts
            from {source} where {condition};
        return query select t.tenant, t.attributes from unnest(tenants, texts) as t (tenant, attributes)
            where t.tenant ->> 'id' is not null;
        return;
    exception when {errors} then
        null;
    end;
    foreach one in array ids
    loop
        made := '{{}}';
        for place in 1 .. cardinality(names)
        loop
            begin
                execute format({one_column}, expressions[place]) into part using array[one];
                exit when names[place] = 'id' and (part #>> '{{}}') is distinct from {own_id};
            exception when {errors} then
                exit when names[place] = 'id';
                part := case
                    when names[place] = 'name' then made -> 'id'
                    when names[place] = 'status' then '"suspended"'
                    when names[place] in ('subdomains', 'domains', 'old_names', 'names', 'old_slugs') then '[]'
                    else 'null'
                end;
            end;
            made := made || jsonb_build_object(names[place], part);
        end loop;
        if made ->> 'id' is null then
            continue;
        end if;
        begin
            execute {own_attributes} into one using array[one];
        exception when {errors} then
            one := null;
        end;
        return query select made, one;
    end loop;
end
"""


def lister(number: int, query: AnalysedQuery, kind: str) -> Routine:
    """`adopted_ids_N()`: every id, whatever else stands in the rows."""
    own_id = id_of(query, kind)
    body = f"\nbegin\n    return query select {own_id} from ({query.text}) as q where {own_id} is not null;\nend\n"
    return _function(f"adopted_ids_{number}", "", "", "setof text", body)


def walker(number: int, way: Way, key_type: str, kind: str) -> Routine:
    """`watched_N(keys)`: the ids that keys lead to."""
    prefix = f"{literal(kind + ':')} || " if kind else ""
    if not way.hops:
        body = f"\nbegin\n    return query select distinct {prefix}k from unnest(keys) k;\nend\n"
    else:
        tables = [f"{way.hops[0].table} t1"]
        conditions = [f"t1.{identifier(way.hops[0].enter)}::text = any (keys)"]
        if key_type:
            conditions = [f"t1.{identifier(way.hops[0].enter)} = any (keys::{key_type}[])"]
        for place, hop in enumerate(way.hops[1:], 2):
            before = way.hops[place - 2]
            tables.append(f"{hop.table} t{place}")
            conditions.append(f"t{place}.{identifier(hop.enter)}::text = t{place - 1}.{identifier(before.leave)}::text")
        last = f"t{len(way.hops)}.{identifier(way.hops[-1].leave)}"
        body = (
            f"\nbegin\n    return query select distinct {prefix}{last}::text from {', '.join(tables)}\n"
            f"        where {' and '.join(conditions)} and {last} is not null;\nend\n"
        )
    return _function(f"watched_{number}", "keys text[]", "text[]", "setof text", body)


ANY_TENANT = "*"
"""In place of a column: a row of that table may concern any tenant."""


def follower(table: FollowedTable) -> list[Routine]:
    """The trigger function of a table, which never makes a statement of the application's fail."""
    is_for_all = [ANY_TENANT] in [list(columns) for columns in table.numbers.values()]
    keys = "" if is_for_all else _noted_keys(table)
    numbers = ", ".join(str(number) for number in table.numbers)
    note = (
        """
    insert into tenantcache.outbox (key) values (null);
    perform tenantcache.wake();
    return null;
end
"""
        if is_for_all
        else _NOTE_KEYS
    )
    body = f"""
declare
    old_keys text[] := '{{}}';
    new_keys text[] := '{{}}';
    changed_watches integer[] := array[{numbers}];
begin
    begin
        if tg_op = 'UPDATE' then
            if {_unchanged(table.columns)} then
                return null;
            end if;
        end if;
{keys}
    exception when others then
        perform tenantcache.note_failed_trigger({literal(table.name)}, sqlerrm);
        return null;
    end;
{note}"""
    return [_function(f"follow_{table.follower}", "", "", "trigger", body, definer=True)]


_NOTE_KEYS = """    insert into tenantcache.outbox (watch, key)
        select distinct k.watch, k.key
        from (
            select * from unnest(changed_watches, old_keys) union select * from unnest(changed_watches, new_keys)
        ) as k (watch, key)
        where k.key is not null;
    if found then
        perform tenantcache.wake();
    end if;
    return null;
end
"""


def _noted_keys(table: FollowedTable) -> str:
    lines = []
    for place, columns in enumerate(table.numbers.values(), 1):
        for row, other in (("old", "INSERT"), ("new", "DELETE")):
            key = joined(f"{row}.{identifier(column)}" for column in columns)
            lines.append(f"        if tg_op <> '{other}' then {row}_keys[{place}] := {key}; end if;")
    return "\n".join(lines)


def triggers(table: FollowedTable) -> str:
    """The statements that give the table its triggers; it must have none of this adoption yet."""
    number = table.follower
    return f"""
create trigger tenantcache_written_{number} after insert or update or delete on {table.name}
    for each row execute function tenantcache.follow_{number}();
create trigger tenantcache_truncated_{number} after truncate on {table.name}
    for each statement execute function tenantcache.log_everything();
alter table {table.name} enable always trigger tenantcache_written_{number};
alter table {table.name} enable always trigger tenantcache_truncated_{number};
"""


def _unchanged(columns: Sequence[str] | None) -> str:
    if columns is None:
        return "old operator(pg_catalog.*=) new"
    sides = [", ".join(f"{row}.{identifier(column)}" for column in columns) for row in ("old", "new")]
    # As records, because rows are compared column by column, and json has no operator for that.
    return f"row({sides[0]})::record operator(pg_catalog.*=) row({sides[1]})::record"


def _by_id(query: AnalysedQuery, parameter: str) -> str:
    """The condition that the key's own index can answer, for ids in `parameter` (text[])."""
    if len(query.key) == 1:
        return _one_of(query.key[0], parameter)
    parts = []
    for place, column in enumerate(query.key, 1):
        decoded = f"replace(replace(split_part(i, '/', {place}), '%2F', '/'), '%25', '%')"
        parts.append(_one_of(column, f"array(select {decoded} from unnest({parameter}) i)"))
    return f"{' and '.join(parts)} and {id_of(query, '')} = any ({parameter})"


def _one_of(column: OutputColumn, parameter: str) -> str:
    cast = "text" if column.type == "character varying" else column.type
    return f"q.{identifier(column.name)} {column.equals} any ({parameter}::{cast}[])"


def _percents(sql: str) -> str:
    return sql.replace("%", "%%")


def _function(name: str, parameters: str, types: str, returns: str, body: str, *, definer: bool = False) -> Routine:
    how = "security definer set search_path = pg_catalog, pg_temp" if definer else "stable"
    sql = (
        f"create function tenantcache.{name}({parameters}) returns {returns} language plpgsql {how} as {dollars(body)};"
    )
    return Routine(f"{name}({types})", body, sql)
