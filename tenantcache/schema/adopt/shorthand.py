"""`--adopt public.customers --subdomain slug ...`: options that stand for an adopting query over one table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import asyncpg

from tenantcache.schema.adopt.catalog import AdoptionError, CatalogError, Column, Table, read_table
from tenantcache.schema.adopt.expressions import literal
from tenantcache.tenant import STATUSES

EVERYTHING = "*"
MAX_PAIRS = 40
"""Members that one jsonb_build_object makes: PostgreSQL passes a function at most 100 arguments."""


@dataclass(frozen=True, slots=True)
class TableOptions:
    """Which table is to be served, and which of its columns is what. Names as in SQL: folded unless quoted.

    Without `id` it is the primary key. `attributes` is one JSON column, or columns that become members of an object,
    or `*` for all that are not used otherwise, without `exclude`. `status_map` maps texts in `status` to our states. A
    flag that says whether a domain is verified is a boolean or a time; `column=VALUE` compares it with a text.
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
class WrittenQuery:
    """The query, and what to know of the options that it was made of."""

    sql: str
    warnings: Sequence[str]


async def write_query(connection: asyncpg.Connection, options: TableOptions) -> WrittenQuery:
    """The query that the options stand for. Raises `AdoptionError`, with every fault in its text."""
    check = _Check()
    table = await check.table(connection, options.table)
    domains = None if options.domains_table is None else await check.table(connection, options.domains_table)
    check.stop_at_faults()
    assert table is not None
    written = _Writer(options, table, domains, check).query()
    check.stop_at_faults()
    return WrittenQuery(written, check.warnings)


class _Check:
    """Collects faults, so that a person learns of all of them at once."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
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
        """The column that `option` names; a fault, and None, if there is none or it does not fit."""
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

    def stored(self, table: Table, option: str, column: Column) -> None:
        if column.virtual:
            self.fault(
                f"{option}: {table.name}.{column.quoted} is a virtual generated column, which triggers cannot read; "
                "make it STORED, or name the column that it is made from"
            )


class _Writer:
    """`t` stands for the tenants' table, `d` for that of domains."""

    def __init__(self, options: TableOptions, table: Table, domains: Table | None, check: _Check) -> None:
        self._options, self._table, self._domains, self._check = options, table, domains, check
        self._used: set[str] = set()
        self._key = self._find_key()

    def query(self) -> str:
        if self._options.subdomain is None and self._options.custom_domain is None and self._domains is None:
            self._check.fault("no host leads to a tenant: give --subdomain, --custom-domain or --domains-table")
        parts = [*self._key_columns(), *self._names(), *self._plain(), *self._status(), *self._attributes()]
        listed = ",\n".join(f"    {expression} as {name}" for name, expression in parts)
        conditions = " and ".join(f"t.{column.quoted} is not null" for column in self._key if not column.not_null)
        return f"select\n{listed}\nfrom {self._table.name} t" + (f"\nwhere {conditions}" if conditions else "")

    # The key.

    def _find_key(self) -> tuple[Column, ...]:
        table, given = self._table, self._options.id
        if not given:
            if not table.primary_key:
                self._check.fault(
                    f"{table.name} has no primary key; name the column that identifies a tenant with --id"
                )
            return table.primary_key
        key = self._check.columns(table, "--id", given)
        for column in key:
            self._check.stored(table, "--id", column)
        return key

    def _key_columns(self) -> list[tuple[str, str]]:
        self._used |= {column.quoted for column in self._key}
        if len(self._key) == 1:
            return [("id", f"t.{self._key[0].quoted}")]
        return [(f"id_{place}", f"t.{column.quoted}") for place, column in enumerate(self._key, 1)]

    # Names.

    def _names(self) -> list[tuple[str, str]]:
        options, found = self._options, []
        label = self._host(self._table, "--subdomain", options.subdomain)
        if label is not None:
            found.append(("subdomain", f"nullif(t.{label.quoted}::text, '')"))
        own = self._host(self._table, "--custom-domain", options.custom_domain)
        if options.custom_domain_verified is not None and options.custom_domain is None:
            self._check.fault("--custom-domain-verified goes with --custom-domain")
        domain = None if own is None else f"nullif(t.{own.quoted}::text, '')"
        if domain is not None and options.custom_domain_verified is not None:
            is_set = self._is_set(self._table, "t", "--custom-domain-verified", options.custom_domain_verified)
            domain = f"case when {is_set} then {domain} end"
        if self._domains is None:
            if domain is not None:
                found.append(("primary_domain", domain))
            return found
        listed, primary = self._listed_domains(self._domains)
        found.append(("domains", listed))
        primaries = [one for one in (domain, primary) if one is not None]
        if primaries:
            found.append(
                ("primary_domain", primaries[0] if len(primaries) == 1 else f"coalesce({', '.join(primaries)})")
            )
        return found

    def _host(self, table: Table, option: str, given: str | None) -> Column | None:
        column = self._check.column(table, option, given, lambda c: c.is_text, "host names are texts")
        if column is not None:
            self._check.stored(table, option, column)
            if table is self._table:
                self._used.add(column.quoted)
        return column

    def _listed_domains(self, table: Table) -> tuple[str, str | None]:
        options, check = self._options, self._check
        if table.oid == self._table.oid:
            check.fault("--domains-table is the table of the tenants; name the column with --custom-domain instead")
        host = self._host(table, "--domains-column", options.domains_column)
        owner = check.columns(table, "--domains-tenant-column", options.domains_tenant_column)
        if len(options.domains_tenant_column) != len(self._key):
            names = ", ".join(column.quoted for column in self._key)
            check.fault(
                f"--domains-tenant-column: give one column for each of the tenant's key ({names}), in its order"
            )
        for ours, theirs in zip(self._key, owner, strict=False):
            check.stored(table, "--domains-tenant-column", theirs)
            if not ours.compares_with(theirs):
                check.fault(
                    f"--domains-tenant-column: {table.name}.{theirs.quoted} is of type {theirs.type_name}, "
                    f"and {self._table.name}.{ours.quoted} of type {ours.type_name}"
                )
        conditions = [f"d.{theirs.quoted} = t.{ours.quoted}" for ours, theirs in zip(self._key, owner, strict=False)]
        if options.domains_verified is not None:
            conditions.append(self._is_set(table, "d", "--domains-verified", options.domains_verified))
        primary = check.column(
            table, "--domains-primary", options.domains_primary, lambda c: c.category == "B", "a flag is a boolean"
        )
        if host is None:
            return "null", None
        source = f"from {table.name} d where {' and '.join(conditions)}"
        listed = f"array(select d.{host.quoted}::text {source} order by 1)"
        if primary is None:
            return listed, None
        return listed, f"(select d.{host.quoted}::text {source} and d.{primary.quoted} order by 1 limit 1)"

    def _is_set(self, table: Table, row: str, option: str, given: str) -> str:
        """Whether a flag is true, a time is not NULL, or a column has the value behind `=`."""
        name, is_compared, value = given.partition("=")
        column = self._check.column(table, option, name)
        if column is None:
            return "false"
        if table is self._table:
            self._used.add(column.quoted)
        if is_compared:
            return f"{row}.{column.quoted}::text = {literal(value)}"
        if column.category == "B":
            return f"{row}.{column.quoted}"
        if column.category != "D":
            self._check.fault(
                f"{option}: {table.name}.{column.quoted} is of type {column.type_name}; give a boolean, a time,"
                f" or a value: {option} {name}=ACTIVE"
            )
        return f"{row}.{column.quoted} is not null"

    # What is taken as it is.

    def _plain(self) -> list[tuple[str, str]]:
        options, found = self._options, []
        for name, option, given in (("name", "--name", options.name), ("plan", "--plan", options.plan)):
            column = self._check.column(self._table, option, given)
            if column is not None:
                found.append((name, self._of(column) + "::text"))
        zone = self._check.column(
            self._table, "--time-zone", options.time_zone, lambda c: c.is_text, "a zone is a name like Europe/Berlin"
        )
        if zone is not None:
            found.append(("time_zone", self._of(zone) + "::text"))
        for name, option, given in (
            ("limit_per_minute", "--per-minute", options.per_minute),
            ("limit_per_day", "--per-day", options.per_day),
        ):
            column = self._check.column(self._table, option, given, lambda c: c.category == "N", "a limit is a number")
            if column is not None:
                found.append((name, self._of(column)))
        return found

    def _of(self, column: Column) -> str:
        self._used.add(column.quoted)
        return f"t.{column.quoted}"

    # The status.

    def _status(self) -> list[tuple[str, str]]:
        column = self._check.column(self._table, "--status", self._options.status)
        given = self._given_statuses()
        if column is None:
            if self._options.status_map and self._options.status is None:
                self._check.fault("--status-map goes with --status")
            return []
        value = self._of(column)
        if column.category == "B":
            statuses = {"true": "active", "false": "suspended", **self._boolean_keys(column, given)}
            self._warn_of_opposite(column, given)
        elif column.category == "D":  # a time at which the tenant was deleted or suspended: NULL is "not yet"
            statuses = {"": "active", **given}
        else:
            statuses = {**{status: status for status in STATUSES}, **given}
        cases = " ".join(f"when {literal(key)} then {literal(status)}" for key, status in statuses.items())
        return [("status", f"case coalesce({value}::text, '') {cases} else 'suspended' end")]

    def _given_statuses(self) -> dict[str, str]:
        given = {}
        for value, wanted in self._options.status_map.items():
            if wanted not in STATUSES:
                self._check.fault(f"--status-map: {value!r} is mapped to {wanted!r}; there are {', '.join(STATUSES)}")
            given[value] = wanted
        return given

    def _boolean_keys(self, column: Column, given: Mapping[str, str]) -> Mapping[str, str]:
        for key in given:
            if key not in ("true", "false", ""):
                self._check.fault(
                    f"--status-map: {self._table.name}.{column.quoted} is a boolean and never has {key!r};"
                    " its values are true, false and, for NULL, the empty text"
                )
        return given

    def _warn_of_opposite(self, column: Column, given: Mapping[str, str]) -> None:
        if not given and _OPPOSITE.search(column.name):
            self._check.warnings.append(
                f"{self._table.name}.{column.quoted} sounds as if true meant that a tenant is not active, and true"
                " counts as active; --status-map true=suspended,false=active says otherwise"
            )

    # Attributes.

    def _attributes(self) -> list[tuple[str, str]]:
        options, table = self._options, self._table
        excluded = self._check.columns(table, "--exclude", options.exclude)
        if not options.attributes:
            return []
        if EVERYTHING in options.attributes:
            left_out = {column.quoted for column in excluded} | self._used
            names = [column.name for column in table.columns.values() if column.quoted not in left_out]
            self._warn_of_secrets(names)
            return [("attributes", _picked(names))]
        columns = self._check.columns(table, "--attributes", options.attributes)
        for column in set(columns) & set(excluded):
            self._check.fault(f"--exclude: {column.quoted} is named by --attributes as well; leave one of them out")
        if len(columns) == 1 and columns[0].is_json:
            return [("attributes", f"t.{columns[0].quoted}")]
        self._warn_of_secrets([column.name for column in columns])
        pairs = [f"{literal(column.name)}, t.{column.quoted}" for column in columns]
        chunks = [pairs[start : start + MAX_PAIRS] for start in range(0, len(pairs), MAX_PAIRS)]
        made = " || ".join(f"jsonb_build_object({', '.join(chunk)})" for chunk in chunks)
        return [("attributes", made)] if made else []

    def _warn_of_secrets(self, names: Sequence[str]) -> None:
        self._check.warnings += [
            f"{self._table.name}.{name} looks like a secret, and becomes an attribute that is kept in memory and in"
            f" Redis; --exclude {name} keeps it out"
            for name in names
            if _SECRET.search(name)
        ]


_SECRET = re.compile(r"passw|secret|token|api_?key|private|credential|salt|hash", re.IGNORECASE)
_OPPOSITE = re.compile(
    r"deactivat|disabl|archiv|suspend|delet|block|bann|inactive|closed|frozen|expired", re.IGNORECASE
)


def _picked(names: Sequence[str]) -> str:
    """Those members of the row that have these names now. No column is named, so any may be dropped or retyped; one
    that is added later stays out, because it may be a secret."""
    listed = ", ".join(literal(name) for name in names)
    return (
        "(select json_object_agg(e.key, e.value) from json_each(row_to_json(t)) e"
        f" where e.key = any (array[{listed}]::text[]))"
    )


def parse_status_map(texts: Sequence[str]) -> dict[str, str]:
    """`active=active,disabled=suspended`, in one text or in several. Raises `AdoptionError`."""
    found: dict[str, str] = {}
    for pair in (pair for text in texts for pair in text.split(",")):
        match = re.fullmatch(r"\s*(.*?)\s*=\s*(\w+)\s*", pair)
        if match is None:
            raise AdoptionError(
                f"--status-map: {pair!r} is not a pair; give them like active=active,disabled=suspended"
                " (=active for NULL)"
            )
        found[match[1]] = match[2]
    return found
