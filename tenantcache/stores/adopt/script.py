"""The statements that serve an existing table: views, a look-up function, triggers.

Rules:

* The views show names in lower case, whatever the table holds, because that is what requests carry. Look-ups never go
  through such an expression: they use the columns as they are stored, and so the table's own indexes (`HostColumn`).
* Nothing that can be in a row makes a view fail, since one bad row would take all tenants down: numbers out of range
  are cut, states that nobody has mapped count as suspended.
* Nothing that can be in a row makes a trigger fail, since that would be a write of the application's that fails.
* An id is text. Keys of several columns are joined by "/", with "%" and "/" in them written as %25 and %2F
  (RFC 3986 2.1): unambiguous, and reversible, so that a look-up by id can use the key's index.
* Where two rows have the same name, the active one is served, and of several that with the smallest id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tenantcache.stores.adopt.catalog import Column
from tenantcache.stores.adopt.expressions import canonical, dollars, id_of, is_set, literal
from tenantcache.stores.adopt.mapping import Domains, TableMapping
from tenantcache.stores.adopt.triggers import domain_triggers, fill_spellings, tenant_triggers

MAX_PER_MINUTE = 2**31 - 1
MAX_PER_DAY = 2**53 - 1
"""What the owned table's columns can hold."""

MAX_PAIRS = 40
"""Members that one jsonb_build_object makes: PostgreSQL passes a function at most 100 arguments."""

SOURCE_COLUMNS = (
    "id, name, subdomain, domains, primary_domain, status, plan, limit_per_minute, limit_per_day, attributes, time_zone"
)

_CLEAR = r"""
-- Whatever was adopted before is let go.
delete from tenantcache.adoption;
call tenantcache.serve_own_tables();
do $$
declare
    logged record;
begin
    for logged in
        select t.tgname, t.tgrelid::regclass as on_table
        from pg_trigger t join pg_proc p on p.oid = t.tgfoid join pg_class c on c.oid = t.tgrelid
        where p.pronamespace = 'tenantcache'::regnamespace and c.relnamespace <> p.pronamespace
            and t.tgname like 'tenantcache\_%'
    loop
        execute format('drop trigger %I on %s', logged.tgname, logged.on_table);
    end loop;
end
$$;
drop view if exists tenantcache.adopted_tenants, tenantcache.adopted_domains;
drop function if exists tenantcache.log_adopted_tenant(), tenantcache.log_adopted_domain();
"""

_GRANTS = """
-- Whoever may read tenantcache.tenant_source may read what look-ups go by.
do $$
declare
    reader record;
    part text;
begin
    for reader in
        select distinct case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as role
        from pg_class c, aclexplode(c.relacl) a
        where c.oid = 'tenantcache.tenant_source'::regclass and a.privilege_type = 'SELECT'
    loop
        foreach part in array array['adopted_tenants', 'adopted_domains', 'spellings']
        loop
            if to_regclass('tenantcache.' || part) is not null then
                execute format('grant select on tenantcache.%I to %s', part, reader.role);
            end if;
        end loop;
    end loop;
end
$$;
"""


def release() -> str:
    """The statements that let an adopted table go: after them tenantcache's own tables are served."""
    return f"{_CLEAR}select tenantcache.log_change(null, null);\n"


def script(mapping: TableMapping) -> str:
    """All statements that adopt, for a database with the schema; to be run in one transaction, again if need be."""
    parts = [
        "-- Somebody's long transaction must not make every other one wait behind us.\nset local lock_timeout = '5s';"
    ]
    parts.append(_CLEAR)
    if mapping.domains is not None:
        parts.append(_domains_view(mapping.domains))
    parts += [_tenants_view(mapping), _source_views(mapping), _find_function(mapping), _GRANTS]
    parts += tenant_triggers(mapping)
    parts += [fill_spellings(mapping.table.name, host) for host in mapping.hosts]
    if mapping.domains is not None:
        parts += domain_triggers(mapping.domains)
        parts.append(fill_spellings(mapping.domains.table.name, mapping.domains.host))
    parts.append("select tenantcache.log_change(null, null);")
    return "\n".join(part.strip("\n") + "\n" for part in parts if part)


# Views.


def _domains_view(domains: Domains) -> str:
    conditions = [f"{canonical('d', domains.host)} is not null"]
    if domains.verified is not None:
        conditions.append(is_set("d", domains.verified))
    primary = "false" if domains.primary is None else f"coalesce(d.{domains.primary.quoted}, false)"
    return f"""
create view tenantcache.adopted_domains as
    select {_keys("d", domains.owner)},
        {domains.host.indexed("d")} as indexed_domain,
        {canonical("d", domains.host)} as domain,
        {id_of("d", domains.owner)} as tenant_id,
        {primary} as is_primary
    from {domains.table.name} d
    where {" and ".join(conditions)};
"""


def _tenants_view(mapping: TableMapping) -> str:
    custom_domain = "null::text"
    if mapping.custom_domain is not None:
        custom_domain = canonical("t", mapping.custom_domain)
        if mapping.custom_domain_verified is not None:
            custom_domain = f"case when {is_set('t', mapping.custom_domain_verified)} then {custom_domain} end"
    subdomain = "null::text" if mapping.subdomain is None else canonical("t", mapping.subdomain)
    own_id = id_of("t", mapping.key)
    name = own_id if mapping.name is None else f"coalesce(t.{mapping.name.quoted}::text, {own_id})"
    indexed = "".join(
        f"\n        {host.indexed('t')} as {alias},"
        for host, alias in ((mapping.subdomain, "indexed_subdomain"), (mapping.custom_domain, "indexed_domain"))
        if host is not None
    )
    return f"""
create view tenantcache.adopted_tenants as
    select {_keys("t", mapping.key)},{indexed}
        {custom_domain} as custom_domain,
        {own_id} as id,
        {name} as name,
        {subdomain} as subdomain,
        {_domains_of(mapping, custom_domain)} as domains,
        {_primary_domain(mapping, custom_domain)} as primary_domain,
        {_status(mapping)} as status,
        {"null::text" if mapping.plan is None else f"t.{mapping.plan.quoted}::text"} as plan,
        {_limit(mapping.per_minute, "integer", MAX_PER_MINUTE)} as limit_per_minute,
        {_limit(mapping.per_day, "bigint", MAX_PER_DAY)} as limit_per_day,
        {_attributes(mapping)} as attributes,
        {"null::text" if mapping.time_zone is None else f"t.{mapping.time_zone.quoted}::text"} as time_zone
    from {mapping.table.name} t
    where {" and ".join(f"t.{part.quoted} is not null" for part in mapping.key)};
"""


def _source_views(mapping: TableMapping) -> str:
    domains = ["select s.custom_domain as domain, s.id as tenant_id from tenantcache.adopted_tenants s"]
    domains[0] += "\n        where s.custom_domain is not null"
    if mapping.domains is not None:
        domains.append("select d.domain, d.tenant_id from tenantcache.adopted_domains d")
    return f"""
create or replace view tenantcache.tenant_source as
    select {SOURCE_COLUMNS}
    from tenantcache.adopted_tenants;

create or replace view tenantcache.domain_source as
    {f"{chr(10)}    union all{chr(10)}    ".join(domains)};
"""


def _find_function(mapping: TableMapping) -> str:
    """Names to keys by the tables' indexes, then keys to rows by the key's.

    Parameters go by number: a name would lose against a column's.
    """
    keys = [f"key_{number}" for number, _ in enumerate(mapping.key, 1)]
    tenants = "tenantcache.adopted_tenants s"
    typed = [f"s.key_{n} = any ({array})" for n, array in enumerate(_typed_keys(mapping.key), 1) if array]
    branches = [
        f"select 'id:' || s.id, {_of('s', keys)} from {tenants}\n            where {_and(typed)}s.id = any ($3)"
    ]
    if mapping.subdomain is not None:
        asked = mapping.subdomain.asked("$1")
        branches.append(
            f"select 'subdomain:' || s.subdomain, {_of('s', keys)} from {tenants}\n"
            f"            where s.indexed_subdomain = any ({asked})"
        )
    if mapping.custom_domain is not None:
        asked = mapping.custom_domain.asked("$2")
        branches.append(
            f"select 'domain:' || s.custom_domain, {_of('s', keys)} from {tenants}\n"
            f"            where s.indexed_domain = any ({asked}) and s.custom_domain is not null"
        )
    if mapping.domains is not None:
        asked = mapping.domains.host.asked("$2")
        branches.append(
            f"select 'domain:' || d.domain, {_of('d', keys)} from tenantcache.adopted_domains d\n"
            f"            where d.indexed_domain = any ({asked})"
        )
    together = "\n        union all\n        ".join(branches)
    joined = " and ".join(f"t.{key} = wanted.{key}" for key in keys)
    columns = ", ".join(f"t.{name}" for name in SOURCE_COLUMNS.split(", "))
    body = f"""
    with wanted (alias, {", ".join(keys)}) as (
        {together}
    )
    select distinct on (wanted.alias) wanted.alias, to_jsonb(s)
    from wanted join tenantcache.adopted_tenants t on {joined}
        cross join lateral (select {columns}) as s
    where wanted.alias is not null
    order by wanted.alias, s.status <> 'active', s.id
"""
    return (
        "create or replace function tenantcache.find_tenants(subdomains text[], domains text[], ids text[])\n"
        f'returns table (alias text, "row" jsonb) stable language sql as {dollars(body)};'
    )


# Expressions.


def _keys(row: str, key: Sequence[Column]) -> str:
    return ", ".join(f"{row}.{part.quoted} as key_{number}" for number, part in enumerate(key, 1))


def _of(row: str, names: Iterable[str]) -> str:
    return ", ".join(f"{row}.{name}" for name in names)


def _and(conditions: Iterable[str]) -> str:
    return "".join(condition + " and " for condition in conditions)


def _typed_keys(key: Sequence[Column]) -> list[str | None]:
    """For each part of the key, the ids that were asked for as an array of its own type; None where only text will do.

    What is no value of the type is left out: casting it would raise.
    """
    found: list[str | None] = []
    for number, part in enumerate(key, 1):
        asked = "asked.id"
        if len(key) > 1:
            asked = f"replace(replace(split_part(asked.id, '/', {number}), '%2F', '/'), '%25', '%')"
        source = "from unnest($3) as asked (id)"
        if part.is_text:
            found.append(f"array(select {asked} {source})::{part.type}[]")
        elif part.type_name == "uuid":
            shape = "'^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'"
            found.append(f"array(select ({asked})::uuid {source} where {asked} ~ {shape})")
        elif part.is_integer:
            # In a CASE, because a condition may be tested after the cast that it is to guard.
            in_range = f"case when abs(({asked})::numeric) < 9223372036854775808 then ({asked})::bigint end"
            found.append(f"array(select case when {asked} ~ '^-?[0-9]{{1,19}}$' then {in_range} end {source})")
        else:
            found.append(None)
    return found


def _domains_of(mapping: TableMapping, custom_domain: str) -> str:
    if mapping.domains is None:
        return f"array_remove(array[{custom_domain}], null)"
    listed = f"select d.domain from tenantcache.adopted_domains d where {_owned_by_tenant(mapping)}"
    if mapping.custom_domain is None:
        return f"array({listed} order by d.domain)"
    both = f"select {custom_domain} union {listed}"
    return f"array(select h.domain from ({both}) as h (domain) where h.domain is not null order by h.domain)"


def _primary_domain(mapping: TableMapping, custom_domain: str) -> str:
    if mapping.domains is None:
        return custom_domain
    flagged = f"select d.domain from tenantcache.adopted_domains d where {_owned_by_tenant(mapping)} and d.is_primary"
    return f"coalesce({custom_domain}, ({flagged} order by d.domain limit 1))"


def _owned_by_tenant(mapping: TableMapping) -> str:
    return " and ".join(f"d.key_{number} = t.{part.quoted}" for number, part in enumerate(mapping.key, 1))


def _status(mapping: TableMapping) -> str:
    if mapping.status is None:
        return "'active'::text"
    cases = " ".join(f"when {literal(value)} then {literal(status)}" for value, status in mapping.statuses.items())
    return f"case coalesce(t.{mapping.status.quoted}::text, '') {cases} else 'suspended' end"


def _limit(column: Column | None, type_name: str, most: int) -> str:
    if column is None:
        return f"null::{type_name}"
    value = f"t.{column.quoted}"
    return f"case when {value} is not null then least(greatest({value}, 0), {most})::{type_name} end"


def _attributes(mapping: TableMapping) -> str:
    if mapping.attributes_whole:
        value = f"t.{mapping.attributes[0].quoted}::jsonb"
        return f"case when jsonb_typeof({value}) = 'object' then {value} else '{{}}'::jsonb end"
    pairs = [f"{literal(column.name)}, t.{column.quoted}" for column in mapping.attributes]
    chunks = [pairs[start : start + MAX_PAIRS] for start in range(0, len(pairs), MAX_PAIRS)]
    return " || ".join(f"jsonb_build_object({', '.join(chunk)})" for chunk in chunks) or "'{}'::jsonb"
