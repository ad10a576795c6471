"""Plans that tenants have and the settings do not: the default limits hold for such tenants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import asyncpg

from tenantcache.lookup.core.alias import id_alias
from tenantcache.settings.model import Settings, variable_of

PORTION = 1000
"""Tenants that one query reads. All are looked at: each query takes milliseconds."""

MOST = 5
"""Names in the message. There are more only if the column holds something else than plans."""

_BY_PLAN = """
    select f.tenant ->> 'plan' as plan, count(*) as tenants from tenantcache.find_tenants($1) f
    where f.state = 'found' and f.tenant ->> 'status' <> 'deleted' and f.tenant ->> 'plan' <> '' group by 1
"""


async def find_unknown_plans(connection: asyncpg.Connection, settings: Settings) -> list[str]:
    """A line for people, if there are such plans; nothing if the settings name no plans at all."""
    if not settings.plans:
        return []
    counts: Counter[str] = Counter()
    ids = [id_alias(row[0]) for row in await connection.fetch("select tenantcache.tenant_ids()")]
    for start in range(0, len(ids), PORTION):
        for row in await connection.fetch(_BY_PLAN, ids[start : start + PORTION]):
            counts[row["plan"]] += row["tenants"]
    unknown = sorted(counts.keys() - settings.plans.keys(), key=lambda plan: (-counts[plan], plan))
    if not unknown:
        return []
    told = [f"{plan!r} ({counts[plan]} tenant{'s' if counts[plan] > 1 else ''})" for plan in unknown[:MOST]]
    if len(unknown) > MOST:
        told.append(f"{len(unknown) - MOST} more")
    return [
        f"{_listed(told)} {'are' if len(unknown) > 1 else 'is'} not in {variable_of('plans')}, which names"
        f" {', '.join(sorted(settings.plans))}: the default limits hold for them"
    ]


def _listed(told: Iterable[str]) -> str:
    *others, last = told
    return f"{', '.join(others)} and {last}" if others else last
