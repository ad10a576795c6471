"""What a person should know before tenants are served. Nothing here is a fault; all of it may surprise."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence

import asyncpg

from tenantcache.schema.adopt.adoption import Plan
from tenantcache.schema.adopt.catalog import AdoptionError
from tenantcache.schema.adopt.columns import id_of, members
from tenantcache.schema.adopt.expressions import literal
from tenantcache.schema.adopt.routines import _by_id
from tenantcache.schema.inspection import find_ambiguous_names

EXAMPLES = 3
"""Values that a message shows of many."""

# One label, and a host: what a request can carry (RFC 1123 2.1), in lower case.
_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_SUBDOMAIN = f"^({_LABEL})?$"
_DOMAIN = f"^{_LABEL}(\\.{_LABEL})+$"


async def find_warnings(connection: asyncpg.Connection, plan: Plan, *, base_domains: Sequence[str] = ()) -> list[str]:
    """Run the query once over, and say what looks wrong, a line each. Raises `AdoptionError` if two rows have one
    id."""
    found = [
        f"{table.name}: row security hides rows from this user, and what it cannot see is not served"
        for table in plan.query.tables
        if table.restricted
    ]
    if plan.has_clock:
        found.append("the query depends on the time, which writes no row: only `adopt verify` sees such a change")
    found += [f"the query calls {name}, whose answer may change at any time" for name in plan.query.volatile]
    found += await find_ambiguous_names(connection, sorted(plan.names))
    try:
        async with connection.transaction(readonly=True):
            found += [warning async for warning in _of_rows(connection, plan, base_domains)]
            found += [warning async for warning in _of_indexes(connection, plan)]
    except asyncpg.ReadOnlySQLTransactionError as error:
        raise AdoptionError(f"the query writes, but it is read at any time and must not ({error.args[0]})") from None
    return found


async def _of_rows(connection: asyncpg.Connection, plan: Plan, base_domains: Sequence[str]) -> AsyncIterator[str]:
    query, kind = plan.query, plan.adoption.kind
    shown, own_id = members(query, kind), id_of(query, kind)
    source = f"({query.text}) as q"
    duplicate = await connection.fetchval(
        f"select {own_id} from {source} where {own_id} is not null group by 1 having count(*) > 1 order by 1 limit 1"
    )
    if duplicate is not None:
        raise AdoptionError(
            f"two rows of the query have the id {duplicate!r}; a tenant is one row: join what has several rows by an"
            " aggregate, or give a key that tells all rows apart"
        )
    try:
        async with connection.transaction():
            for member, shape, what in (("subdomains", _SUBDOMAIN, "subdomain"), ("domains", _DOMAIN, "domain")):
                async for warning in _of_names(connection, source, shown, member, shape, what):
                    yield warning
            async for warning in _of_statuses(connection, plan, source, shown):
                yield warning
            async for warning in _of_zones(connection, source, shown):
                yield warning
            for base in base_domains:
                async for warning in _of_whole_hosts(connection, source, shown, base):
                    yield warning
    except (asyncpg.DataError, asyncpg.CardinalityViolationError, asyncpg.RaiseError) as error:
        yield f"the query fails on at least one row ({error.args[0]}); what cannot be read of it counts as absent"


async def _of_names(
    connection: asyncpg.Connection, source: str, shown: dict[str, str], member: str, shape: str, what: str
) -> AsyncIterator[str]:
    named = f"select n.name, {shown['status']} as status from {source}, unnest({shown[member]}) as n (name)"
    twice = await connection.fetch(
        f"select name from ({named}) as s where status = 'active'"
        f" group by 1 having count(*) > 1 order by 1 limit {EXAMPLES}"
    )
    if twice:
        yield f"several active tenants have the {what} {_examples(twice)}: it is served for none of them"
    odd = await connection.fetch(
        f"select distinct name from ({named}) as s where name !~ {literal(shape)} order by 1 limit {EXAMPLES}"
    )
    if odd:
        other = "; path and header strategies can" if member == "subdomains" else "; write them as ASCII host names"
        yield f"no host can be {_examples(odd)}, given as {what}{other}"


async def _of_statuses(
    connection: asyncpg.Connection, plan: Plan, source: str, shown: dict[str, str]
) -> AsyncIterator[str]:
    if "status" not in plan.query.columns:
        return
    rows = await connection.fetch(
        f"select s.status, count(*) as tenants, (array_agg(distinct s.given) filter (where s.given not in"
        f" ('active', 'suspended', 'maintenance', 'deleted')))[:{EXAMPLES}] as odd"
        f" from (select {shown['status']} as status, q.status::text as given from {source}) as s group by 1"
    )
    total = sum(row["tenants"] for row in rows)
    for row in rows:
        if row["status"] == "suspended":
            why = f", those with the status {', '.join(map(repr, row['odd']))} among them" if row["odd"] else ""
            yield f"{row['tenants']} of {total} tenants count as suspended{why}"


async def _of_zones(connection: asyncpg.Connection, source: str, shown: dict[str, str]) -> AsyncIterator[str]:
    rows = await connection.fetch(
        f"select distinct {shown['time_zone']} as zone from {source} where {shown['time_zone']} is not null and"
        f" {shown['time_zone']} not in (select name from pg_timezone_names) order by 1 limit {EXAMPLES}"
    )
    if rows:
        yield f"{_examples(rows)} are not time zones; the days of these tenants end in UTC"


async def _of_whole_hosts(
    connection: asyncpg.Connection, source: str, shown: dict[str, str], base: str
) -> AsyncIterator[str]:
    rows = await connection.fetch(
        f"select n.name from {source}, unnest({shown['domains']}) as n (name)"
        f" where right(n.name, {len(base) + 1}) = {literal('.' + base)} order by 1 limit {EXAMPLES}"
    )
    if rows:
        yield (
            f"{_examples(rows)} are under the base domain {base}, where a host leads to a tenant by its first label"
            " alone; give that label as subdomain (split_part(d.domain, '.', 1)), or take the domain out of"
            " TENANTCACHE_BASE_DOMAINS"
        )


_IS_INDEXED = """
    select exists (
        select from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
        where i.indrelid = to_regclass($1) and a.attname = $2 and i.indisvalid)
"""


async def _of_indexes(connection: asyncpg.Connection, plan: Plan) -> AsyncIterator[str]:
    await connection.execute("set local enable_seqscan = off")
    condition = _by_id(plan.query, "(select array['']::text[])")  # a constant would be cast while it is planned
    try:
        async with connection.transaction():
            explained = await connection.fetchval(
                f"explain (verbose, format json) select q.* from ({plan.query.text}) as q where {condition}"
            )
    except asyncpg.PostgresError:
        return
    for table in sorted(_scanned(json.loads(explained)[0]["Plan"])):
        yield f"a lookup of one tenant reads {table} from one end to the other; an index on what joins it helps"
    for way in plan.ways:
        for hop in way.hops:
            if not await connection.fetchval(_IS_INDEXED, hop.table, hop.enter):
                yield (
                    f"a change in {way.table} reads {hop.table} from one end to the other; "
                    f"create index concurrently on {hop.table} ({hop.enter})"
                )


def _scanned(node: dict[str, object]) -> set[str]:
    found = set()
    # With "seq scans" switched off an index may be read from one end to the other in their place.
    reads_all = node.get("Node Type") in ("Seq Scan", "Index Scan", "Index Only Scan") and "Index Cond" not in node
    if reads_all and "Relation Name" in node:
        found.add(f"{node['Schema']}.{node['Relation Name']}")
    children = node.get("Plans", [])
    assert isinstance(children, list)
    for child in children:
        found |= _scanned(child)
    return found


def _examples(rows: Sequence[asyncpg.Record]) -> str:
    return ", ".join(repr(row[0]) for row in rows)
