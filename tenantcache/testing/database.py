"""Postgres in memory, as far as the engine asks: tenants, the log of their changes, and usage."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from operator import itemgetter
from typing import TypeVar
from uuid import UUID

from tenantcache.admin.writethrough import aliases_of
from tenantcache.freshness.core.logmark import LogMark
from tenantcache.freshness.log import RESET_NAME, LogEntry, OnChange, Publication, Pull
from tenantcache.lookup.core.alias import is_id
from tenantcache.lookup.core.snapshot import Snapshot
from tenantcache.lookup.sources import AliasStream, RowStream, StreamedRow
from tenantcache.tenant import LimitTable, Row, tenant_from_row
from tenantcache.testing.usage import MemoryUsage

Item = TypeVar("Item")

RANKS = ("active", "maintenance", "suspended", "deleted")


class MemoryDatabase:
    """`TenantStore`, `HostSource`, `RowSource` and `ChangeLog` in one: a change is in the log at once.

    `server_time` is the server's clock, in seconds since the Unix epoch. With `on_entry` each change calls that, in the
    thread that makes the change; without, a change notifies the follower.
    """

    def __init__(self, server_time: Callable[[], float], *, on_entry: Callable[[LogEntry], None] | None = None) -> None:
        self.rows: dict[str, Row] = {}
        self.usage: MemoryUsage = MemoryUsage()
        self.epoch = "in memory"
        self._server_time = server_time
        self._on_entry = on_entry
        self._on_change: OnChange | None = None
        self._processes: set[object] = set()
        self._entries = [LogEntry.from_columns(1, self._now(), None, None)]

    def put(self, row: Row) -> None:
        """Insert or update one tenant, by its id."""
        old = self.rows.get(row["id"])
        self.rows[row["id"]] = row
        self._log(row["id"], {*_hosts(old), *_hosts(row)})

    def delete(self, tenant_id: str) -> None:
        self._log(tenant_id, set(_hosts(self.rows.pop(tenant_id))))

    def owner(self, alias: str) -> Row | None:
        """The tenant that `alias` leads to: a name that a tenant has now comes before an old one, then active tenants
        come before others. If several are left, it leads to none of them."""
        owners: dict[tuple[bool, int], list[Row]] = {}
        for row in self.rows.values():
            if alias in aliases_of(row):
                rank = (tenant_from_row(row, LimitTable()).leads_on(alias), RANKS.index(row["status"]))
                owners.setdefault(rank, []).append(row)
        best = owners[min(owners)] if owners else []
        return best[0] if len(best) == 1 else None

    def _log(self, tenant_id: str, hosts: set[str]) -> None:
        entry = LogEntry.from_columns(self._entries[-1].seq + 1, self._now(), tenant_id, sorted(hosts))
        self._entries.append(entry)
        if self._on_entry is not None:
            self._on_entry(entry)
        elif self._on_change is not None:
            self._on_change()

    def _now(self) -> int:
        """Microseconds, as entries have them."""
        return round(self._server_time() * 1e6)

    @property
    def head(self) -> LogMark:
        """The newest entry of the log."""
        return LogMark(self._entries[-1].seq, self._entries[-1].at)

    # `TenantStore`, `HostSource` and `RowSource`.

    async def read(self, aliases: Sequence[str]) -> Snapshot:
        return Snapshot(self.head, self.epoch, {alias: self.owner(alias) for alias in aliases})

    async def log_change(self, tenant_id: str, aliases: Sequence[str]) -> None:
        self._log(tenant_id, set(aliases))

    async def log_reset(self, tenant_id: str) -> None:
        self._log(tenant_id, {RESET_NAME})

    @asynccontextmanager
    async def stream_aliases(self, batch: int) -> AsyncIterator[AliasStream]:
        hosts = [host for row in self.rows.values() for host in _hosts(row)]
        yield AliasStream(len(hosts), self.epoch, self.head, _in_batches(hosts, batch))

    @asynccontextmanager
    async def stream_rows(self, batch: int, most: int) -> AsyncIterator[RowStream]:
        seen = sorted(self.usage.seen().items(), key=itemgetter(1), reverse=True)
        ids = dict.fromkeys([*(tenant_id for tenant_id, _ in seen if tenant_id in self.rows), *self.rows])
        owners = Counter(alias for row in self.rows.values() for alias in aliases_of(row))
        shared = frozenset(alias for alias, count in owners.items() if count > 1)
        rows = [StreamedRow(self.rows[tenant_id], shared) for tenant_id in ids]
        yield RowStream(self.head, self.epoch, _in_batches(rows[:most], batch), more=len(rows) > most)

    # `ChangeLog`.

    async def open(self, on_change: OnChange) -> None:
        self._on_change = on_change

    async def close(self) -> None:
        self._on_change = None

    async def tail(self, max_age: float, max_entries: int) -> Pull:
        newest = self._entries[-max_entries:]
        too_old = [place for place, entry in enumerate(newest) if entry.at <= self._now() - max_age * 1e6]
        return self._pull(newest[too_old[-1] :] if too_old else newest)

    async def pull(self, applied: LogMark, max_behind: int, page: int, *, since: str = "", check: bool = True) -> Pull:
        new = [entry for entry in self._entries if entry.seq > applied.seq]
        truncated = self.head.seq - applied.seq > max_behind
        continuous = any((entry.seq, entry.at) == (applied.seq, applied.at) for entry in self._entries)
        return self._pull(
            [] if truncated else new[:page], continuous=continuous, truncated=truncated, since=since, check=check
        )

    def _pull(
        self,
        entries: Sequence[LogEntry],
        *,
        continuous: bool = True,
        truncated: bool = False,
        since: str = "",
        check: bool = True,
    ) -> Pull:
        return Pull(
            server_time=self._server_time(),
            epoch=self.epoch,
            head=self.head,
            continuous=continuous,
            processes=len(self._processes) if check else 0,
            truncated=truncated,
            entries=entries,
            covers=since != "",
            snapshot=str(self.head.seq),
            checked=check,
        )

    async def publish(self, most: int) -> Publication:
        return Publication.NOTHING

    async def rebuild(self) -> None:
        pass

    async def beat(self, process_id: UUID) -> bool:
        self._processes.add(process_id)
        return False

    async def leave(self, process_id: UUID) -> None:
        self._processes.discard(process_id)

    async def prune(self, max_age: float, most: int) -> None:
        oldest = self._entries[: most + 1]
        young = (place for place, entry in enumerate(oldest) if entry.at >= self._now() - max_age * 1e6)
        del self._entries[: next(young, len(oldest) - 1)]


async def _in_batches(items: Sequence[Item], batch: int) -> AsyncIterator[list[Item]]:
    for start in range(0, len(items), batch):
        yield list(items[start : start + batch])


def _hosts(row: Row | None) -> list[str]:
    return [] if row is None else [alias for alias in aliases_of(row) if not is_id(alias)]
