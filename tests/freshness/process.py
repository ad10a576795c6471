"""One process: the real follower, resolver and index of hosts, on a loop of their own, behind links of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Unpack

from tenantcache.errors import StoreError, StoreUnavailableError
from tenantcache.freshness.core.freshness import State
from tenantcache.freshness.log import Doubt, LogEntry
from tenantcache.lifecycle import REFRESH_INTERVAL
from tenantcache.lookup.core.alias import id_in
from tenantcache.lookup.fastpath import Serving
from tenantcache.tenant import Tenant
from tests.freshness.database import Database
from tests.freshness.loops import VirtualLoop
from tests.freshness.network import Link, Network, Redis
from tests.freshness.parts import Parts, Servers, Sizes
from tests.freshness.truth import Truth, Violation, Watch

START_TIMEOUT = 5.0


class Process:
    """`clock` gives seconds, also while the machine is suspended."""

    def __init__(
        self,
        name: str,
        clock: Callable[[], float],
        network: Network,
        database: Database,
        *,
        redis: Redis,
        truth: Truth,
        **sizes: Unpack[Sizes],
    ) -> None:
        self.name = name
        self.inbox: list[Callable[[], None]] = []
        self.wakes_at = 0.0
        self.suspended = 0.0
        self.refusals = 0
        self.is_exact = False
        """Whether an answer must be as new as what was applied when it is given. Not so if more updates than it waits
        for may overtake a read."""
        self.unfinished = 0
        self.violation: Violation | None = None
        self.watch = Watch(truth, name)
        self.loop = VirtualLoop(lambda: clock() - self.suspended)
        self.links = {
            server: Link(network, self.loop, self.inbox, f"{name} {server}") for server in ("log", "tenants", "redis")
        }
        parts = Parts(Servers(database, redis, self.links), self, clock, **sizes)
        self.freshness, self.memory, self.server_time = parts.freshness, parts.memory, parts.server_time
        self.resolver, self.indexer, self.follower = parts.resolver, parts.indexer, parts.follower
        self._fast_paths = parts.fast_paths
        self._is_suspended = False
        self._stops = False
        self._requests: set[asyncio.Task[None]] = set()
        self._clock = clock
        self._truth = truth
        self._has_refresher = sizes.get("has_refresher", False)
        self._hot_only = sizes.get("hot_only", False)
        self._start = self.loop.create_task(self._open())

    async def _open(self) -> None:
        await self.follower.start(START_TIMEOUT)
        self.indexer.open()
        if self._has_refresher:
            self._refresher = self.loop.create_task(self._refresh())

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_INTERVAL)
            with suppress(StoreError):
                await self.resolver.refresh_due()

    # What the follower calls.

    def changed(self, entry: LogEntry) -> None:
        self.resolver.changed(entry)
        self.indexer.changed(entry)

    def doubted(self, doubt: Doubt) -> None:
        self.resolver.evict(doubt.tenant_id, doubt.aliases)

    def flush(self) -> None:
        self.resolver.flush()
        self.indexer.flush()

    def clock_moved(self) -> None:
        """Nothing here has windows."""

    # What the scheduler does.

    @property
    def is_open(self) -> bool:
        return self._start.done() and self._start.exception() is None

    @property
    def failed_to_start(self) -> bool:
        return self._start.done() and self._start.exception() is not None

    @property
    def is_awake(self) -> bool:
        return self._clock() >= self.wakes_at

    @property
    def has_work(self) -> bool:
        return self.is_awake and (bool(self.inbox) or not self.loop.is_idle)

    def next_timer(self) -> float:
        """When it has work for sure, on the scheduler's clock."""
        return max(self.wakes_at, self.loop.next_timer() + self.suspended)

    def step(self) -> None:
        """Run one iteration of the loop, with what came in over the network since the last one."""
        for receive in self.inbox:
            self.loop.call_soon(receive)
        self.inbox.clear()
        self.loop.step()
        if self.violation is not None:
            raise self.violation
        if self.loop.failures:
            raise Violation(f"{self.name} failed: {self.loop.failures}")
        if self.is_open and self.follower._task is not None and self.follower._task.done() and not self._stops:
            raise Violation(f"{self.name} follows no longer: {self.follower._task!r}")

    def pause(self, seconds: float) -> None:
        """Like SIGSTOP: the clocks run on, and nothing else does."""
        if self.is_awake:
            self.wakes_at = self._clock() + seconds
            self._is_suspended = False

    def suspend(self, seconds: float) -> None:
        """Like a laptop's lid: not even the timers' clock runs on."""
        if self.is_awake:
            self.pause(seconds)
            self.suspended += seconds
            self._is_suspended = True

    def wake_up(self) -> None:
        """Before its time."""
        if not self.is_awake:
            if self._is_suspended:
                self.suspended -= self.wakes_at - self._clock()
            self.wakes_at = self._clock()

    async def stop(self) -> None:
        """In good order."""
        self._stops = True
        await self.follower.stop()

    def die(self) -> None:
        """What it has sent may still arrive."""
        for link in self.links.values():
            link.state = "cut"
        self.loop.discard()

    # What requests do.

    def ask(self, alias: str, *, after_sync: bool = False) -> None:
        """Start a request for `alias`; its answer is checked when it comes."""
        self.unfinished += 1
        invoked_at, newest, seen = self._clock(), self._truth.newest, self.watch.seen(alias)

        def receive() -> None:
            self._requests.add(self.loop.create_task(self._ask(alias, after_sync, invoked_at, newest, seen)))

        self.inbox.append(receive)

    async def _ask(self, alias: str, after_sync: bool, invoked_at: float, newest: int, seen: int) -> None:
        try:
            if after_sync:
                await self.follower.sync(2.0)
            tenant, is_stale = await self._find(alias)
        except StoreUnavailableError:
            self.refusals += 1
            return
        finally:
            self.unfinished -= 1
        oldest = self._truth.oldest_allowed(invoked_at - (self.freshness.stale_if_error if is_stale else 0.0))
        if self._truth.same_timeline(seen):
            oldest = max(oldest, seen)
        if after_sync:
            oldest = max(oldest, newest)
        if self.is_exact:
            oldest = max(oldest, self._truth.index_of(self.freshness.applied))
        try:
            self.watch.check(alias, tenant, oldest, what="asked")
        except Violation as violation:
            self.violation = self.violation or violation

    async def _find(self, alias: str) -> tuple[Tenant | None, bool]:
        """What `alias` leads to, and whether only `stale_if_error` allows that."""
        tenant_id = id_in(alias)
        if tenant_id is not None:
            found = (await self.resolver.find_ids([tenant_id])).get(tenant_id)
            return found, not self.freshness.is_valid(self._clock())
        entry = await self.resolver.find(alias)
        if entry.tenant is not None:
            self._fast_paths.open(alias.encode(), entry, Serving(entry.tenant, None))
        state = self.freshness.state(self._clock(), entry.watermark, entry.read_at)
        return entry.tenant, entry.tenant is not None and state is not State.VALID

    def peek(self, alias: str) -> None:
        """A request that finds its answer in memory, at this instant."""
        oldest = max(self.watch.seen(alias), self._truth.oldest_allowed(self._clock()))
        hot = self.memory.hot.get(alias.encode())
        if hot is not None and self._clock() < self.freshness.valid_until:
            self.watch.check(alias, hot.tenant, oldest, what="on the fast path")
        entry = None if self._hot_only else self.resolver.peek(alias)
        if entry is not None:
            self.watch.check(alias, entry.tenant, oldest, what=f"in memory from {entry.tier}")
