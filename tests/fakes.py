"""The fakes of `tenantcache.testing`, which here can fail and remember what they were asked, and helpers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

from tenantcache import Settings, Tenant, TenantCache, testing
from tenantcache.errors import StoreError
from tenantcache.freshness.core.logmark import LogMark
from tenantcache.freshness.log import OnChange, Pull
from tenantcache.lookup.core.snapshot import Snapshot
from tenantcache.lookup.sources import AliasStream
from tenantcache.ratelimit.core.windows import OUT_OF_REACH, Debit, Unit
from tenantcache.ratelimit.counterstore import Account, AccountDebits, CounterStore
from tenantcache.ratelimit.memorycounters import MemoryCounters
from tenantcache.ratelimit.slots import GROUP_SIZE, MemorySlots
from tenantcache.tenant import Limits, Row
from tenantcache.testing.database import MemoryDatabase
from tenantcache.wiring.stores import Stores

SERVER_START = 1_700_000_400.0
"""Server time, in seconds since the Unix epoch, when a `FakeClock` begins: the start of a minute, not of an hour."""


class FakeClock(testing.FakeClock):
    """One whose server may be set to another time."""

    def __init__(self) -> None:
        super().__init__(datetime.fromtimestamp(SERVER_START, UTC))

    def set_server(self, seconds: float) -> None:
        """Move the server's clock, and not this process's; backwards if negative."""
        self._started_at += seconds


def row(tenant_id: str, **columns: Any) -> Row:
    """The columns of a tenant whose subdomain and name are its id, unless told otherwise."""
    found: dict[str, Any] = {
        "id": tenant_id,
        "name": tenant_id,
        "subdomain": tenant_id,
        "domains": [],
        "primary_domain": None,
        "status": "active",
        "plan": None,
        "limit_per_minute": None,
        "limit_per_day": None,
        "time_zone": None,
        "attributes": {},
    } | columns
    return cast(Row, found)


def limited(tenant_id: str = "acme", per_minute: int | None = None, per_day: int | None = None) -> Tenant:
    """A tenant as the limiter sees it."""
    return Tenant(tenant_id, tenant_id, limits=Limits(per_minute, per_day))


async def until(condition: Callable[[], bool], *, seconds: float = 30.0) -> None:
    """Wait for what happens in the background; AssertionError if it does not."""
    for _ in range(int(seconds / 0.005)):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"it did not happen within {seconds} s")


class FakeDatabase(MemoryDatabase):
    """Remembers what it was asked. While `failing` it cannot be asked."""

    def __init__(self, clock: FakeClock, *rows: Row) -> None:
        super().__init__(clock.server_time)
        self.reads: list[tuple[str, ...]] = []
        self.calls: list[str] = []
        self.failing = False
        for one in rows:
            self.put(one)

    def _require_up(self) -> None:
        if self.failing:
            raise StoreError("the fake database is unavailable")

    async def read(self, aliases: Sequence[str]) -> Snapshot:
        self._require_up()
        self.reads.append(tuple(aliases))
        return await super().read(aliases)

    async def log_change(self, tenant_id: str, aliases: Sequence[str]) -> None:
        self._require_up()
        await super().log_change(tenant_id, aliases)

    async def log_reset(self, tenant_id: str) -> None:
        self._require_up()
        await super().log_reset(tenant_id)

    @asynccontextmanager
    async def stream_aliases(self, batch: int) -> AsyncIterator[AliasStream]:
        self._require_up()
        async with super().stream_aliases(batch) as stream:
            yield stream

    async def open(self, on_change: OnChange) -> None:
        self._require_up()
        self.calls.append("open")
        await super().open(on_change)

    async def close(self) -> None:
        self.calls.append("close")
        await super().close()

    async def tail(self, max_age: float, max_entries: int) -> Pull:
        self._require_up()
        return await super().tail(max_age, max_entries)

    async def pull(
        self, applied: LogMark, max_behind: int, page: int, *, since: str | None = None, check: bool = True
    ) -> Pull:
        self._require_up()
        return await super().pull(applied, max_behind, page, since=since, check=check)

    async def leave(self, process_id: UUID) -> None:
        self.calls.append("leave")
        await super().leave(process_id)


async def debit_one(store: CounterStore, owner: str, debits: Sequence[Debit], slot: int = 0) -> list[int]:
    """Debit one account alone; return the new values in the order of `debits`, none of which is out of reach."""
    [values] = await store.debit([AccountDebits(Account(owner, slot), debits)])
    assert OUT_OF_REACH not in values
    return [value for value in values if value is not OUT_OF_REACH]


class FakeCounters(MemoryCounters):
    """Remembers what it was asked: `takes` has the debits of each account, and `batches` each call. Answers wait while
    `gate` is clear.

    `failing`: nothing is debited, and the caller gets an error. `losing`: only the answer is lost.
    """

    def __init__(self) -> None:
        super().__init__()
        self.takes: list[tuple[Debit, ...]] = []
        self.batches: list[tuple[AccountDebits, ...]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failing = self.losing = False
        self.error: StoreError | None = None
        self.most_in_flight = 0
        self._in_flight = 0
        self._totals: Counter[Unit] = Counter()

    async def debit(self, batch: Sequence[AccountDebits]) -> list[list[int]]:
        self.batches.append(tuple(batch))
        self.takes += [tuple(debits) for _, debits in batch]
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            await self.gate.wait()
            if self.failing or self.error is not None:
                raise self.error or StoreError("the fake counters are unavailable")
            for _, debits in batch:
                for debit in debits:
                    self._totals[debit.window.unit] += debit.amount
            values = await super().debit(batch)
            if self.losing:
                raise StoreError("the fake counters' answer is lost")
            return values
        finally:
            self._in_flight -= 1

    def total(self, unit: Unit) -> int:
        """What is out of all windows of `unit`: debited and not given back."""
        return self._totals[unit]


class FakeSlots(MemorySlots):
    """Remembers the owners of each question. While `failing` it cannot be asked, and it answers while `gate` is set.

    `apart`: each owner is in a group of its own.
    """

    def __init__(self, *, apart: bool = False) -> None:
        super().__init__()
        self.questions: list[tuple[str, ...]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failing = False
        self._apart = apart

    async def assign(self, owners: Sequence[str]) -> list[int]:
        self.questions.append(tuple(owners))
        await self.gate.wait()
        if self.failing:
            raise StoreError("the fake slots are unavailable")
        slots = await super().assign(owners)
        return [slot * GROUP_SIZE for slot in slots] if self._apart else slots


def make_cache(
    database: FakeDatabase, clock: FakeClock, *, counters: CounterStore | None = None, **settings: Any
) -> TenantCache:
    """An engine on stand-ins alone; its base domain is example.com. Open it, and close it, as any other."""
    values = {"database_url": "postgresql://nobody@127.0.0.1:1/none", "base_domains": ["example.com"]} | settings
    stores = Stores(database, database, database, counters if counters is not None else MemoryCounters())
    return TenantCache(Settings(**values), stores=stores, clock=clock)
