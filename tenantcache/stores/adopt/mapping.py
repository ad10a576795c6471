"""Which column of an adopted table is what, once it is known that those columns are there and fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tenantcache.core.tenant import Status
from tenantcache.stores.adopt.catalog import Column, Table


@dataclass(frozen=True, slots=True)
class HostColumn:
    """A column of host names, and how an index on it is used.

    * `lowered`: there is no index on the column, but one on `lower(column)`: look-ups go by that.
    * citext compares without regard to case by itself.
    * Otherwise look-ups go by the column as it is stored: for the name in lower case, and for every other spelling that
      `tenantcache.spellings` has of it.
    """

    column: Column
    lowered: bool = False

    @property
    def needs_spellings(self) -> bool:
        return not self.lowered and self.column.type_name != "citext"

    def indexed(self, row: str) -> str:
        """The expression that the index is on, as SQL."""
        return f"lower({row}.{self.column.quoted})" if self.lowered else f"{row}.{self.column.quoted}"

    def asked(self, parameter: str) -> str:
        """What of the index answers for the host names in `parameter` (text[]), as SQL."""
        if self.lowered:
            return parameter
        if not self.needs_spellings:
            return f"{parameter}::{self.column.type}[]"
        stored = f"select p.stored from tenantcache.spellings p where p.canonical = any ({parameter})"
        return f"({parameter} || array({stored}))::{self.column.type}[]"


@dataclass(frozen=True, slots=True)
class Domains:
    """A table of domains: `owner` holds the tenant's key, column by column."""

    table: Table
    host: HostColumn
    owner: tuple[Column, ...]
    primary: Column | None = None
    verified: Column | None = None

    @property
    def columns(self) -> Iterator[Column]:
        """All columns that are read."""
        yield self.host.column
        yield from self.owner
        yield from (column for column in (self.primary, self.verified) if column is not None)


@dataclass(frozen=True, slots=True)
class TableMapping:
    """What the tenants are made from.

    `statuses` maps the texts in `status` (NULL is "") to ours; all others count as suspended. `attributes_whole`: the
    one column of `attributes` is a JSON object, and is them.
    """

    table: Table
    key: tuple[Column, ...]
    subdomain: HostColumn | None = None
    custom_domain: HostColumn | None = None
    custom_domain_verified: Column | None = None
    name: Column | None = None
    status: Column | None = None
    statuses: Mapping[str, Status] = field(default_factory=dict)
    plan: Column | None = None
    per_minute: Column | None = None
    per_day: Column | None = None
    time_zone: Column | None = None
    attributes: tuple[Column, ...] = ()
    attributes_whole: bool = False
    domains: Domains | None = None

    @property
    def hosts(self) -> Iterator[HostColumn]:
        """The columns of host names in the tenants' own table."""
        yield from (host for host in (self.subdomain, self.custom_domain) if host is not None)

    @property
    def columns(self) -> Iterator[Column]:
        """All columns of the tenants' own table that are read, some of them perhaps twice."""
        yield from self.key
        yield from (host.column for host in self.hosts)
        limits = (self.per_minute, self.per_day, self.time_zone)
        single = (self.custom_domain_verified, self.name, self.status, self.plan, *limits)
        yield from (column for column in single if column is not None)
        yield from self.attributes
