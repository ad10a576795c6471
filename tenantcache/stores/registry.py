"""Writing to the tables that tenantcache owns, and listing tenants. Each write is one statement, and so one
transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import NoReturn, cast

import asyncpg

from tenantcache.admin.registry import Claim, Removed, TenantSearch
from tenantcache.errors import (
    AdoptedTableError,
    NameTakenError,
    StoreError,
    StoreUnavailableError,
    TenantCacheError,
    UnknownTenantError,
)
from tenantcache.stores.counters import Fetcher
from tenantcache.stores.rows import RowReader
from tenantcache.tenant import Row

_COLUMNS = "id, name, subdomain, status, plan, limit_per_minute, limit_per_day, time_zone, attributes"


def _row(tenant: str, domains: str) -> str:
    """A `Row` as JSON, from the names of two relations."""
    columns = ", ".join(f"'{name}', {tenant}.{name}" for name in _COLUMNS.split(", "))
    return f"""jsonb_build_object({columns},
        'domains', coalesce((select jsonb_agg(d.domain order by d.domain) from {domains} d), '[]'),
        'primary_domain', (select min(d.domain) from {domains} d where d.is_primary))"""


_NAMES = """
    select unnest(array[f.tenant ->> 'id', f.tenant ->> 'name', f.tenant ->> 'subdomain']) as name
    union all
    select jsonb_array_elements_text(coalesce(nullif(f.tenant -> place, 'null'), '[]'))
    from unnest(array['subdomains', 'domains', 'names']) as place
"""

# "Offset 0", so that a row is put together once, and not for each condition: a quarter of the time.
_FIND = f"""
    with asked as (
        select max(id) as last, count(*) as tenants, array_agg(id) as ids
        from (select i.id from tenantcache.tenant_ids() as i (id) where i.id > $1 order by i.id limit $2) as portion
    )
    select asked.last, asked.tenants, found.tenant, found.attributes
    from asked left join lateral (
        select f.tenant, f.attributes
        from (select * from tenantcache.read_tenants(coalesce(asked.ids, '{{}}')) offset 0) as f
        where ($3::text is null or f.tenant ->> 'status' = $3) and ($4::text is null or f.tenant ->> 'plan' = $4)
            and ($5::text = '' or exists (
                select from ({_NAMES}) as n where position(lower($5) in lower(n.name)) > 0))
    ) as found on true
    order by found.tenant ->> 'id'
"""

PORTION = 1_000
"""Tenants that one query looks through: some 20 ms of the database."""

_CREATE = f"""
    with made as (
        insert into tenantcache.tenants ({_COLUMNS})
        values (coalesce($1, gen_random_uuid()::text), $2, $3, $4, $5, $6, $7, $8, $9::jsonb) returning *
    ), named as (
        insert into tenantcache.tenant_domains (domain, tenant_id, is_primary)
        select asked.domain, made.id, coalesce(asked.domain = $11, false)
        from made, unnest($10::text[]) as asked (domain) returning *
    )
    select {_row("made", "named")} as row from made
"""

# A key that is absent leaves its column as it is; one that is null makes it NULL.
_UPDATE = f"""
    with named as (select * from tenantcache.tenant_domains where tenant_id = $1), made as (
        update tenantcache.tenants t set
            name = case when $2::jsonb ? 'name' then $2 ->> 'name' else t.name end,
            subdomain = case when $2 ? 'subdomain' then $2 ->> 'subdomain' else t.subdomain end,
            status = case when $2 ? 'status' then $2 ->> 'status' else t.status end,
            plan = case when $2 ? 'plan' then $2 ->> 'plan' else t.plan end,
            limit_per_minute = case when $2 ? 'limit_per_minute' then ($2 ->> 'limit_per_minute')::integer
                else t.limit_per_minute end,
            limit_per_day = case when $2 ? 'limit_per_day' then ($2 ->> 'limit_per_day')::bigint
                else t.limit_per_day end,
            time_zone = case when $2 ? 'time_zone' then $2 ->> 'time_zone' else t.time_zone end,
            attributes = case when $2 ? 'attributes' then $2 -> 'attributes' else t.attributes end
        where t.id = $1 returning *
    )
    select {_row("made", "named")} as row from made
"""

_DELETE = """
    with gone as (delete from tenantcache.tenants where id = $1 returning subdomain)
    select gone.subdomain, array(select domain from tenantcache.tenant_domains where tenant_id = $1) as domains
    from gone
"""

_CLAIM = """
    with taken as (select from tenantcache.tenant_domains where domain = $1 and tenant_id <> $2), made as (
        insert into tenantcache.domain_challenges as c (domain, tenant_id, token)
        select $1, $2, $3 where not exists (select from taken)
        on conflict (domain, tenant_id) do update set domain = excluded.domain
        returning domain, tenant_id, token, verified_at
    )
    select *, false as served from made
"""

_CLAIMS = """
    select c.domain, c.tenant_id, c.token, c.verified_at, t.tenant_id is not null as served
    from tenantcache.domain_challenges c left join tenantcache.tenant_domains t using (domain, tenant_id)
"""
_CLAIMS_ON_DOMAIN = f"{_CLAIMS} where c.domain = $1 and ($2::text is null or c.tenant_id = $2) order by c.created_at"
_CLAIMS_OF_TENANT = f"{_CLAIMS} where c.tenant_id = $1 order by c.domain"
_CLAIMS_TO_CHECK = f"""{_CLAIMS}
    where c.verified_at is not null and t.tenant_id is not null order by c.checked_at nulls first limit $1"""

# No row comes back if the domain is another tenant's by now.
_VERIFIED = """
    with owned as (
        insert into tenantcache.tenant_domains as t (domain, tenant_id)
        select c.domain, c.tenant_id from tenantcache.domain_challenges c where c.domain = $1 and c.tenant_id = $2
        on conflict (domain) do update set domain = excluded.domain where t.tenant_id = excluded.tenant_id
        returning t.domain, t.tenant_id
    )
    update tenantcache.domain_challenges c
    set verified_at = coalesce(c.verified_at, now()), checked_at = now(), failing_since = null
    from owned where c.domain = owned.domain and c.tenant_id = owned.tenant_id
    returning c.domain
"""

_UNREACHABLE = "update tenantcache.domain_challenges set checked_at = now() where domain = $1 and tenant_id = $2"

_FAILED = """
    with noted as (
        update tenantcache.domain_challenges
        set checked_at = now(), failing_since = coalesce(failing_since, now()),
            verified_at = case when failing_since < now() - $3::interval then null else verified_at end
        where domain = $1 and tenant_id = $2 returning domain, tenant_id, failing_since
    )
    delete from tenantcache.tenant_domains t using noted
    where t.domain = noted.domain and t.tenant_id = noted.tenant_id and noted.failing_since < now() - $3::interval
    returning t.domain
"""

_REMOVE = """
    with claims as (
        delete from tenantcache.domain_challenges where domain = $1 and tenant_id = $2 returning domain
    ), gone as (
        delete from tenantcache.tenant_domains where domain = $1 and tenant_id = $2 returning domain
    )
    select exists (select from gone) as domain, (select count(*) from claims) as claims
"""
_REMOVE_FROM_EVERY_TENANT = """
    with claims as (delete from tenantcache.domain_challenges where domain = $1 returning domain),
    gone as (delete from tenantcache.tenant_domains where domain = $1 returning domain)
    select exists (select from gone) as domain, (select count(*) from claims) as claims
"""

_SET_PRIMARY = """
    update tenantcache.tenant_domains d set is_primary = d.domain = $1
    where d.tenant_id = (select tenant_id from tenantcache.tenant_domains where domain = $1 and tenant_id = $2)
    returning d.tenant_id
"""


class PostgresRegistry:
    """The owned tables, for writing. All methods raise `StoreUnavailableError`, and `AdoptedTableError` if other
    tables are served."""

    def __init__(self, postgres: Fetcher | None) -> None:
        self._postgres = postgres
        self._rows = RowReader()

    async def find(self, search: TenantSearch, after: str, most: int) -> list[Row]:
        """Tenants by id, after the id `after`, at most `most`; those of an adopted table as well."""
        found: list[Row] = []
        portion = min(most, PORTION) if search.wants_all else PORTION
        while len(found) < most:
            records = await self._fetch(
                "listing tenants", _FIND, after, portion, search.status, search.plan, search.text
            )
            rows = [self._rows.read(record) for record in records if record["tenant"] is not None]
            found += [row for row in rows if row is not None]
            if records[0]["tenants"] < portion:
                break
            after = records[0]["last"]
        return found[:most]

    async def create(self, columns: Mapping[str, object], domains: Sequence[str], primary: str | None) -> Row:
        """Insert a tenant; an id of None makes one up. Raises `NameTakenError`."""
        values = [columns[name] for name in _COLUMNS.split(", ")[:-1]]
        found = await self._run("creating a tenant", _CREATE, *values, _json(columns["attributes"]), domains, primary)
        row: Row = json.loads(found[0]["row"])
        return row

    async def update(self, tenant_id: str, changes: Mapping[str, object]) -> Row:
        """Set the columns in `changes`. Raises `UnknownTenantError` and `NameTakenError`."""
        found = await self._run("updating a tenant", _UPDATE, tenant_id, _json(changes))
        row: Row = json.loads(_first(found, tenant_id)["row"])
        return row

    async def delete(self, tenant_id: str) -> tuple[str | None, list[str]]:
        """Delete a tenant; return the subdomain and the domains that it had. Raises `UnknownTenantError`."""
        gone = _first(await self._run("deleting a tenant", _DELETE, tenant_id), tenant_id)
        return gone["subdomain"], gone["domains"]

    async def claim(self, domain: str, tenant_id: str, token: str) -> Claim:
        """Note that a tenant asks for a domain; return its claim, which keeps an older token.

        Raises `NameTakenError` and `UnknownTenantError`.
        """
        found = await self._run("adding a domain", _CLAIM, domain, tenant_id, token)
        if not found:
            raise NameTakenError(f"domain {domain!r} is taken by another tenant")
        return cast("Claim", dict(found[0]))

    async def claims(self, domain: str, tenant_id: str | None) -> list[Claim]:
        return await self._claims(_CLAIMS_ON_DOMAIN, domain, tenant_id)

    async def claims_of(self, tenant_id: str) -> list[Claim]:
        return await self._claims(_CLAIMS_OF_TENANT, tenant_id)

    async def claims_to_check(self, limit: int) -> list[Claim]:
        """Claims that were verified and are served, those that were checked longest ago first."""
        return await self._claims(_CLAIMS_TO_CHECK, limit)

    async def _claims(self, query: str, *args: object) -> list[Claim]:
        return [cast("Claim", dict(found)) for found in await self._run("reading domain challenges", query, *args)]

    async def note_verified(self, domain: str, tenant_id: str) -> bool:
        """Serve a claimed domain; False if it is another tenant's by now."""
        return bool(await self._run("verifying a domain", _VERIFIED, domain, tenant_id))

    async def note_failed(self, domain: str, tenant_id: str, grace: float) -> bool:
        """Note a failed check; True if the domain has failed for `grace` seconds and is served no longer."""
        grace_interval = timedelta(seconds=grace)
        return bool(await self._run("noting a failed check", _FAILED, domain, tenant_id, grace_interval))

    async def note_unreachable(self, domain: str, tenant_id: str) -> None:
        await self._run("noting a check", _UNREACHABLE, domain, tenant_id)

    async def remove(self, domain: str, tenant_id: str) -> Removed:
        """Take a tenant's domain, and its claim to it, away."""
        [found] = await self._run("removing a domain", _REMOVE, domain, tenant_id)
        return Removed(*found)

    async def remove_from_every_tenant(self, domain: str) -> Removed:
        """As `remove`, whichever tenant has the domain, and with all claims to it."""
        [found] = await self._run("removing a domain", _REMOVE_FROM_EVERY_TENANT, domain)
        return Removed(*found)

    async def set_primary(self, domain: str, tenant_id: str) -> bool:
        """Make a tenant's domain its primary one; False if the tenant does not have it."""
        return bool(await self._run("choosing a primary domain", _SET_PRIMARY, domain, tenant_id))

    async def _run(self, doing: str, query: str, *args: object) -> list[asyncpg.Record]:
        adopted = await self._fetch(doing, "select options ->> 'table' as tenants_table from tenantcache.adoptions")
        if adopted:
            table = adopted[0]["tenants_table"]
            raise AdoptedTableError(f"the tenants are those of {table}, which is yours: change them there")
        return await self._fetch(doing, query, *args)

    async def _fetch(self, doing: str, query: str, *args: object) -> list[asyncpg.Record]:
        if self._postgres is None:
            raise TenantCacheError("this engine has no Postgres, so there are no tables of tenants")
        try:
            return await self._postgres.fetch(doing, query, *args)
        except StoreError as error:
            _translate(error)


def _first(records: list[asyncpg.Record], tenant_id: str) -> asyncpg.Record:
    if not records:
        raise UnknownTenantError(f"there is no tenant with the id {tenant_id!r}")
    return records[0]


def _json(value: object) -> str:
    return json.dumps(value, allow_nan=False)


def _translate(error: StoreError) -> NoReturn:
    cause = error.__cause__
    if isinstance(cause, asyncpg.UniqueViolationError):
        # "Key (subdomain)=(acme) already exists."
        what, _, name = str(cause.detail).removeprefix("Key (").removesuffix(") already exists.").partition(")=(")
        raise NameTakenError(f"{what} {name!r} is taken by another tenant") from None
    if isinstance(cause, asyncpg.ForeignKeyViolationError):
        raise UnknownTenantError("there is no tenant with that id") from None
    raise StoreUnavailableError(str(error)) from error
