"""How a changed row leads to tenants, derived from a query.

A row matters to a tenant only if the query's conditions tie it to the tenant's id. So from each table we look for a way
of equalities to the column that is the id. `d.project_id = p.id and p.org_id = o.id` is one, and so is `in` a subquery
of one column. It consists of:

* equalities that every result needs: those in `on`, `where` and `using` that stand under no `or`, `not` or `case`;
* between columns, through subqueries and common table expressions to the columns that they hand on;
* in the direction in which they are needed. A row on the optional side of an outer join, or in a subquery, matters only
  with the row that it is tied to. It is not so the other way round.

The first column of the way is the table's key. The trigger notes its value, and the rest of the way is walked when the
change is published. What else the query asks of those rows can only make fewer tenants of them, never others.
"""

from __future__ import annotations

import heapq
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlglot import exp, parse_one
from sqlglot.optimizer.scope import Scope, traverse_scope

NAME_COLUMNS = frozenset({"subdomain", "subdomains", "domains", "primary_domain", "slug", "slugs"})


class Place(NamedTuple):
    """A column of one occurrence of a table in the query."""

    occurrence: int
    column: str


@dataclass(frozen=True, slots=True)
class Hop:
    """From one column of a row to another one of the same row; `table` is qualified and quoted."""

    table: str
    enter: str
    leave: str


@dataclass(frozen=True, slots=True)
class Way:
    """`columns` of a changed row in `table` are the key; through `hops` it leads to ids. No hops: it is the id."""

    table: str
    columns: tuple[str, ...]
    hops: tuple[Hop, ...] = ()

    @property
    def told(self) -> str:
        """For people: `portals.project_id -> projects.id, projects.org_id is the tenant's id`."""
        steps = "".join(f" -> {hop.table}.{hop.enter}, {hop.table}.{hop.leave}" for hop in self.hops)
        return f"{self.table}.{', '.join(self.columns)}{steps} is the tenant's id"


@dataclass(frozen=True, slots=True)
class Ways:
    """`unknown` are tables of which at least one occurrence leads to no id, `whole` those whose rows are read as a
    whole. `has_clock`: the query depends on the time. `names`: the columns (table, column) that names are taken
    from."""

    ways: tuple[Way, ...]
    unknown: frozenset[str]
    whole: frozenset[str]
    has_clock: bool
    names: frozenset[tuple[str, str]]


def find_ways(text: str, key: Sequence[str], columns: Mapping[str, Sequence[str]]) -> Ways:
    """The ways in a query as PostgreSQL prints it, to the output columns `key`.

    `columns` are those of each table, by its qualified and quoted name. To a key of several columns only such ways are
    found as hold all of them in one row.
    """
    return _Graph(text, key, columns).ways()


_EQUALS = re.compile(r'OPERATOR\((?:"(?:[^"]|"")*"|\w+)\.=\)')
"""How PostgreSQL prints the = of a type that is not its own, like citext."""


class _Graph:
    def __init__(self, text: str, key: Sequence[str], columns: Mapping[str, Sequence[str]]) -> None:
        self._columns = columns
        self._tree = parse_one(_EQUALS.sub("=", text), read="postgres")
        self._scopes = list(traverse_scope(self._tree))
        self._tables: dict[int, str] = {}
        self._homes: dict[int, Scope] = {}
        self._edges: dict[Place, set[Place]] = {}
        for scope in self._scopes:
            for source in scope.sources.values():
                if isinstance(source, exp.Table) and _name_of(source) in columns:  # a function is none
                    self._tables[id(source)] = _name_of(source)
                    # A lateral subquery shows its outer tables too; the innermost of all would be the wrong home.
                    self._homes[id(source)] = scope
        for scope in self._scopes:
            self._note_equalities(scope)
        self._targets = [self._handed_on(self._scopes[-1], column) for column in key]

    def ways(self) -> Ways:
        found: dict[Way, None] = {}
        unknown = self._columns.keys() - self._tables.values()  # read behind a function, say
        for occurrence, table in self._tables.items():
            way = self._way(occurrence, table) if len(self._targets) == 1 else self._held(occurrence, table)
            if way is None:
                unknown.add(table)
            else:
                found[way] = None
        names = frozenset(self._name_sources())
        return Ways(tuple(found), frozenset(unknown), frozenset(self._whole()), self._has_clock(), names)

    # Places.

    def _places(self, scope: Scope | None, column: exp.Column) -> frozenset[Place]:
        """The columns of tables that `column` is, seen from `scope`."""
        while scope is not None:
            source = scope.sources.get(column.table)
            if not column.table and len(scope.sources) == 1:  # PostgreSQL leaves the name out if there is only one
                source = next(iter(scope.sources.values()))
            if isinstance(source, exp.Table):
                return frozenset({Place(id(source), column.name)})
            if source is not None:
                return self._handed_on(source, column.name)
            scope = scope.parent
        return frozenset()

    def _handed_on(self, scope: Scope, name: str) -> frozenset[Place]:
        """What the output column `name` of a subquery is; of a union, in each of its parts."""
        if _parts(scope):
            names = [select.alias_or_name for select in _selects(scope.expression)]
            place = names.index(name) if name in names else None
            parts = (self._handed_on_at(part, place) for part in _parts(scope) if place is not None)
            return frozenset(itertools.chain.from_iterable(parts))
        if not isinstance(scope.expression, exp.Select):
            inner = [source for source in scope.sources.values() if isinstance(source, Scope)]
            return frozenset(itertools.chain.from_iterable(self._handed_on(one, name) for one in inner))
        for select in _selects(scope.expression):
            if select.alias_or_name == name:
                return self._source_of(scope, select)
        return frozenset()

    def _handed_on_at(self, scope: Scope, place: int) -> frozenset[Place]:
        if _parts(scope):
            return frozenset().union(*(self._handed_on_at(part, place) for part in _parts(scope)))
        return self._source_of(scope, _selects(scope.expression)[place])

    def _source_of(self, scope: Scope, select: exp.Expr) -> frozenset[Place]:
        column = _column_in(select.unalias())
        return frozenset() if column is None else self._places(scope, column)

    # Equalities.

    def _note_equalities(self, scope: Scope) -> None:
        select = scope.expression
        if not isinstance(select, exp.Select):
            return
        where = select.args.get("where")
        if where is not None:
            self._note(scope, where.this, None)
        for join in _joins(select):
            optional = self._optional_side(scope, join)
            self._note(scope, join.args.get("on"), optional)
            for name in join.args.get("using") or ():
                for left, right in self._used(scope, name.name):
                    self._join(scope, self._places(scope, left), self._places(scope, right), optional)

    def _optional_side(self, scope: Scope, join: exp.Join) -> frozenset[int] | None:
        """The tables whose rows need the join's condition; None if all do."""
        if not join.side:
            return None
        right = frozenset(self._tables_in(scope, join.this))
        if join.side == "LEFT":
            return right
        if join.side == "RIGHT":
            return frozenset(self._tables) - right
        return frozenset()

    def _tables_in(self, scope: Scope, expression: exp.Expr) -> Iterator[int]:
        for table in expression.find_all(exp.Table):
            source = scope.sources.get(table.alias_or_name)
            if isinstance(source, Scope):  # a common table expression stands elsewhere
                for inner in source.traverse():
                    yield from self._tables_in(inner, inner.expression)
            else:
                yield id(table)

    def _note(self, scope: Scope, condition: exp.Expr | None, optional: frozenset[int] | None) -> None:
        condition = condition.unnest() if condition is not None else None
        if isinstance(condition, exp.And):
            self._note(scope, condition.left, optional)
            self._note(scope, condition.right, optional)
        elif isinstance(condition, exp.EQ):
            left, right = _column_in(condition.left), _column_in(condition.right)
            query = _any_query(condition.right)
            if left is not None and right is not None:
                self._join(scope, self._places(scope, left), self._places(scope, right), optional)
            elif left is not None and query is not None:
                self._note_within(scope, left, query, optional)
        elif isinstance(condition, exp.In):
            left, query = _column_in(condition.this), condition.args.get("query")
            if left is not None and query is not None:
                self._note_within(scope, left, query.unnest(), optional)

    def _note_within(self, scope: Scope, left: exp.Column, query: exp.Expr, optional: frozenset[int] | None) -> None:
        inner = next((one for one in self._scopes if one.expression is query), None)
        if inner is not None and isinstance(query, exp.Select) and len(_selects(query)) == 1:
            self._join(scope, self._places(scope, left), self._source_of(inner, _selects(query)[0]), optional)

    def _join(
        self, scope: Scope, left: frozenset[Place], right: frozenset[Place], optional: frozenset[int] | None
    ) -> None:
        for one, other in itertools.product(left, right):
            for start, end in ((one, other), (other, one)):
                is_outside = _is_within(scope, self._homes.get(start.occurrence))
                if not is_outside and (optional is None or start.occurrence in optional):
                    self._edges.setdefault(start, set()).add(end)

    def _used(self, scope: Scope, name: str) -> Iterator[tuple[exp.Column, exp.Column]]:
        holders = [
            alias
            for alias, source in scope.sources.items()
            if not isinstance(source, exp.Table) or name in self._columns.get(_name_of(source), ())
        ]
        for left, right in itertools.pairwise(holders):
            yield exp.column(name, table=left), exp.column(name, table=right)

    # Ways.

    def _held(self, occurrence: int, table: str) -> Way | None:
        """The columns of a row that are equal to those of the key."""
        found = []
        for targets in self._targets:
            starts = [place for place in {*self._edges, *targets} if place.occurrence == occurrence]
            columns = sorted(place.column for place in starts if not targets.isdisjoint(self._equal_to(place)))
            if not columns:
                return None
            found.append(columns[0])
        return Way(table, tuple(found))

    def _equal_to(self, place: Place) -> set[Place]:
        found, pending = {place}, [place]
        while pending:
            new = self._edges.get(pending.pop(), set()) - found
            found |= new
            pending += new
        return found

    def _way(self, occurrence: int, table: str) -> Way | None:
        """The way with the fewest hops, by Dijkstra: an equality costs nothing, another column of the same row one."""
        (targets,) = self._targets
        everywhere = {*self._edges, *targets}
        starts = [place for place in everywhere if place.occurrence == occurrence]
        queue: list[tuple[int, int, Place, tuple[Place, ...]]] = []
        order = itertools.count()
        for start in sorted(starts):
            heapq.heappush(queue, (0, next(order), start, (start,)))
        seen: set[Place] = set()
        while queue:
            cost, _, place, path = heapq.heappop(queue)
            if place in targets:
                return Way(table, (path[0].column,), tuple(self._hops(path)))
            if place in seen:
                continue
            seen.add(place)
            for other in sorted(self._edges.get(place, ())):
                heapq.heappush(queue, (cost, next(order), other, (*path, other)))
            if place.occurrence != occurrence and place.occurrence in self._tables:  # and no function's
                for other in sorted(everywhere):
                    if other.occurrence == place.occurrence and other != place:
                        heapq.heappush(queue, (cost + 1, next(order), other, (*path, other)))
        return None

    def _hops(self, path: Sequence[Place]) -> Iterator[Hop]:
        for one, other in itertools.pairwise(path):
            if one.occurrence == other.occurrence:
                yield Hop(self._tables[one.occurrence], one.column, other.column)

    # What else the text shows.

    def _name_sources(self) -> Iterator[tuple[str, str]]:
        root = self._scopes[-1]
        if not isinstance(root.expression, exp.Select):
            return
        for select in root.expression.selects:
            if select.alias_or_name in NAME_COLUMNS:
                inner = [scope for scope in self._scopes if scope.expression in list(select.find_all(exp.Select))]
                for scope in inner or [root]:
                    outputs = _selects(scope.expression)[:1] if inner else [select.unalias()]
                    for column in itertools.chain.from_iterable(one.find_all(exp.Column) for one in outputs):
                        places = self._places(scope, column)
                        yield from (
                            (self._tables[p.occurrence], p.column) for p in places if p.occurrence in self._tables
                        )

    def _whole(self) -> Iterator[str]:
        for scope in self._scopes:
            for column in scope.find_all(exp.Column):
                if isinstance(column.this, exp.Star):
                    source = _source_named(scope, column.table)
                    if isinstance(source, exp.Table):
                        yield _name_of(source)

    def _has_clock(self) -> bool:
        clocks = (exp.CurrentTimestamp, exp.CurrentDate, exp.CurrentTime, exp.Localtime, exp.Localtimestamp)
        named = {"now", "clock_timestamp", "statement_timestamp", "transaction_timestamp", "timeofday"}
        return any(
            isinstance(node, clocks) or (isinstance(node, exp.Anonymous) and node.name.lower() in named)
            for node in self._tree.walk()
        )


def _source_named(scope: Scope | None, name: str) -> exp.Table | Scope | None:
    """What `name` stands for in a query, or in those around it."""
    while scope is not None and name not in scope.sources:
        scope = scope.parent
    source = None if scope is None else scope.sources[name]
    return source if isinstance(source, exp.Table | Scope) else None


def _parts(scope: Scope) -> Sequence[Scope]:
    """The sides of a union, an intersection or a difference."""
    return scope.set_operation_scopes


def _is_within(scope: Scope, outer: Scope | None) -> bool:
    """Is `scope` inside `outer`, and not the same?"""
    above = scope.parent
    while above is not None:
        if above is outer:
            return True
        above = above.parent
    return False


def _selects(query: exp.Expr) -> list[exp.Expr]:
    """The output columns of a query."""
    return list(query.selects) if isinstance(query, exp.Query) else []


def _joins(select: exp.Select) -> Iterator[exp.Join]:
    """Those of a select, also in parentheses; not those of its subqueries."""
    return (join for join in select.find_all(exp.Join) if join.find_ancestor(exp.Select) is select)


def _column_in(expression: exp.Expr) -> exp.Column | None:
    """The column that an expression is, casts aside: equal values have equal texts."""
    while isinstance(expression, exp.Cast | exp.Paren):
        expression = expression.this
    if isinstance(expression, exp.Column) and not isinstance(expression.this, exp.Star):
        return expression
    return None


def _any_query(expression: exp.Expr) -> exp.Expr | None:
    inner = expression.this if isinstance(expression, exp.Any) else None
    inner = inner.unnest() if inner is not None else None
    return inner if isinstance(inner, exp.Query) else None


def _name_of(table: exp.Table) -> str:
    parts = [part for part in (table.args.get("db"), table.this) if part is not None]
    return ".".join(part.sql(dialect="postgres") for part in parts)
