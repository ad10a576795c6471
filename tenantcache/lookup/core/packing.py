"""A tenant in memory that no request has asked for lately, as bytes: a third of its size, and one object.

The garbage collector does not look at bytes. A record is a header of fixed size, the tenant's id, and its other columns
as a JSON array. Columns at the end of that which say nothing are left out.
"""

from __future__ import annotations

import json
from struct import Struct
from typing import Any, NamedTuple

from tenantcache.tenant import FrozenDict, Tenant, freeze, share_limits, share_text

TIERS = ("redis", "postgres", "index")

_HEADER = Struct("<dddBBH")

_NOTHING: list[Any] = ["", None, FrozenDict(), None, None, None, "active", (), None, None, "", (), (), (), ()]
"""What the columns of `_columns` are if they say nothing."""


class Reading(NamedTuple):
    """A tenant as it was read: what an `Entry` says of it. Times are in seconds."""

    tenant: Tenant
    watermark: float
    read_at: float
    due: float
    tier: str
    served: bool


def pack(reading: Reading) -> bytes:
    tenant, watermark, read_at, due, tier, served = reading
    columns = _columns(tenant)
    while columns and columns[-1] == _NOTHING[len(columns) - 1]:
        columns.pop()
    tenant_id = _encode(tenant.id)
    header = _HEADER.pack(watermark, read_at, due, TIERS.index(tier), served, len(tenant_id))
    return header + tenant_id + _encode(json.dumps(columns, separators=(",", ":"), ensure_ascii=False))


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # as `json.loads` decodes


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "surrogatepass")


def shown_in(record: bytes) -> bytes:
    """Of two records the same if both are of the same row of one tenant, whenever it was read."""
    return record[_HEADER.size :]


def unpack(record: bytes) -> Reading:
    watermark, read_at, due, tier, served, length = _HEADER.unpack_from(record)
    end = _HEADER.size + length
    tenant = _tenant(_decode(record[_HEADER.size : end]), json.loads(record[end:]))
    return Reading(tenant, watermark, read_at, due, TIERS[tier], bool(served))


def watermark_in(record: bytes) -> float:
    watermark: float = _HEADER.unpack_from(record)[0]
    return watermark


def due_in(record: bytes) -> float:
    """When it should be read again."""
    due: float = _HEADER.unpack_from(record)[2]
    return due


def id_in(record: bytes) -> str:
    """The tenant's id."""
    length: int = _HEADER.unpack_from(record)[5]
    return _decode(record[_HEADER.size : _HEADER.size + length])


def _columns(tenant: Tenant) -> list[Any]:
    """All but the id: those that are seldom given come last."""
    return [
        tenant.name,
        tenant.subdomain,
        tenant.attributes,
        tenant.plan,
        tenant.limits.per_minute,
        tenant.limits.per_day,
        tenant.status,
        tenant.domains,
        tenant.primary_domain,
        tenant.time_zone,
        tenant.kind,
        tenant.subdomains,
        tenant.slugs,
        tenant.old_names,
        tenant.old_slugs,
    ]


def _tenant(tenant_id: str, given: list[Any]) -> Tenant:
    name, subdomain, attributes, plan, per_minute, per_day, status, domains, primary_domain, time_zone, kind, *names = (
        given + _NOTHING[len(given) :]
    )
    subdomains, slugs, old_names, old_slugs = map(tuple, names)
    return Tenant(
        id=tenant_id,
        name=name,
        subdomain=subdomain,
        domains=tuple(domains),
        primary_domain=primary_domain,
        status=share_text(status),
        plan=share_text(plan),
        limits=share_limits(per_minute, per_day),
        attributes=freeze(attributes),
        time_zone=share_text(time_zone),
        kind=share_text(kind),
        subdomains=subdomains,
        slugs=slugs,
        old_names=old_names,
        old_slugs=old_slugs,
    )
