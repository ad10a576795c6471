"""What is known of one adopted tenant, and whether what is known is what the query says now."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

BATCH = 500
"""Tenants that one statement compares: some 50 ms."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one alias leads to. `state` is found, conflict, unknown or absent; `candidates` are the ids that it may
    lead to."""

    alias: str
    state: str
    tenant: dict[str, Any] | None
    attributes: str | None
    candidates: Sequence[str]


async def explain(connection: asyncpg.Connection, alias: str) -> Explanation:
    """How `alias` is answered now, in one snapshot."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        row = await connection.fetchrow("select * from tenantcache.find_tenants(array[$1])", alias)
        ids = await connection.fetch(
            "select tenant_id::text from tenantcache.aliases where alias = $1 order by 1", alias
        )
    candidates = [one[0] for one in ids]
    if row is None:
        return Explanation(alias, "absent", None, None, candidates)
    tenant = None if row["tenant"] is None else json.loads(row["tenant"])
    return Explanation(alias, row["state"], tenant, row["attributes"], candidates)


@dataclass(frozen=True, slots=True)
class FollowedWay:
    """`kind` of tenants that a changed row leads to, as `told` says; `number` is in the outbox and in function
    names."""

    number: int
    kind: str
    told: str


async def followed_ways(connection: asyncpg.Connection) -> list[FollowedWay]:
    rows = await connection.fetch(
        "select w.number, a.kind, w.told from tenantcache.watches w"
        " join tenantcache.adoptions a on a.number = w.adoption order by w.number"
    )
    return [FollowedWay(*row) for row in rows]


async def differing(connection: asyncpg.Connection) -> AsyncIterator[tuple[int, list[str]]]:
    """Compare all tenants with what the query says now, some at a time. Yields how many were compared so far, and
    which of the last ones differ. Missing and surplus ones come last."""
    ids = [row[0] for row in await connection.fetch("select tenantcache.tenant_ids()")]
    for start in range(0, len(ids), BATCH):
        some = ids[start : start + BATCH]
        rows = await connection.fetch("select tenantcache.differing($1)", some)
        yield start + len(some), [row[0] for row in rows]
    known = set(ids)
    misplaced = [row[0] for row in await connection.fetch("select tenantcache.misplaced()")]
    yield len(ids), [one for one in misplaced if one not in known]


async def repair(connection: asyncpg.Connection, ids: Sequence[str]) -> None:
    """Have these tenants read again, everywhere."""
    await connection.execute("select tenantcache.log_change(i, '{}') from unnest($1::text[]) i", list(ids))
