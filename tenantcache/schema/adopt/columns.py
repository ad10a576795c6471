"""From the columns of an adopting query to what a tenant is made of, as SQL over a row `q` of it.

Names are in lower case (of ASCII alone: host names consist of it). Impossible names are left
out. Numbers out of range are cut to what is possible, and a status that means nothing here counts as suspended.
"""

from __future__ import annotations

from collections.abc import Iterable

from tenantcache.lookup.core.hosts import MAX_NAME_LENGTH
from tenantcache.schema.adopt.expressions import identifier, literal
from tenantcache.schema.adopt.query import AnalysedQuery, OutputColumn
from tenantcache.tenant import MAX_PER_DAY, MAX_PER_MINUTE


def id_of(query: AnalysedQuery, kind: str) -> str:
    """The id as text. That of a kind begins with it."""
    own_id = joined(f"q.{identifier(column.name)}" for column in query.key)
    return f"{literal(kind + ':')} || {own_id}" if kind else own_id


def joined(columns: Iterable[str]) -> str:
    """A key as text; the parts of one of several columns are joined by "/", with "%" and "/" in them as %25 and %2F
    (RFC 3986 2.1)."""
    parts = [f"{column}::text" for column in columns]
    if len(parts) > 1:
        parts = [f"replace(replace({part}, '%', '%25'), '/', '%2F')" for part in parts]
    return " || '/' || ".join(parts)


def members(query: AnalysedQuery, kind: str) -> dict[str, str]:
    """The members of the tenant's JSON, and the expression of each. What the query does not say is left out."""
    found = {
        "id": id_of(query, kind),
        "kind": literal(kind) + "::text",
        "subdomain": f"({_names(query, ('subdomain', 'subdomains'), empty=True)})[1]",
        "name": f"coalesce(nullif({_text(query, 'name')}, ''), {id_of(query, kind)})",
        "subdomains": _names(query, ("subdomain", "subdomains"), empty=True),
        "domains": _names(query, ("primary_domain", "domains")),
        "old_names": _names(query, ("old_names",)),
        "names": _names(query, ("slug", "slugs")),
        "old_slugs": _names(query, ("old_slugs",)),
        "primary_domain": f"nullif({_lower(_text(query, 'primary_domain'))}, '')",
        "status": _status(query),
        "plan": _text(query, "plan"),
        "limit_per_minute": _limit(query, "limit_per_minute", MAX_PER_MINUTE),
        "limit_per_day": _limit(query, "limit_per_day", MAX_PER_DAY),
        "time_zone": _text(query, "time_zone"),
    }
    return found


def attributes(query: AnalysedQuery) -> str:
    """The attributes as text, so that their content need not be parsed."""
    column = query.columns.get("attributes")
    if column is None:
        return "null::text"
    value = f"q.{identifier(column.name)}"
    return f"case when {column.base}_typeof({value}) = 'object' then {value}::text end"


def _lower(value: str) -> str:
    return f'lower(({value}) collate "C")'


def _text(query: AnalysedQuery, name: str) -> str:
    return f"q.{identifier(name)}::text" if name in query.columns else "null::text"


def _names(query: AnalysedQuery, columns: Iterable[str], *, empty: bool = False) -> str:
    arrays = [_array(query.columns[name]) for name in columns if name in query.columns]
    if not arrays:
        return "'{}'::text[]"
    least = 0 if empty else 1
    return (
        f"array(select {_lower('n.name')} from unnest({' || '.join(arrays)}) with ordinality as n (name, place)"
        f" where octet_length(n.name) between {least} and {MAX_NAME_LENGTH}"
        f" group by {_lower('n.name')} order by min(n.place))"
    )


def _array(column: OutputColumn) -> str:
    value = f"q.{identifier(column.name)}"
    if column.category == "A":
        return f"coalesce({value}::text[], '{{}}')"
    if column.base in ("json", "jsonb"):
        listed = f"case when jsonb_typeof({value}::jsonb) = 'array' then {value}::jsonb else '[]' end"
        return f"array(select e from jsonb_array_elements_text({listed}) e)"
    return f"array[{value}::text]"


def _status(query: AnalysedQuery) -> str:
    if "status" not in query.columns:
        return "'active'::text"
    value = _text(query, "status")
    return (
        f"case when {value} in ('active', 'suspended', 'maintenance', 'deleted') then {value}"
        f" when {value} is null then 'active' else 'suspended' end"
    )


def _limit(query: AnalysedQuery, name: str, most: int) -> str:
    if name not in query.columns:
        return "null::bigint"
    value = f"q.{identifier(name)}"
    return f"case when {value} is not null then least(greatest({value}, 0), {most})::bigint end"
