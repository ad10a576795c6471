"""Postgres, in memory, as far as the engine asks: tenants, the log of their changes, and usage."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from tenantcache.admin.usagestore import UsageDay, UsageRow
from tenantcache.admin.writethrough import aliases_of
from tenantcache.freshness.core.logmark import LogMark
from tenantcache.freshness.log import RESET_NAME, LogEntry, Publication, Pull
from tenantcache.lookup.core.alias import is_id
from tenantcache.lookup.core.snapshot import Snapshot
from tenantcache.lookup.sources import AliasStream
from tenantcache.tenant import LimitTable, Row, tenant_from_row
from tenantcache.testing.clock import FakeClock

EPOCH = "in memory"
RANKS = ("active", "maintenance", "suspended", "deleted")


class MemoryDatabase:
    """`TenantStore`, `HostSource` and `ChangeLog` in one. `on_entry` is called with each change, at once."""

    def __init__(self, clock: FakeClock) -> None:
        self.rows: dict[str, Row] = {}
        self.on_entry: Callable[[LogEntry], None] = lambda _entry: None
        self._clock = clock
        self._log = [LogEntry.from_columns(1, 1, None, None)]

    def put(self, row: Row) -> None:
        """Insert or update one tenant, by its id."""
        old = self.rows.get(row["id"])
        self.rows[row["id"]] = row
        self._note(row["id"], {*_hosts(old), *_hosts(row)})

    def delete(self, tenant_id: str) -> None:
        self._note(tenant_id, set(_hosts(self.rows.pop(tenant_id))))

    def owner(self, alias: str) -> Row | None:
        """Who is found by `alias`: a name that a tenant has now comes before an old one, then active tenants come
        before others. If several are left, it leads to none of them."""
        owners: dict[tuple[bool, int], list[Row]] = {}
        for row in self.rows.values():
            if alias in aliases_of(row):
                rank = (tenant_from_row(row, LimitTable()).leads_on(alias), RANKS.index(row["status"]))
                owners.setdefault(rank, []).append(row)
        best = owners[min(owners)] if owners else []
        return best[0] if len(best) == 1 else None

    def _note(self, tenant_id: str, hosts: set[str]) -> None:
        seq = self._log[-1].seq + 1
        # Nothing is ever restored, so any time will do.
        entry = LogEntry.from_columns(seq, seq, tenant_id, sorted(hosts))
        self._log.append(entry)
        self.on_entry(entry)

    # `TenantStore` and `HostSource`.

    async def read(self, aliases: Sequence[str]) -> Snapshot:
        return Snapshot(self._log[-1], EPOCH, {alias: self.owner(alias) for alias in aliases})

    async def log_change(self, tenant_id: str, aliases: Sequence[str]) -> None:
        self._note(tenant_id, set(aliases))

    async def log_reset(self, tenant_id: str) -> None:
        self._note(tenant_id, {RESET_NAME})

    @asynccontextmanager
    async def stream_aliases(self, batch: int) -> AsyncIterator[AliasStream]:
        del batch
        hosts = [host for row in self.rows.values() for host in _hosts(row)]

        async def batches() -> AsyncIterator[list[str]]:
            yield hosts

        yield AliasStream(len(hosts), EPOCH, self._log[-1], batches())

    # `ChangeLog`.

    async def open(self, on_change: Callable[[], None]) -> None:
        pass

    async def close(self) -> None:
        pass

    async def tail(self, max_age: float, max_entries: int) -> Pull:
        del max_age
        return self._pull(self._log[-max_entries:])

    async def pull(self, applied: LogMark, max_behind: int, page: int, *, since: str = "", check: bool = True) -> Pull:
        del max_behind
        return self._pull([entry for entry in self._log if entry.seq > applied.seq][:page])

    def _pull(self, entries: Sequence[LogEntry]) -> Pull:
        return Pull(self._clock.server_time(), EPOCH, self._log[-1], True, 1, False, entries)

    async def publish(self, most: int) -> Publication:
        return Publication.NOTHING

    async def rebuild(self) -> None:
        pass

    async def beat(self, process_id: object) -> None:
        pass

    async def leave(self, process_id: object) -> None:
        pass

    async def prune(self, max_age: float, most: int) -> None:
        pass


class MemoryUsage:
    """`UsageStore`."""

    def __init__(self) -> None:
        self._days: dict[tuple[str, date], UsageDay] = {}

    async def add(self, process_id: UUID, batch: int, rows: Sequence[UsageRow]) -> None:
        for row in rows:
            day = date(1970, 1, 1) + timedelta(days=row.day)
            seen_at = datetime.fromtimestamp(row.seen_at, UTC)
            before = self._days.get((row.tenant_id, day), UsageDay(day, 0, seen_at))
            after = UsageDay(day, before.requests + row.requests, max(before.last_seen_at, seen_at))
            self._days[row.tenant_id, day] = after

    async def leave(self, process_id: UUID) -> None:
        pass

    async def read(self, tenant_id: str, since: date) -> list[UsageDay]:
        return sorted(used for (owner, day), used in self._days.items() if owner == tenant_id and day >= since)

    async def last_seen(self, tenant_ids: Sequence[str]) -> dict[str, datetime]:
        found: dict[str, datetime] = {}
        for (owner, _), used in self._days.items():
            if owner in tenant_ids:
                found[owner] = max(found.get(owner, used.last_seen_at), used.last_seen_at)
        return found


def _hosts(row: Row | None) -> list[str]:
    return [] if row is None else [alias for alias in aliases_of(row) if not is_id(alias)]
