"""Creating and changing tenants, in the tables that tenantcache owns: `cache.tenants`.

Every method returns once the change is committed and seen by this process. Other processes see it within
milliseconds, by the log, and never later than `max_staleness`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

from tenantcache.admin.registry import Registry, TenantSearch
from tenantcache.admin.writethrough import WriteThrough
from tenantcache.errors import InvalidTenantError, StoreError, told_as_unavailable
from tenantcache.lookup.core.alias import domain_alias, id_alias, subdomain_alias
from tenantcache.lookup.core.hosts import HostRules
from tenantcache.ratelimit.calendars import find_zone
from tenantcache.tenant import (
    MAX_ID_LENGTH,
    MAX_PER_DAY,
    MAX_PER_MINUTE,
    STATUSES,
    LimitTable,
    Status,
    Tenant,
    tenant_from_row,
)


class TenantColumns(TypedDict, total=False):
    """What can be set. A limit of None is the plan's, 0 is unlimited. `time_zone` is an IANA name, None is UTC.
    `attributes` is a JSON object, replaced whole."""

    subdomain: str | None
    status: Status
    plan: str | None
    limit_per_minute: int | None
    limit_per_day: int | None
    time_zone: str | None
    attributes: Mapping[str, Any]


class TenantChanges(TenantColumns, total=False):
    """What `update` can set."""

    name: str


# What Python's texts can hold and PostgreSQL's cannot: NUL, and halves of surrogate pairs.
_UNSTORABLE = re.compile("[\\0\ud800-\udfff]")
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")

_LIMITS = {"limit_per_minute": MAX_PER_MINUTE, "limit_per_day": MAX_PER_DAY}
_DEFAULTS: dict[str, Any] = {
    "subdomain": None,
    "status": "active",
    "plan": None,
    "limit_per_minute": None,
    "limit_per_day": None,
    "time_zone": None,
    "attributes": {},
}


MAX_PAGE = 1_000
"""Tenants of one page: some 20 ms of the database."""


@dataclass(frozen=True, slots=True)
class TenantPage:
    """Some tenants, by id. `next` is the id to give as `after` for the next page; None if this is the last one."""

    tenants: tuple[Tenant, ...]
    next: str | None = None


def column_defaults() -> dict[str, Any]:
    """What a tenant's columns are if nothing is given, the id and the name aside."""
    return dict(_DEFAULTS)


class Tenants:
    """Besides what each method says, all raise `StoreUnavailableError`, `NotOpenError`, and `AdoptedTableError` if an
    adopted table is served. After `StoreUnavailableError` it is not known whether something was changed."""

    def __init__(
        self,
        registry: Registry,
        write_through: WriteThrough,
        hosts: HostRules,
        limits: LimitTable,
        require_open: Callable[[], None],
    ) -> None:
        self._registry = registry
        self._write_through = write_through
        self._hosts = hosts
        self._limits = limits
        self._require_open = require_open

    async def list(
        self,
        *,
        status: Status | None = None,
        plan: str | None = None,
        search: str = "",
        after: str = "",
        limit: int = 100,
    ) -> TenantPage:
        """Read tenants by id, those after the id `after`, from Postgres. Those of an adopted table as well.

        `search` is a part of an id, a name, a subdomain, a slug or a domain, capitals aside. `status`, `plan` and
        `search` are looked for row by row, so that a page of few findings reads many tenants. ValueError unless
        `limit` is 1 to 1000.
        """
        self._require_open()
        if not 1 <= limit <= MAX_PAGE:
            raise ValueError(f"limit is {limit}; give a whole number from 1 to {MAX_PAGE}")
        if any(_UNSTORABLE.search(text) for text in (plan or "", search, after)):
            return TenantPage(())  # no row can hold it
        rows = await self._registry.find(TenantSearch(status, plan, search), after, limit + 1)
        tenants = tuple(tenant_from_row(row, self._limits) for row in rows[:limit])
        return TenantPage(tenants, tenants[-1].id if len(rows) > limit else None)

    async def get(self, tenant_id: str) -> Tenant | None:
        """Read one tenant, whatever its status, from Postgres alone. One of an adopted table as well."""
        self._require_open()
        if _UNSTORABLE.search(tenant_id):
            return None  # no row can hold it
        with told_as_unavailable(StoreError):
            row = await self._write_through.read(tenant_id)
        return None if row is None else tenant_from_row(row, self._limits)

    async def create(
        self,
        name: str,
        *,
        id: str | None = None,
        domains: Sequence[str] = (),
        primary_domain: str | None = None,
        **columns: Unpack[TenantColumns],
    ) -> Tenant:
        """Create a tenant; without `id` it gets a random UUID.

        `domains` are served at once, without a proof that they are the tenant's: for what a tenant types in there is
        `cache.domains.add`. Raises `InvalidTenantError` and `NameTakenError`.
        """
        self._require_open()
        check = Check(self._hosts)
        given = check.columns({"name": name, **columns})
        check.id(id)
        names = list(dict.fromkeys(check.domain(domain) for domain in domains))
        primary = None if primary_domain is None else check.domain(primary_domain)
        if primary is not None and primary not in names:
            check.fault(f"primary domain {primary_domain!r} is none of the domains")
        check.stop_at_faults()
        row = await self._registry.create({"id": id, **_DEFAULTS, **given}, names, primary)
        await self._write_through.publish(row["id"])
        return tenant_from_row(row, self._limits)

    async def update(self, tenant_id: str, **changes: Unpack[TenantChanges]) -> Tenant:
        """Change what is given and nothing else.

        Raises `InvalidTenantError`, `NameTakenError` and `UnknownTenantError`.
        """
        self._require_open()
        check = Check(self._hosts)
        given = check.columns(changes)
        check.stop_at_faults()
        row = await self._registry.update(tenant_id, given)
        await self._write_through.publish(tenant_id)
        return tenant_from_row(row, self._limits)

    async def suspend(self, tenant_id: str) -> Tenant:
        """Refuse the tenant's requests from now on (403). Raises `UnknownTenantError`."""
        return await self.update(tenant_id, status="suspended")

    async def resume(self, tenant_id: str) -> Tenant:
        """Serve the tenant again, after `suspend` or maintenance. Raises `UnknownTenantError`."""
        return await self.update(tenant_id, status="active")

    async def delete(self, tenant_id: str) -> None:
        """Delete the tenant with its domains. Its usage stays. Raises `UnknownTenantError`."""
        self._require_open()
        subdomain, domains = await self._registry.delete(tenant_id)
        by_subdomain = [subdomain_alias(subdomain)] if subdomain else []
        by_domain = [domain_alias(domain) for domain in domains]
        await self._write_through.withdraw([id_alias(tenant_id), *by_subdomain, *by_domain])


class Check:
    """Collects faults, so that a person learns of all of them at once."""

    def __init__(self, hosts: HostRules) -> None:
        self._hosts = hosts
        self._faults: list[str] = []

    def fault(self, text: str) -> None:
        self._faults.append(text)

    def stop_at_faults(self) -> None:
        if self._faults:
            raise InvalidTenantError("\n".join(self._faults))

    def domain(self, name: str) -> str:
        try:
            return self._hosts.normalise_domain(name)
        except ValueError as error:
            self.fault(str(error))
            return name

    def id(self, value: object) -> None:
        fits = value is None or (isinstance(value, str) and 0 < len(value) <= MAX_ID_LENGTH and value.isprintable())
        if not fits:
            self.fault(
                f"id is {value!r:.80}; give 1 to {MAX_ID_LENGTH} printable characters, or nothing for a random one"
            )

    def columns(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The columns as they are stored."""
        checked: dict[str, Any] = {}
        for key, value in given.items():
            if key == "name":
                checked[key] = self._text(key, value)
            elif key == "subdomain":
                checked[key] = None if value is None else self._subdomain(value)
            elif key == "plan":
                checked[key] = None if value is None else self._text(key, value)
            elif key == "status":
                checked[key] = self._status(value)
            elif key in _LIMITS:
                checked[key] = self._limit(key, value)
            elif key == "time_zone":
                checked[key] = None if value is None else self._time_zone(value)
            elif key == "attributes":
                checked[key] = self._attributes(value)
            else:
                raise TypeError(f"a tenant has no {key!r}; there are name, {', '.join(_DEFAULTS)}")
        return checked

    def _text(self, key: str, value: object) -> object:
        if not isinstance(value, str) or not value.strip() or _UNSTORABLE.search(value):
            self.fault(f"{key} is {value!r:.80}; give a text")
        return value

    def _subdomain(self, value: str) -> str:
        try:
            return self._hosts.normalise_subdomain(value)
        except ValueError as error:
            self.fault(str(error))
            return value

    def _status(self, value: object) -> object:
        if value not in STATUSES:
            self.fault(f"status is {value!r:.80}; there are {', '.join(STATUSES)}")
        return value

    def _limit(self, key: str, value: object) -> object:
        if value is not None and (type(value) is not int or not 0 <= value <= _LIMITS[key]):
            self.fault(f"{key} is {value!r:.80}; give a whole number from 0 (unlimited) to {_LIMITS[key]}, or None")
        return value

    def _time_zone(self, value: object) -> object:
        if not isinstance(value, str) or find_zone(value) is None:
            self.fault(f"time_zone is {value!r:.80}; give the IANA name of one, like Europe/Berlin")
        return value

    def _attributes(self, value: object) -> object:
        try:
            text = json.dumps(value, allow_nan=False, ensure_ascii=False)
            fits = isinstance(value, Mapping) and not _ESCAPED_NUL.search(text) and not _UNSTORABLE.search(text)
        except (TypeError, ValueError):
            fits = False
        if not fits:
            self.fault("attributes are not a JSON object; give a dict of texts, finite numbers, lists and dicts")
        return value
