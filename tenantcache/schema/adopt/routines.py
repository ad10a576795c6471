"""The functions and triggers of one adopting query, as SQL.

Each function holds the query as text: PostgreSQL binds it when it runs, so that nothing keeps the application from
changing its tables. `adopted_N(ids)` reads tenants by id, and `adopted_ids_N()` lists their ids. `watched_N(keys)`
walks the way from a key to ids. `follow_N()` is the trigger function of a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tenantcache.schema.adopt.columns import attributes, id_of, joined, members
from tenantcache.schema.adopt.expressions import dollars, identifier, literal
from tenantcache.schema.adopt.query import AnalysedQuery, OutputColumn
from tenantcache.schema.adopt.ways import Way

ROW_ERRORS = (
    "data_exception or cardinality_violation or program_limit_exceeded or integrity_constraint_violation"
    " or plpgsql_error"
)
"""What a single row can cause (a check of a domain is an integrity constraint, and plpgsql_error is what functions
raise). Everything else is about the query, or about the server."""

MAX_ID_BYTES = 1000
"""Octets of an id. An index of ours holds it together with a name, and no entry of an index may be longer than
2,700."""

BIND_COLUMNS = "#variable_conflict use_column"
"""If a query reads one table, PostgreSQL prints columns without its name: they are not our variables."""


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
    """`adopted_N(ids)`. If the query fails on a row, each half of the ids is read separately, down to one id, and then
    each column. `unread` are the columns that cannot be read."""
    shown = members(query, kind)
    pairs = ", ".join(f"{literal(name)}, {expression}" for name, expression in shown.items())
    source, condition = f"({query.text}) as q", _by_id(query, "$1")
    body = _READER.format(
        bind=BIND_COLUMNS,
        number=number,
        names=", ".join(literal(name) for name in shown),
        expressions=", ".join(literal(f"to_jsonb({expression})") for expression in shown.values()),
        made=f"jsonb_build_object({pairs})",
        attributes=attributes(query),
        source=source,
        condition=condition,
        one_condition=_by_one_id(query),
        errors=ROW_ERRORS,
        most=MAX_ID_BYTES,
        own_ids=f"array(select {literal(kind + ':')} || i from unnest($1) i)" if kind else "$1",
        own_id=f"{literal(kind + ':')} || $1[1]" if kind else "$1[1]",
        one_column=literal(f"select (%s) from {_percents(source)} where {_percents(condition)}"),
        own_attributes=literal(f"select {attributes(query)} from {source} where {condition}"),
    )
    return _function(f"adopted_{number}", "ids text[]", "text[]", "table (tenant jsonb, attributes text)", body)


# One that is asked for as "01" is not the tenant 1: that one would be found twice.
_READER = """
{bind}
declare
    half integer := cardinality($1) / 2;
    found_tenants jsonb[];
    found_texts text[];
    found_text text;
    part jsonb;
    made jsonb := '{{}}';
    unread text[] := '{{}}';
    all_names text[] := array[{names}];
    expressions text[] := array[{expressions}];
begin
    begin
        if cardinality($1) = 1 then
            select array_agg({made}), array_agg({attributes}) into found_tenants, found_texts
                from {source} where {one_condition};
        else
            select array_agg({made}), array_agg({attributes}) into found_tenants, found_texts
                from {source} where {condition};
        end if;
        return query select t.tenant, t.attributes from unnest(found_tenants, found_texts) as t (tenant, attributes)
            where octet_length(t.tenant ->> 'id') <= {most} and t.tenant ->> 'id' = any ({own_ids});
        return;
    exception when {errors} then
        null;
    end;
    if half > 0 then
        return query select * from tenantcache.adopted_{number}($1[:half]);
        return query select * from tenantcache.adopted_{number}($1[half + 1:]);
        return;
    end if;
    for place in 1 .. cardinality(all_names)
    loop
        begin
            execute format({one_column}, expressions[place]) into part using $1;
        exception when {errors} then
            part := case
                when all_names[place] = 'name' then made -> 'id'
                when all_names[place] = 'status' then '"suspended"'
                when all_names[place] in ('subdomains', 'domains', 'old_names', 'names', 'old_slugs') then '[]'
            end;
            unread := unread || all_names[place];
        end;
        if all_names[place] = 'id' and (part #>> '{{}}') is distinct from {own_id} then
            return;
        end if;
        made := made || jsonb_build_object(all_names[place], part);
    end loop;
    begin
        execute {own_attributes} into found_text using $1;
    exception when {errors} then
        unread := unread || 'attributes'::text;
    end;
    if octet_length(made ->> 'id') <= {most} then
        return query select made || jsonb_build_object('unread', unread), found_text;
    end if;
end
"""


def lister(number: int, query: AnalysedQuery, kind: str) -> Routine:
    """`adopted_ids_N()`: every id, whatever else stands in the rows."""
    own_id = id_of(query, kind)
    body = (
        f"\n{BIND_COLUMNS}\nbegin\n    return query select {own_id} from ({query.text}) as q"
        f" where octet_length({own_id}) <= {MAX_ID_BYTES};\nend\n"
    )
    return _function(f"adopted_ids_{number}", "", "", "setof text", body)


class Comparison(NamedTuple):
    """`type` is what both sides are compared as, `equals` the operator; both have their schemas."""

    type: str
    equals: str


def walker(number: int, way: Way, comparisons: Sequence[Comparison | None], kind: str) -> Routine:
    """`watched_N(keys)`: the ids that keys lead to. If a column has got another type since, texts are compared."""
    prefix = f"{literal(kind + ':')} || " if kind else ""
    if not way.hops:
        body = f"\nbegin\n    return query select distinct {prefix}k from unnest($1) k;\nend\n"
    else:
        body = (
            f"\nbegin\n    return query {_walk(way, comparisons, prefix)};\n"
            "exception when syntax_error_or_access_rule_violation or data_exception then\n"
            f"    return query {_walk(way, [None] * len(way.hops), prefix)};\nend\n"
        )
    return _function(f"watched_{number}", "keys text[]", "text[]", "setof text", body)


def _walk(way: Way, comparisons: Sequence[Comparison | None], prefix: str) -> str:
    tables, conditions = [], []
    for place, (hop, by) in enumerate(zip(way.hops, comparisons, strict=True), 1):
        tables.append(f"{hop.table} t{place}")
        entered = f"t{place}.{identifier(hop.enter)}"
        if place == 1:
            conditions.append(f"{entered} {by.equals} any ($1::{by.type}[])" if by else f"{entered}::text = any ($1)")
            continue
        left = f"t{place - 1}.{identifier(way.hops[place - 2].leave)}"
        conditions.append(f"{entered} {by.equals} {left}" if by else f"{entered}::text = {left}::text")
    last = f"t{len(way.hops)}.{identifier(way.hops[-1].leave)}"
    return (
        f"select distinct {prefix}{last}::text from {', '.join(tables)}\n"
        f"        where {' and '.join(conditions)} and {last} is not null"
    )


ANY_TENANT = "*"
"""In place of a column: a row of that table may concern any tenant."""


def follower(table: FollowedTable) -> list[Routine]:
    """The trigger function of a table, which never makes a statement of the application's fail."""
    is_for_all = [ANY_TENANT] in [list(columns) for columns in table.numbers.values()]
    keys = "" if is_for_all else _noted_keys(table)
    keys_again = "" if is_for_all else _keys_by_statement(table)
    numbers = ", ".join(str(number) for number in table.numbers)
    note = (
        """
    perform tenantcache.note_everything('{}');
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
        -- A session that wrote here before a column was retyped keeps the old plans; a statement of its own has none.
        begin
{keys_again}
        exception when others then
            perform tenantcache.note_failed_trigger({literal(table.name)}, sqlerrm);
            return null;
        end;
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


def _keys_by_statement(table: FollowedTable) -> str:
    listed = ", ".join(joined(f"($1).{identifier(c)}" for c in columns) for columns in table.numbers.values())
    statement = literal(f"select array[{listed}]")
    return (
        f"            if tg_op <> 'INSERT' then execute {statement} into old_keys using old; end if;\n"
        f"            if tg_op <> 'DELETE' then execute {statement} into new_keys using new; end if;"
    )


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


def _by_one_id(query: AnalysedQuery) -> str:
    """The same for a single one: PostgreSQL takes an equality, not a list, into a subquery that is grouped."""
    wanted = ["($1)[1]"]
    if len(query.key) > 1:
        wanted = [
            f"replace(replace(split_part(($1)[1], '/', {place}), '%2F', '/'), '%25', '%')"
            for place, _ in enumerate(query.key, 1)
        ]
    return " and ".join(
        f"q.{identifier(column.name)} {column.equals} {value}::{_widest(column.type)}"
        for column, value in zip(query.key, wanted, strict=True)
    )


def _one_of(column: OutputColumn, parameter: str) -> str:
    return f"q.{identifier(column.name)} {column.equals} any ({parameter}::{_widest(column.type)}[])"


def _widest(type_name: str) -> str:
    """The type that keys are compared as. All integers have the same indexes, and an application may widen its own."""
    if type_name in ("smallint", "integer", "bigint"):
        return "bigint"
    return "text" if type_name == "character varying" else type_name


def _percents(sql: str) -> str:
    return sql.replace("%", "%%")


def _function(name: str, parameters: str, types: str, returns: str, body: str, *, definer: bool = False) -> Routine:
    how = "security definer set search_path = pg_catalog, pg_temp" if definer else "stable"
    sql = (
        f"create function tenantcache.{name}({parameters}) returns {returns} language plpgsql {how} as {dollars(body)};"
    )
    return Routine(f"{name}({types})", body, sql)
