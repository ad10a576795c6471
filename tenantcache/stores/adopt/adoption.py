"""Serving a table that was there before: which options there are, whether they can work, and putting it in place.

`prepare` looks and changes nothing; `install` runs what it made, in one transaction. The table itself gets triggers and
nothing else: no column, no index, no constraint.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import asyncpg

from tenantcache.core.tenant import STATUSES, Status
from tenantcache.errors import TenantCacheError
from tenantcache.stores import schema
from tenantcache.stores.adopt.catalog import CatalogError, Column, Table, read_table
from tenantcache.stores.adopt.doubts import find_doubts, find_duplicate_id
from tenantcache.stores.adopt.expressions import literal
from tenantcache.stores.adopt.mapping import Domains, HostColumn, TableMapping
from tenantcache.stores.adopt.script import script

EVERYTHING = "*"


class AdoptionError(TenantCacheError):
    """A table cannot be served like this. The text lists every fault, one a line."""


@dataclass(frozen=True, slots=True)
class Adoption:
    """Which table is to be served, and which of its columns is what. Names as in SQL: folded unless quoted.

    Without `id` it is the primary key. `attributes` is one JSON column, or columns that become members of an object, or
    `*` for all that are not used otherwise, without `exclude`. `status_map` maps texts in `status` to our states.
    """

    table: str
    id: Sequence[str] = ()
    subdomain: str | None = None
    custom_domain: str | None = None
    custom_domain_verified: str | None = None
    name: str | None = None
    status: str | None = None
    status_map: Mapping[str, str] = field(default_factory=dict)
    plan: str | None = None
    per_minute: str | None = None
    per_day: str | None = None
    time_zone: str | None = None
    attributes: Sequence[str] = ()
    exclude: Sequence[str] = ()
    domains_table: str | None = None
    domains_column: str = "domain"
    domains_tenant_column: Sequence[str] = ("tenant_id",)
    domains_primary: str | None = None
    domains_verified: str | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """What `install` runs: `sql` for a database that has the schema. `doubts` are what a person should know first."""

    table: str
    sql: str
    doubts: Sequence[str]
    expected_triggers: int

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def dry_run(self) -> str:
        """Everything, as one script for `psql`."""
        return f"begin;\n{schema.sql()}\n{self.sql}\n{self._record()}\ncommit;\n"

    def _record(self) -> str:
        table = literal(self.table)
        return f"insert into tenantcache.adoption (tenants_table, script_hash) values ({table}, '{self.digest}');"

    async def install(self, connection: asyncpg.Connection) -> bool:
        """Put it in place; False where it is already. Raises `AdoptionError`, and `asyncpg.PostgresError`."""
        try:
            async with connection.transaction():
                await schema.install(connection)
                if await self._is_in_place(connection):
                    return False
                await connection.execute(self.sql)
                await connection.execute(self._record())
        except asyncpg.LockNotAvailableError:
            raise AdoptionError(
                f"{self.table} is in use by a long transaction; nothing was changed, try again later"
            ) from None
        return True

    async def _is_in_place(self, connection: asyncpg.Connection) -> bool:
        found: bool = await connection.fetchval(_IN_PLACE, self.digest, self.expected_triggers)
        return found


# A deployment that runs `init` each time should not lock the table each time.
_IN_PLACE = r"""
    select exists (select from tenantcache.adoption where script_hash = $1)
        and to_regclass('tenantcache.tenant_source') is not null and $2 = (
        select count(*) from pg_trigger t join pg_proc p on p.oid = t.tgfoid join pg_class c on c.oid = t.tgrelid
        where p.pronamespace = 'tenantcache'::regnamespace and c.relnamespace <> p.pronamespace
            and t.tgname like 'tenantcache\_%' and t.tgenabled = 'A')
"""


async def prepare(connection: asyncpg.Connection, adoption: Adoption) -> Prepared:
    """Look at the tables and make the statements. Raises `AdoptionError`, with every fault in its text."""
    check = _Check()
    tenants = await check.table(connection, adoption.table)
    domains = None if adoption.domains_table is None else await check.table(connection, adoption.domains_table)
    check.stop_at_faults()
    assert tenants is not None
    mapping = _map(tenants, domains, adoption, check)
    if (twice := await find_duplicate_id(connection, mapping)) is not None:
        raise AdoptionError(
            f"--id: two rows of {tenants.name} have the id {twice!r}; name columns that tell all rows apart"
        )
    doubts = await find_doubts(connection, mapping)
    triggers = 4 if domains is None else 8
    return Prepared(tenants.name, script(mapping), doubts, triggers)


class _Check:
    """Collects faults, so that a person learns of all of them at once."""

    def __init__(self) -> None:
        self._faults: list[str] = []

    def fault(self, text: str) -> None:
        self._faults.append(text)

    def stop_at_faults(self) -> None:
        if self._faults:
            raise AdoptionError("\n".join(self._faults))

    async def table(self, connection: asyncpg.Connection, given: str) -> Table | None:
        try:
            return await read_table(connection, given)
        except CatalogError as error:
            self.fault(str(error))
            return None

    def column(
        self,
        table: Table,
        option: str,
        given: str | None,
        fits: Callable[[Column], bool] | None = None,
        wanted: str = "",
    ) -> Column | None:
        """The column that `option` names; a fault, and None, where there is none or where it does not fit."""
        if given is None:
            return None
        try:
            column = table.column(given)
        except CatalogError as error:
            self.fault(f"{option}: {error}")
            return None
        if fits is not None and not fits(column):
            self.fault(f"{option}: {table.name}.{column.quoted} is of type {column.type_name}; {wanted}")
            return None
        return column

    def columns(self, table: Table, option: str, given: Sequence[str]) -> tuple[Column, ...]:
        found = (self.column(table, option, name) for name in given)
        return tuple(column for column in found if column is not None)

    def host(self, table: Table, option: str, given: str | None) -> HostColumn | None:
        column = self.column(table, option, given, lambda c: c.is_text, "host names are texts")
        if column is None:
            return None
        self.stored(table, option, column)
        return HostColumn(column, not table.is_indexed(column.quoted) and table.is_lowered(column))

    def stored(self, table: Table, option: str, column: Column) -> None:
        if column.virtual:
            self.fault(
                f"{option}: {table.name}.{column.quoted} is a virtual generated column, which triggers cannot read; "
                "make it STORED, or name the column that it is made from"
            )


def _map(tenants: Table, domains: Table | None, adoption: Adoption, check: _Check) -> TableMapping:
    def number(option: str, given: str | None) -> Column | None:
        return check.column(tenants, option, given, lambda c: c.category == "N", "a limit is a number")

    if adoption.subdomain is None and adoption.custom_domain is None and domains is None:
        check.fault("no host leads to a tenant: give --subdomain, --custom-domain or --domains-table")
    if adoption.custom_domain_verified is not None and adoption.custom_domain is None:
        check.fault("--custom-domain-verified goes with --custom-domain")
    status = check.column(tenants, "--status", adoption.status)
    mapping = TableMapping(
        table=tenants,
        key=_key(tenants, adoption, check),
        subdomain=check.host(tenants, "--subdomain", adoption.subdomain),
        custom_domain=check.host(tenants, "--custom-domain", adoption.custom_domain),
        custom_domain_verified=check.column(tenants, "--custom-domain-verified", adoption.custom_domain_verified),
        name=check.column(tenants, "--name", adoption.name),
        status=status,
        statuses=_statuses(status, adoption, check),
        plan=check.column(tenants, "--plan", adoption.plan),
        per_minute=number("--per-minute", adoption.per_minute),
        per_day=number("--per-day", adoption.per_day),
        time_zone=check.column(
            tenants, "--time-zone", adoption.time_zone, lambda c: c.is_text, "a zone is a name like Europe/Berlin"
        ),
    )
    mapping = _with_attributes(mapping, adoption, check)
    if domains is not None:
        mapping = _with_domains(mapping, domains, adoption, check)
    check.stop_at_faults()
    return mapping


def _key(table: Table, adoption: Adoption, check: _Check) -> tuple[Column, ...]:
    if not adoption.id:
        if not table.primary_key:
            check.fault(f"{table.name} has no primary key; name the column that identifies a tenant with --id")
        return table.primary_key
    key = check.columns(table, "--id", adoption.id)
    for column in key:
        check.stored(table, "--id", column)
    return key


def _statuses(column: Column | None, adoption: Adoption, check: _Check) -> Mapping[str, Status]:
    given: dict[str, Status] = {}
    for value, wanted in adoption.status_map.items():
        status = next((known for known in STATUSES if known == wanted), None)
        if status is None:
            check.fault(f"--status-map: {value!r} is mapped to {wanted!r}; there are {', '.join(STATUSES)}")
        else:
            given[value] = status
    if column is None:
        if given:
            check.fault("--status-map goes with --status")
        return {}
    if column.category == "B":
        return {"true": "active", "false": "suspended", **given}
    if column.category == "D":  # a time at which the tenant was deleted or suspended: NULL is "not yet"
        return {"": "active", **given}
    return {**{status: status for status in STATUSES}, **given}


def _with_attributes(mapping: TableMapping, adoption: Adoption, check: _Check) -> TableMapping:
    table = mapping.table
    excluded = check.columns(table, "--exclude", adoption.exclude)
    if EVERYTHING not in adoption.attributes:
        columns = check.columns(table, "--attributes", adoption.attributes)
        for column in set(columns) & set(excluded):
            check.fault(f"--exclude: {column.quoted} is named by --attributes as well; leave one of them out")
    else:
        # A column that is added later stays out until somebody runs this again: it may be a secret.
        used = {*mapping.columns, *excluded}
        columns = tuple(column for column in table.columns.values() if column not in used)
    whole = len(adoption.attributes) == 1 and adoption.attributes[0] != EVERYTHING and any(c.is_json for c in columns)
    return replace(mapping, attributes=columns, attributes_whole=whole)


def _with_domains(mapping: TableMapping, table: Table, adoption: Adoption, check: _Check) -> TableMapping:
    if table.oid == mapping.table.oid:
        check.fault("--domains-table is the table of the tenants; name the column with --custom-domain instead")
    host = check.host(table, "--domains-column", adoption.domains_column)
    owner = check.columns(table, "--domains-tenant-column", adoption.domains_tenant_column)
    for column in owner:
        check.stored(table, "--domains-tenant-column", column)
    if len(adoption.domains_tenant_column) != len(mapping.key):
        names = ", ".join(column.quoted for column in mapping.key)
        check.fault(f"--domains-tenant-column: give one column for each of the tenant's key ({names}), in its order")
    for ours, theirs in zip(mapping.key, owner, strict=False):
        if not ours.compares_with(theirs):
            check.fault(
                f"--domains-tenant-column: {table.name}.{theirs.quoted} is of type {theirs.type_name}, "
                f"and {mapping.table.name}.{ours.quoted} of type {ours.type_name}"
            )
    primary = check.column(
        table, "--domains-primary", adoption.domains_primary, lambda c: c.category == "B", "a flag is a boolean"
    )
    verified = check.column(table, "--domains-verified", adoption.domains_verified)
    if host is None:
        return mapping
    return replace(mapping, domains=Domains(table, host, owner, primary, verified))


def parse_status_map(texts: Sequence[str]) -> dict[str, str]:
    """`active=active,disabled=suspended`, in one text or in several. Raises `AdoptionError`."""
    found: dict[str, str] = {}
    for pair in (pair for text in texts for pair in text.split(",")):
        match = re.fullmatch(r"\s*(.*?)\s*=\s*(\w+)\s*", pair)
        if match is None:
            raise AdoptionError(
                f"--status-map: {pair!r} is no pair; give them like active=active,disabled=suspended (=active for NULL)"
            )
        found[match[1]] = match[2]
    return found
