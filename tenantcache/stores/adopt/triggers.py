"""Triggers on somebody else's table, which write its changes into the log, and the functions that they call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tenantcache.core.hosts import MAX_NAME_LENGTH
from tenantcache.stores.adopt.catalog import Column
from tenantcache.stores.adopt.expressions import canonical, dollars, id_of
from tenantcache.stores.adopt.mapping import Domains, HostColumn, TableMapping

# Compared as they are in the triggers' conditions. Everything else is compared as text: json has no "=" at all, and
# citext's would not see that a name is now written in capitals.
_COMPARABLE = frozenset(
    {"bool", "int2", "int4", "int8", "numeric", "text", "varchar", "bpchar", "uuid", "jsonb", "date", "timestamptz"}
)


def tenant_triggers(mapping: TableMapping) -> list[str]:
    """The statements for the tenants' own table, which must have none of ours yet."""
    hosts = [
        f"'{kind}:' || {canonical(row, host)}"
        for kind, host in (("subdomain", mapping.subdomain), ("domain", mapping.custom_domain))
        if host is not None
        for row in ("old", "new")
    ]
    definition = _log_function("log_adopted_tenant", mapping.key, hosts, list(mapping.hosts))
    return [definition, *_triggers(mapping.table.name, "log_adopted_tenant", mapping.columns)]


def domain_triggers(domains: Domains) -> list[str]:
    """The statements for a table of domains, which must have none of ours yet."""
    hosts = [f"'domain:' || {canonical(row, domains.host)}" for row in ("old", "new")]
    definition = _log_function("log_adopted_domain", domains.owner, hosts, [domains.host])
    return [definition, *_triggers(domains.table.name, "log_adopted_domain", domains.columns)]


def _log_function(name: str, key: Sequence[Column], hosts: Sequence[str], spelt: Sequence[HostColumn]) -> str:
    remember = "".join(
        f"    {_remember_spelling(f'values (new.{host.column.quoted}::text)')}\n"
        for host in spelt
        if host.needs_spellings
    )
    listed = ",\n        ".join(hosts)
    body = f"""
declare
    both_sides text[] := array_remove(array[
        {listed}]::text[], null);
    old_id text := {id_of("old", key)};
    new_id text := {id_of("new", key)};
begin
{remember}    if new_id is not null then
        perform tenantcache.log_change(new_id, both_sides);
    end if;
    if old_id is not null and old_id is distinct from new_id then
        perform tenantcache.log_change(old_id, both_sides);
    end if;
    return null;
end
"""
    return f"""
create or replace function tenantcache.{name}() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as {dollars(body)};
"""


def _remember_spelling(stored: str) -> str:
    # What is longer than any host name is nobody's, and might be too long for an index.
    return (
        "insert into tenantcache.spellings (stored, canonical)\n"
        f'        select distinct v, lower(v collate "C") from ({stored}) as s (v)\n'
        f'        where v <> lower(v collate "C") and length(v) <= {MAX_NAME_LENGTH} on conflict do nothing;'
    )


def fill_spellings(table: str, host: HostColumn) -> str:
    """The statement that notes the spellings which are in `table` already; "" where look-ups need none."""
    return _remember_spelling(f"select t.{host.column.quoted}::text from {table} t") if host.needs_spellings else ""


def _triggers(table: str, function: str, columns: Iterable[Column]) -> list[str]:
    names = {column.quoted: column for column in columns}
    changed = "\n        or ".join(f"{_shown('old', c)} is distinct from {_shown('new', c)}" for c in names.values())
    parts = []
    for name, event, condition in (
        ("tenantcache_added", "insert", ""),
        ("tenantcache_removed", "delete", ""),
        ("tenantcache_changed", "update", f"\n    when ({changed})\n   "),
    ):
        parts.append(
            f"create constraint trigger {name} after {event} on {table} deferrable initially deferred\n"
            f"    for each row{condition} execute function tenantcache.{function}();\n"
            f"alter table {table} enable always trigger {name};"
        )
    parts.append(
        f"create trigger tenantcache_truncated after truncate on {table}\n"
        "    for each statement execute function tenantcache.log_everything();\n"
        f"alter table {table} enable always trigger tenantcache_truncated;"
    )
    return parts


def _shown(row: str, column: Column) -> str:
    cast = "" if column.type_name in _COMPARABLE else "::text"
    return f"{row}.{column.quoted}{cast}"
