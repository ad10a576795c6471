"""A tenant as an application sees it, and how its limits are found.

Rules:

* A `Tenant` never changes: it is shared by every request that it serves, and a change in the database makes
  a new one. `attributes` is frozen all the way down.
* A limit comes from the tenant's own column, else from its plan, else from the defaults. A column that is NULL
  says nothing; 0 says "unlimited". In a plan a missing key says nothing; 0 or null says "unlimited".
* A stored copy (`Row`) holds the columns as they are, not the limits found from them. Two processes may be configured
  with different plans while a deployment rolls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, NoReturn, NotRequired, TypedDict, TypeVar, cast

from tenantcache.lookup.core.alias import domain_alias, id_alias, name_alias, subdomain_alias

Status = Literal["active", "suspended", "maintenance", "deleted"]
STATUSES: tuple[Status, ...] = ("active", "suspended", "maintenance", "deleted")
"""`deleted` is a tombstone: a row that is kept so that its names answer 410, and cannot go to another tenant."""

MAX_ID_LENGTH = 200
"""Characters of an id. Ids are parts of Redis keys, and of every row of the log."""


class Row(TypedDict):
    """The columns of one tenant as JSON: what Postgres returns and Redis keeps. What may be missing is of adopted
    tenants alone."""

    id: str
    name: str
    subdomain: str | None
    domains: list[str]
    primary_domain: str | None
    status: Status
    plan: str | None
    limit_per_minute: int | None
    limit_per_day: int | None
    time_zone: str | None
    attributes: dict[str, Any]
    kind: NotRequired[str]
    subdomains: NotRequired[list[str]]
    old_names: NotRequired[list[str]]
    names: NotRequired[list[str]]
    old_slugs: NotRequired[list[str]]


Text = TypeVar("Text", bound=str | None)


class FrozenDict(dict[str, Any]):
    """A dict that refuses to change, so that it stays a plain JSON object for `json.dumps` and pydantic."""

    __slots__ = ()

    def _refuse(self, *_args: object, **_kwargs: object) -> NoReturn:
        raise TypeError("a tenant's attributes cannot be changed; update the tenant in the database instead")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return (FrozenDict, (dict(self),))


_EMPTY = FrozenDict()


@lru_cache(maxsize=4096, typed=True)
def _first_equal(text: str | None) -> str | None:
    return text


def share_text(text: Text) -> Text:
    """Return the first text that was equal: tenants have few plans, zones and names of attributes, and each row that is
    read has texts of its own for them."""
    return cast(Text, _first_equal(text))


def freeze(value: Any) -> Any:
    """Return `value` (any JSON value) with its objects and arrays made immutable."""
    if isinstance(value, Mapping):
        if not value:
            return _EMPTY
        return FrozenDict({share_text(key): freeze(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in value)
    return value


MAX_PER_MINUTE = 2**31 - 1
"""The highest limit of a minute: an `integer` column, and half of what a 32-bit counter field holds."""

MAX_PER_DAY = 2**53 - 1
"""The highest limit of a day: what JSON numbers hold exactly (RFC 8259 6)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Requests admitted in a fixed window; None is unlimited."""

    per_minute: int | None = None
    per_day: int | None = None


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant, immutable. `limits` are the ones in force (tenant, else plan, else defaults). `time_zone` is the IANA
    name of the zone at whose midnight the tenant's days end, as it stands in the database; None is UTC.

    Of adopted tenants also: `kind` is the name of the query that they come from ("" for a query without one). The id of
    one with a kind begins with it (`team:42`). `subdomains` are all labels, `slugs` names that path and header
    strategies use, `old_names` and `old_slugs` those that it had before and that lead on.
    """

    id: str
    name: str
    subdomain: str | None = None
    domains: tuple[str, ...] = ()
    primary_domain: str | None = None
    status: Status = "active"
    plan: str | None = None
    limits: Limits = Limits()
    attributes: Mapping[str, Any] = field(default_factory=FrozenDict)
    time_zone: str | None = None
    kind: str = ""
    subdomains: tuple[str, ...] = ()
    slugs: tuple[str, ...] = ()
    old_names: tuple[str, ...] = ()
    old_slugs: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Every subdomain; "" is the base domain itself."""
        return self.subdomains or (() if self.subdomain is None else (self.subdomain,))

    @property
    def aliases(self) -> tuple[str, ...]:
        """Every alias that leads here: `id:1`, `subdomain:acme`, `domain:shop.acme.io`, `name:team:acme`."""
        return self._aliases(self.old_names, self.old_slugs)

    @property
    def present_aliases(self) -> tuple[str, ...]:
        """The aliases that lead here, without those that only an old name gives."""
        return self._aliases((), ())

    def leads_on(self, alias: str | None) -> bool:
        """Whether `alias` is an old name of the tenant, and not one that it has now."""
        if alias is None or not (self.old_names or self.old_slugs):
            return False
        return alias in self.aliases and alias not in self.present_aliases

    def _aliases(self, old_names: tuple[str, ...], old_slugs: tuple[str, ...]) -> tuple[str, ...]:
        labels = self.labels
        hosts = (*map(subdomain_alias, labels), *map(domain_alias, self.domains))
        if not (self.kind or self.slugs or old_names or old_slugs):
            return (id_alias(self.id), *hosts)
        old_hosts = (domain_alias(name) if "." in name else subdomain_alias(name) for name in old_names)
        names = (*self.slugs, *old_slugs, *((*labels, *old_names) if self.kind else ()))
        by_name = (name_alias(self.kind, name) for name in names)
        return tuple(dict.fromkeys((id_alias(self.id), *hosts, *old_hosts, *by_name)))

    @property
    def key(self) -> str:
        """The id as it stands in the application's table: without the kind."""
        return self.id.removeprefix(f"{self.kind}:") if self.kind else self.id


LimitOrigin = Literal["tenant", "plan", "default"]
"""What says a limit: the tenant's own column, its plan, or the settings' default."""

_Decided = tuple[int | None, LimitOrigin]


class LimitOrigins(TypedDict):
    per_minute: LimitOrigin
    per_day: LimitOrigin


@dataclass(frozen=True, slots=True)
class LimitTable:
    """The defaults and the plans, as configured. Values are requests a window; 0 and None are unlimited."""

    defaults: Limits = Limits()
    plans: Mapping[str, Mapping[str, int | None]] = field(default_factory=dict)

    def find(self, row: Row) -> Limits:
        (per_minute, _), (per_day, _) = self._decide(row)
        return share_limits(per_minute, per_day)

    def origins(self, row: Row) -> LimitOrigins:
        """Where each of the limits that `find` gives comes from."""
        (_, per_minute), (_, per_day) = self._decide(row)
        return {"per_minute": per_minute, "per_day": per_day}

    def _decide(self, row: Row) -> tuple[_Decided, _Decided]:
        plan = self.plans.get(row["plan"] or "", {})
        return (
            _first(row["limit_per_minute"], plan, "per_minute", self.defaults.per_minute),
            _first(row["limit_per_day"], plan, "per_day", self.defaults.per_day),
        )


@lru_cache(maxsize=1024)
def share_limits(per_minute: int | None, per_day: int | None) -> Limits:
    """Return the same object for the same limits: most tenants have those of a few plans."""
    return Limits(per_minute, per_day)


def _first(own: int | None, plan: Mapping[str, int | None], key: str, default: int | None) -> _Decided:
    if own is not None:
        return own or None, "tenant"
    if key in plan:
        return plan[key] or None, "plan"
    return default or None, "default"


def tenant_from_row(row: Row, limits: LimitTable) -> Tenant:
    """Build the tenant that `row` describes, with its limits found in `limits`."""
    labels = tuple(row.get("subdomains") or ())
    return Tenant(
        id=row["id"],
        name=row["name"],
        subdomain=labels[0] if labels else row.get("subdomain"),
        domains=tuple(row["domains"]),
        primary_domain=row["primary_domain"],
        status=share_text(row["status"]),
        plan=share_text(row["plan"]),
        limits=limits.find(row),
        attributes=freeze(row["attributes"]),
        time_zone=share_text(row["time_zone"]),
        kind=share_text(row.get("kind")) or "",
        subdomains=labels if len(labels) > 1 else (),
        slugs=tuple(row.get("names") or ()),
        old_names=tuple(row.get("old_names") or ()),
        old_slugs=tuple(row.get("old_slugs") or ()),
    )
