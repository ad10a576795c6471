"""Stand-ins for what tests want to hold in their hands: the clock, the database, the counters' answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from tenantcache import Settings, Tenant, TenantCache
from tenantcache.errors import StoreError
from tenantcache.freshness.core.logmark import LogMark
from tenantcache.freshness.log import RESET_NAME, LogEntry, Publication, Pull
from tenantcache.lookup.core.alias import domain_alias, id_alias, is_id, subdomain_alias
from tenantcache.lookup.core.snapshot import Snapshot
from tenantcache.lookup.sources import AliasStream
from tenantcache.ratelimit.core.windows import Debit, Policy
from tenantcache.ratelimit.counterstore import CounterStore
from tenantcache.ratelimit.memorycounters import MemoryCounters
from tenantcache.tenant import Limits, Row
from tenantcache.wiring import Stores

SERVER_EPOCH = 1_699_999_200.0
"""Server time when a `FakeClock` shows 0: the start of an hour."""

MINUTE_START = 1200.0
"""Where a `FakeClock` begins: the start of a minute on the server, and of no hour."""


class FakeClock:
    """Seconds; stands still until told otherwise."""

    def __init__(self, now: float = MINUTE_START) -> None:
        self.now = now
        self.server_epoch = SERVER_EPOCH

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds

    def server_time(self) -> float:
        return self.server_epoch + self.now


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


async def until(condition: Callable[[], bool], *, seconds: float = 5.0) -> None:
    """Wait for what happens in the background; AssertionError where it does not."""
    for _ in range(int(seconds / 0.005)):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"it did not happen within {seconds} s")


class FakeDatabase:
    """`TenantStore`, `HostSource` and `ChangeLog` in one: tenants by id, and a log that names OLD and NEW."""

    def __init__(self, clock: FakeClock, *rows: Row) -> None:
        self.reads: list[tuple[str, ...]] = []
        self.failing = False
        self.epoch = "one"
        self.calls: list[str] = []
        self._clock = clock
        self._rows: dict[str, Row] = {}
        self._log = [self._entry(1, None, None)]
        self._on_change: Callable[[], None] | None = None
        for one in rows:
            self.put(one)

    # What a test does to it.

    def put(self, new: Row) -> None:
        """Insert or update one tenant, and log it."""
        old = self._rows.get(new["id"])
        self._rows[new["id"]] = new
        self._note(new["id"], {*_aliases(old), *_aliases(new)})

    def delete(self, tenant_id: str) -> None:
        self._note(tenant_id, set(_aliases(self._rows.pop(tenant_id))))

    def _note(self, tenant_id: str, aliases: set[str]) -> None:
        hosts = tuple(sorted(alias for alias in aliases if not is_id(alias)))  # as the triggers do
        self._log.append(self._entry(self._log[-1].seq + 1, tenant_id, hosts))
        if self._on_change is not None:
            self._on_change()

    def _entry(self, seq: int, tenant_id: str | None, aliases: tuple[str, ...] | None) -> LogEntry:
        at = round(self._clock.server_time() * 1e6) + seq
        return LogEntry.from_columns(seq, at, tenant_id, aliases)

    def _require_up(self) -> None:
        if self.failing:
            raise StoreError("the fake database is away")

    # `TenantStore`.

    async def read(self, aliases: Sequence[str]) -> Snapshot:
        self._require_up()
        self.reads.append(tuple(aliases))
        found: dict[str, Row | None] = dict.fromkeys(aliases)
        for one in self._rows.values():
            found |= {alias: one for alias in _aliases(one) if alias in found}
        return Snapshot(self._head, self.epoch, found)

    @asynccontextmanager
    async def stream_aliases(self, batch: int) -> AsyncIterator[AliasStream]:
        """`HostSource`: all in one batch."""
        del batch
        self._require_up()
        aliases = [alias for one in self._rows.values() for alias in _aliases(one) if not is_id(alias)]

        async def batches() -> AsyncIterator[list[str]]:
            yield aliases

        yield AliasStream(len(aliases), self.epoch, self._head, batches())

    async def log_change(self, tenant_id: str, aliases: Sequence[str]) -> None:
        self._require_up()
        self._note(tenant_id, set(aliases))

    async def log_reset(self, tenant_id: str) -> None:
        self._require_up()
        self._note(tenant_id, {RESET_NAME})

    # `ChangeLog`.

    async def open(self, on_change: Callable[[], None]) -> None:
        self._require_up()
        self.calls.append("open")
        self._on_change = on_change

    async def close(self) -> None:
        self.calls.append("close")
        self._on_change = None

    async def tail(self, max_age: float, max_entries: int) -> Pull:
        del max_age
        return self._pull(self._log[-max_entries:], continuous=True)

    async def pull(self, applied: LogMark, max_behind: int, page: int, *, since: str = "", check: bool = True) -> Pull:
        del max_behind
        continuous = any(entry.seq == applied.seq and entry.at == applied.at for entry in self._log)
        return self._pull([entry for entry in self._log if entry.seq > applied.seq][:page], continuous=continuous)

    def _pull(self, entries: Sequence[LogEntry], *, continuous: bool) -> Pull:
        self._require_up()
        return Pull(self._clock.server_time(), self.epoch, self._head, continuous, 1, False, entries)

    @property
    def _head(self) -> LogMark:
        return LogMark(self._log[-1].seq, self._log[-1].at)

    async def publish(self, most: int) -> Publication:
        self._require_up()
        return Publication.NOTHING

    async def rebuild(self) -> None:
        self._require_up()

    async def beat(self, process_id: object) -> None:
        self._require_up()

    async def leave(self, process_id: object) -> None:
        self.calls.append("leave")

    async def prune(self, max_age: float, most: int) -> None:
        self._require_up()


def _aliases(one: Row | None) -> list[str]:
    if one is None:
        return []
    own = [subdomain_alias(one["subdomain"])] if one["subdomain"] else []
    return [id_alias(one["id"]), *own, *(domain_alias(domain) for domain in one["domains"])]


class FakeCounters:
    """`CounterStore` in memory. Answers wait while `gate` is clear.

    `failing`: nothing is debited, and the caller gets an error. `losing`: only the answer is lost.
    """

    def __init__(self) -> None:
        self.takes: list[tuple[Debit, ...]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failing = self.losing = False
        self.error: StoreError | None = None
        self.most_in_flight = 0
        self._in_flight = 0
        self._counters = MemoryCounters()
        self._totals: dict[Policy, int] = {"minute": 0, "day": 0}

    async def debit(self, tenant_id: str, debits: Sequence[Debit]) -> list[int]:
        self.takes.append(tuple(debits))
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            await self.gate.wait()
            if self.failing or self.error is not None:
                raise self.error or StoreError("the fake counters are away")
            for debit in debits:
                self._totals[debit.window.policy] += debit.amount
            values = await self._counters.debit(tenant_id, debits)
            if self.losing:
                raise StoreError("the fake counters' answer is lost")
            return values
        finally:
            self._in_flight -= 1

    async def reset(self, tenant_id: str, debits: Sequence[Debit]) -> None:
        await self._counters.reset(tenant_id, debits)

    def total(self, policy: Policy) -> int:
        """What is out of all windows of `policy`: debited and not given back."""
        return self._totals[policy]


def make_cache(
    database: FakeDatabase, clock: FakeClock, *, counters: CounterStore | None = None, **settings: Any
) -> TenantCache:
    """An engine on stand-ins alone; its base domain is example.com. Open it, and close it, as any other."""
    values = {"database_url": "postgresql://nobody@127.0.0.1:1/none", "base_domains": ["example.com"]} | settings
    stores = Stores(database, database, database, counters if counters is not None else MemoryCounters())
    return TenantCache(Settings(**values), stores=stores, clock=clock)
