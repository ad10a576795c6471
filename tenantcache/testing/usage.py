"""Usage by tenant and day, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from tenantcache.admin.usagestore import UsageDay, UsageRow, UsageTotal, latest_end
from tenantcache.errors import RejectedError

MAX_REQUESTS = 2**63 - 1
"""The largest `bigint` of Postgres."""


class MemoryUsage:
    """`UsageStore`."""

    def __init__(self) -> None:
        self._days: dict[tuple[str, date], UsageDay] = {}
        self._batches: dict[UUID, int] = {}

    async def add(self, process_id: UUID, batch: int, rows: Sequence[UsageRow]) -> None:
        if batch <= self._batches.get(process_id, -1):
            return
        added = dict(self._added_up(row) for row in rows)
        self._batches[process_id] = batch
        self._days |= added

    def _added_up(self, row: UsageRow) -> tuple[tuple[str, date], UsageDay]:
        try:
            row.tenant_id.encode()
            day = date(1970, 1, 1) + timedelta(days=row.day)
            seen_at = datetime.fromtimestamp(min(row.seen_at, latest_end(row.day)), UTC)
        except (OverflowError, ValueError) as error:
            raise RejectedError(f"this usage cannot be written: {error}") from error
        before = self._days.get((row.tenant_id, day), UsageDay(day, 0, seen_at))
        requests = before.requests + row.requests
        if requests > MAX_REQUESTS or "\0" in row.tenant_id:
            raise RejectedError(f"this usage cannot be written: {requests} requests of tenant {row.tenant_id!r}")
        return (row.tenant_id, day), UsageDay(day, requests, max(before.last_seen_at, seen_at))

    async def leave(self, process_id: UUID) -> None:
        self._batches.pop(process_id, None)

    async def read(self, tenant_id: str, since: date) -> list[UsageDay]:
        return sorted(used for (owner, day), used in self._days.items() if owner == tenant_id and day >= since)

    async def busiest(self, since: date, until: date, most: int) -> list[UsageTotal]:
        by_tenant: dict[str, list[UsageDay]] = {}
        for (tenant_id, day), used in self._days.items():
            if since <= day <= until:
                by_tenant.setdefault(tenant_id, []).append(used)
        totals = [
            UsageTotal(tenant_id, _requests_of(days), len(days), max(day.last_seen_at for day in days))
            for tenant_id, days in by_tenant.items()
        ]
        return sorted(totals, key=lambda total: (-total.requests, total.tenant_id))[:most]

    async def by_day(self, since: date, until: date) -> list[UsageDay]:
        by_day: dict[date, list[UsageDay]] = {}
        for (_, day), used in sorted(self._days.items(), key=lambda item: item[0][1]):
            if since <= day <= until:
                by_day.setdefault(day, []).append(used)
        return [
            UsageDay(day, _requests_of(used), max(one.last_seen_at for one in used)) for day, used in by_day.items()
        ]

    async def last_seen(self, tenant_ids: Sequence[str]) -> dict[str, datetime]:
        return {tenant_id: at for tenant_id, at in self.seen().items() if tenant_id in tenant_ids}

    def seen(self) -> dict[str, datetime]:
        """When each tenant was seen on the last of its days."""
        return {tenant_id: self._days[tenant_id, day].last_seen_at for tenant_id, day in sorted(self._days)}


def _requests_of(days: list[UsageDay]) -> int:
    return sum(day.requests for day in days)
