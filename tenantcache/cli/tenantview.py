"""How tenants look on a terminal and in JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

from tenantcache.cli.visible import cell
from tenantcache.tenant import LimitOrigins, Tenant

ORIGINS = {"tenant": "the tenant's own", "plan": "its plan's", "default": "the default"}


def tenant_document(tenant: Tenant, origins: LimitOrigins | None = None) -> dict[str, Any]:
    """A tenant as JSON. A limit of null is unlimited. With `origins` also where its limits come from."""
    document: dict[str, Any] = {
        "id": tenant.id,
        "name": tenant.name,
        "subdomain": tenant.subdomain,
        "domains": tenant.domains,
        "primary_domain": tenant.primary_domain,
        "status": tenant.status,
        "plan": tenant.plan,
        "limits": {"per_minute": tenant.limits.per_minute, "per_day": tenant.limits.per_day},
        "time_zone": tenant.time_zone,
        "attributes": tenant.attributes,
    }
    adopted = {name: getattr(tenant, name) for name in ("kind", "subdomains", "slugs", "old_names", "old_slugs")}
    document |= {name: value for name, value in adopted.items() if value}
    return document if origins is None else document | {"limits_from": origins}


def tenant_lines(tenant: Tenant, origins: LimitOrigins | None = None) -> list[tuple[str, str]]:
    """The same for a person: name and value."""
    lines = []
    for name, value in tenant_document(tenant).items():
        if name == "limits":
            lines += [(key.replace("_", " "), _limit(key, limit, origins)) for key, limit in value.items()]
        elif name == "subdomain" and value is not None:
            lines.append((name, shown_label(value)))
        elif value:
            lines.append((name.replace("_", " "), _shown(value)))
    return lines


def _limit(key: str, limit: int | None, origins: LimitOrigins | None) -> str:
    told = count(limit)
    if origins is None:
        return told
    return f"{told} ({ORIGINS[origins['per_minute'] if key == 'per_minute' else origins['per_day']]})"


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False)
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def count(limit: int | None) -> str:
    return "unlimited" if limit is None else f"{limit:,}"


def lines_table(lines: Iterable[tuple[str, str]]) -> Table:
    """Names and values, one below the other."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in lines:
        table.add_row(name, cell(value))
    return table


def rows_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> Table:
    """One line a row. In a terminal cells are folded to fit, and nothing is cut off; in a pipe they are not folded."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold", justify="right" if name in right else "left")
    for row in rows:
        table.add_row(*map(cell, row))
    return table


TENANT_COLUMNS = ("id", "name", "subdomain", "domains", "status", "plan", "per minute", "per day")


def tenants_table(tenants: Iterable[Tenant]) -> Table:
    rows = (
        (
            tenant.id,
            tenant.name,
            ", ".join(map(shown_label, tenant.labels)),
            ", ".join(tenant.domains),
            tenant.status,
            tenant.plan,
            count(tenant.limits.per_minute),
            count(tenant.limits.per_day),
        )
        for tenant in tenants
    )
    return rows_table(TENANT_COLUMNS, rows, right=("per minute", "per day"))


def shown_label(label: str) -> str:
    return label or "(base domain)"
