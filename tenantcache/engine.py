"""The engine: everything wired together, with a life cycle. Faces (the middleware, the commands) use only this."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from tenantcache.admin.domains import Domains
from tenantcache.admin.plannames import PlanNames
from tenantcache.admin.tenants import Tenants
from tenantcache.admin.usage import Usage
from tenantcache.admin.writethrough import WriteThrough, aliases_of
from tenantcache.errors import SchemaMissingError, StoreError, StoreUnavailableError, UnknownTenantError
from tenantcache.freshness.core.freshness import Freshness
from tenantcache.freshness.core.servertime import ServerTime
from tenantcache.freshness.follower import Follower
from tenantcache.freshness.log import ChangeKind, LogEntry, Pull
from tenantcache.lookup.core.alias import id_alias
from tenantcache.lookup.core.hosts import HostMatch, HostRules
from tenantcache.lookup.core.lookupbudget import LookupBudget
from tenantcache.lookup.core.names import alias_of_name, is_kind
from tenantcache.lookup.fastpaths import FastPaths
from tenantcache.lookup.indexer import Indexer
from tenantcache.lookup.memory import Entry, Memory
from tenantcache.lookup.resolver import Resolver
from tenantcache.lookup.warmup import WarmUp
from tenantcache.ratelimit.core.decision import Decision, Quota
from tenantcache.ratelimit.counters import FleetCounters
from tenantcache.ratelimit.limiter import ADMITTED, Limiter
from tenantcache.ratelimit.shadow import ShadowLog
from tenantcache.runtime import clock as clocks
from tenantcache.runtime.clock import Clock
from tenantcache.runtime.eventloops import not_open, open_elsewhere, running_loop
from tenantcache.runtime.forks import forget_after_fork
from tenantcache.runtime.tasks import stop
from tenantcache.settings.model import Settings, variable_of
from tenantcache.settings.urls import address
from tenantcache.startreport import StartReport
from tenantcache.stats import LinkStats, Stats
from tenantcache.tenant import Limits, Tenant
from tenantcache.wiring import Stores

logger = logging.getLogger(__name__)

POSTGRES_PORT = 5432
OPEN_TIMEOUT = 5.0
SYNC_TIMEOUT = 2.0
REFRESH_INTERVAL = 1.0

LOOKUPS_PER_SECOND, LOOKUP_BURST = 200.0, 1_000.0
"""Look-ups of hosts that are neither in memory nor ruled out by the index. A process that starts cold meets its
tenants a thousand at once at most; a flood is worth 200 cheap queries a second, not more."""

NO_REDIS: LinkStats = {"billed_commands": 0, "breaker": "closed"}

COPY_LIFE_MARGIN = 60.0
"""Seconds that a copy may be on its way into Redis before its TTL begins to count."""


class TenantCache:
    """Finds tenants and checks their limits, in this process as far as that is possible.

    Open it before use, by `async with` or `open`; the middleware does so by itself. It is open in one event loop at a
    time, and calls in another one raise `NotOpenError`. When that loop ends as `asyncio.run` ends it, the engine is
    closed with it, and may be opened in the next.
    """

    def __init__(
        self, settings: Settings | None = None, *, stores: Stores | None = None, clock: Clock = clocks.now
    ) -> None:
        self.settings = settings if settings is not None else Settings()
        self.clock = clock
        self.hosts = HostRules(
            self.settings.base_domains, self.settings.reserved_subdomains, self.settings.base_domain_tenant
        )
        self.freshness = Freshness(
            max_staleness=self.settings.max_staleness, stale_if_error=self.settings.stale_if_error
        )
        self.server_time = ServerTime(offset=time.time() - clock())
        self._offset = self.server_time.offset
        self.memory = Memory(
            max_tenants=self.settings.memory_max_tenants,
            ttl=self.settings.memory_ttl,
            grace=self.settings.stale_if_error,
            negative_ttl=self.settings.negative_ttl,
            clock=clock,
        )
        self._stores = stores if stores is not None else Stores.from_settings(self.settings)
        self.fleet_counters = self._stores.counters if isinstance(self._stores.counters, FleetCounters) else None
        self.limiter = self._make_limiter()
        self.fast_paths = FastPaths(
            self.memory,
            self.freshness,
            self.server_time,
            reservation_of=self.limiter.meter_of,
            is_elsewhere=self.is_elsewhere,
        )
        self.usage = Usage(
            self._stores.usage,
            self.limiter.drain,
            server_now=self.server_now,
            interval=self.settings.usage_interval,
            require_here=self._require_here,
        )
        write_through = WriteThrough(self._stores.tenants, self._stores.copies, self.sync)
        self.tenants = Tenants(
            self._stores.registry, write_through, self.hosts, self.settings.limit_table, self._require_open
        )
        self.domains = Domains(self._stores.registry, write_through, self.hosts, self._require_open)
        self.shadow = ShadowLog()
        self.route_limits: dict[str, Limits] = {}  # the figures of its routes' named limits, which they share
        self._is_open = self._is_closing = False
        self._plan_names = PlanNames(self.settings.plans)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening: asyncio.Task[None] | None = None
        self._refresher: asyncio.Task[None] | None = None
        self._assemble()
        forget_after_fork(self)

    def _make_limiter(self) -> Limiter:
        limiter = Limiter(
            self._stores.counters,
            server_now=self.server_now,
            processes=self._count_processes,
            on_error=self.settings.on_limiter_error,
            enforced=self.settings.limits != "off",
            sliding=self.settings.minute_window == "sliding",
            counts_unlimited=self.settings.usage_interval > 0,
            newest=self._newest,
            is_cached=lambda tenant_id: bool(self.memory.of_tenant(tenant_id)),
        )
        if (counters := self.fleet_counters) is not None:
            limiter.share_counters(counters.version_of, counters.note_lost, counters.horizon)
            limiter.local_share.place = counters.holder.place
            counters.holder.count_granted = limiter.hand_over
        return limiter

    def _assemble(self) -> None:
        """Make the parts that wait for one another, and so belong to one event loop."""
        self.indexer = Indexer(
            self._stores.hosts, self.freshness, clock=self.clock, max_hosts=self.settings.host_index_max_hosts
        )
        self.resolver = Resolver(
            self._stores.tenants,
            self._stores.copies,
            self.memory,
            self.freshness,
            self.settings.limit_table,
            on_read=self._put_in_force,
            known=self.indexer,
            budget=LookupBudget(LOOKUPS_PER_SECOND, LOOKUP_BURST),
            on_timeline=self._wake_follower,
            clock=self.clock,
        )
        rows, most = self._stores.rows if self.settings.warm_up else None, self.settings.memory_max_tenants
        self.warm_up = WarmUp(rows, self.resolver, self.memory, self._is_valid, self.sync, most=most)
        self.follower = Follower(
            self._stores.log,
            self.freshness,
            self.server_time,
            self,
            clock=self.clock,
            tail_age=self.settings.redis_ttl + COPY_LIFE_MARGIN,
            pull_interval=min(1.0, self.settings.max_staleness / 3),
            on_pull=self._pulled,
        )

    def server_now(self) -> float:
        """The database server's time, in seconds since the Unix epoch, as well as it is known here."""
        return self.clock() + self.server_time.offset

    # Life cycle.

    @property
    def is_open(self) -> bool:
        """Whether it can be used now, in the event loop that has opened it."""
        return self._is_open

    def is_elsewhere(self) -> bool:
        """Whether another event loop than the running one has the engine open, is opening or closing it."""
        in_use = self._is_open or self._is_closing or (self._opening is not None and not self._opening.done())
        return in_use and running_loop() not in (None, self._loop)

    async def open(self) -> None:
        """Connect, load the tail of the log and follow it; again is harmless.

        Raises `SchemaMissingError`, `StoreUnavailableError`, and `NotOpenError` while another event loop has it open.
        Redis may be away: it is used once it is there.
        """
        if self.is_elsewhere():
            await self._leave_loop()
        if self._is_open:
            return
        if self._loop not in (None, asyncio.get_running_loop()):
            self._opening = None
            self._assemble()
        self._loop = asyncio.get_running_loop()
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open(), name="tenantcache opening")
        # One attempt for everybody who waits: each with one of his own, the last would wait for all of them to fail.
        await asyncio.shield(self._opening)

    async def _leave_loop(self) -> None:
        """Part with a loop that was closed under the engine; what was counted stays, and tokens stay. Raises
        `NotOpenError` if the loop goes on."""
        assert self._loop is not None
        if not self._loop.is_closed():
            raise open_elsewhere(self._loop)
        logger.warning("%s", open_elsewhere(self._loop))
        self._is_open = self._is_closing = False
        self._opening = self._refresher = None
        self.memory.clear()
        self.limiter.leave_loop()
        for store in (self._stores.log, self._stores.postgres):
            with suppress(Exception):  # they can only be let go: their loop sends nothing any more
                if store is not None:
                    await store.close()
        if self._stores.link is not None:
            self._stores.link.leave_to_parent()

    async def _open(self) -> None:
        try:
            redis_found = await self._open_stores()
        except BaseException:
            await self._close_stores()
            raise
        self._refresher = asyncio.create_task(self._refresh(), name="tenantcache refresher")
        self.limiter.open()
        self.usage.open()
        self.indexer.open()
        self._is_open = True
        self.warm_up.open()
        counters = None if self.fleet_counters is None else self.fleet_counters.stats()
        self.start_report = StartReport(self.settings, self.follower, self.indexer, counters)
        self.start_report.open(redis_found=redis_found)

    async def _open_stores(self) -> bool:
        where = f"{variable_of('database_url')}, Postgres at {address(self.settings.database_url, POSTGRES_PORT)}"
        try:
            if self._stores.postgres is not None:
                await self._stores.postgres.open()
            await self.follower.start(OPEN_TIMEOUT)
        except (StoreError, StoreUnavailableError) as error:
            raise StoreUnavailableError(f"{where}: {error}") from error
        except SchemaMissingError as error:
            raise SchemaMissingError(f"{where}: {error}") from None
        redis_found = await self._open_redis()
        if self.fleet_counters is not None:
            try:
                await self.fleet_counters.open(self.server_now, self._wake_follower, redis_found=redis_found)
            except StoreError as error:
                raise StoreUnavailableError(f"{where}: {error}") from error
        return redis_found

    async def _open_redis(self) -> bool:
        if self._stores.link is None:
            return False
        try:
            await self._stores.link.open()
        except StoreError as error:
            logger.warning("%s: %s; going on without", variable_of("redis_url"), error)
            return False
        return True

    async def close(self) -> None:
        """Give back unused tokens, sign off and disconnect. Goes on past whatever fails; again is harmless.

        Raises `NotOpenError` while another event loop has it open. After that loop has ended it connects once more.
        """
        if self.is_elsewhere():
            try:
                await self.open()
            except StoreUnavailableError as error:
                logger.error("what the engine held and counted could not be given back: %s", error)
                return
        was_open, self._is_open = self._is_open, False
        await stop(self._opening, self._refresher)
        if was_open:
            await self._close()

    async def _close(self) -> None:
        self._is_open, self._is_closing = False, True
        try:
            for closing in (
                self.start_report.close,
                self.warm_up.close,
                self.indexer.close,
                self.limiter.close,
                self.usage.close,
                self.resolver.close,
                self._close_stores,
            ):
                await _run_cleanup(closing)
        finally:
            self.memory.clear()  # its entries lead to reservations that have given everything back
            self._is_closing = False

    async def _close_stores(self) -> None:
        await _run_cleanup(self.follower.stop)
        for store in (self._stores.counters, self._stores.link, self._stores.postgres):
            await _run_cleanup(getattr(store, "close", None))

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _refresh(self) -> None:
        try:
            while True:
                await asyncio.sleep(REFRESH_INTERVAL)
                with suppress(StoreError):  # the entries stay, and are read when they are asked for
                    await self.resolver.refresh_due()
        except asyncio.CancelledError:
            # Not by `close`: the loop is ending, as `asyncio.run` ends one, and waits for this task.
            if self._is_open and self._loop is running_loop():
                logger.info("the event loop ends: closing the TenantCache that is open in it")
                await self._close()
            raise

    def after_fork_in_child(self) -> None:
        """Sockets and tokens belong to the parent: start from nothing, under a name of one's own."""
        self.limiter.forget()
        self.usage.forget()
        self.memory.clear()
        self._is_open = self._is_closing = False
        self._opening = self._refresher = None
        if self._loop is not None and self._stores.link is not None:
            self._stores.link.leave_to_parent()
        if self.fleet_counters is not None:
            self.fleet_counters.forget()
        self._loop = None
        self._assemble()

    # What the follower calls.

    def changed(self, entry: LogEntry) -> None:
        self.resolver.changed(entry)
        self.indexer.changed(entry)
        if entry.kind is ChangeKind.RESET:
            self.limiter.restart(entry.tenant_id)

    def flush(self) -> None:
        self.resolver.flush()
        self.indexer.flush()

    def clock_moved(self) -> None:
        moved_by, self._offset = self.server_time.offset - self._offset, self.server_time.offset
        self.limiter.clock_moved()
        self.shadow.forget()
        if self.fleet_counters is not None:
            self.fleet_counters.clock_moved(moved_by)

    # Tenants.

    async def resolve(self, host: str) -> Tenant | None:
        """The tenant of `host` (as in a Host header, port allowed), whatever its status; None where there is none.

        Raises `StoreUnavailableError` where nobody can say, `NotOpenError` before `open`.
        """
        match = self.hosts.classify(host.encode("utf-8", "surrogateescape"))
        return (await self.find(match)).tenant if match.alias is not None else None

    async def resolve_name(self, name: str, *, kind: str = "") -> Tenant | None:
        """The tenant that has `name` within `kind`, whatever its status; None if there is none. Old names count.

        Names within a kind are an adopted query's `slug`, `slugs` and `old_slugs`, and in a kind that has a name its
        subdomains and old names as well. Raises as `resolve`, and ValueError if `kind` cannot be one.
        """
        if kind and not is_kind(kind):
            raise ValueError(f"kind {kind!r:.80} is not possible; a kind is made of a to z, 0 to 9, _ and -")
        alias = alias_of_name(name, kind)
        self._require_open()
        return None if alias is None else (await self.resolver.find(alias)).tenant

    async def find(self, match: HostMatch) -> Entry:
        """The entry that a classified host with an alias leads to; its `tenant` may be None. Raises as `resolve`."""
        self._require_open()
        assert match.alias is not None
        return await self.resolver.find(match.alias)

    async def get_many(self, ids: Sequence[str]) -> dict[str, Tenant]:
        """The tenants of `ids` that exist, by id: from memory, then one MGET, then one query. Raises as `resolve`."""
        self._require_open()
        return await self.resolver.find_ids(ids)

    async def invalidate(self, tenant_id: str) -> None:
        """Make every process read the tenant again, under all its aliases. Raises `StoreUnavailableError`.

        Only needed where a change happened outside the database: what the tables say is followed anyway.
        """
        self._require_open()
        held = [entry.tenant for entry in self.memory.of_tenant(tenant_id)]
        names = {alias for tenant in held if tenant is not None for alias in tenant.aliases}
        try:
            # Names that no trigger has told of are in the database alone.
            alias = id_alias(tenant_id)
            row = (await self._stores.tenants.read([alias])).rows[alias]
            aliases = sorted(names if row is None else names.union(aliases_of(row)))
            await self._stores.tenants.log_change(tenant_id, aliases)
        except StoreError as error:
            raise StoreUnavailableError(str(error)) from error
        await self.sync()
        if self._stores.copies is not None and aliases:
            with suppress(StoreError):  # hygiene: those copies are refused from now on anyway
                await self._stores.copies.drop(aliases)

    async def sync(self) -> None:
        """Return once every change committed before this call has been applied here: read-your-writes.

        Raises `StoreUnavailableError` where the log cannot be read.
        """
        self._require_open()
        await self.follower.sync(SYNC_TIMEOUT)

    # Limits.

    async def check(self, tenant: Tenant, cost: int = 1) -> Decision:
        """Spend `cost` of the tenant's tokens, or say when to come back. Never raises for a store that is away."""
        self._require_open()
        decision = await self.limiter.check(tenant, cost)
        if decision.allowed or self.settings.limits != "shadow":
            return decision
        self.limiter.note_unbacked(tenant, cost)
        return self.shadow.admit(tenant.id, decision, self.server_now())

    async def check_named(self, tenant: Tenant, name: str, limits: Limits, cost: int = 1) -> Decision:
        """As `check`, for a limit beside the tenant's own: `tenantcache.limits` is the usual way to it."""
        self._require_open()
        if self.settings.limits == "off":
            return ADMITTED
        decision = await self.limiter.check_named(tenant, name, limits, cost)
        if decision.allowed or self.settings.limits != "shadow":
            return decision
        return self.shadow.admit(tenant.id, decision, self.server_now())

    async def peek(self, tenant: Tenant) -> tuple[Quota, ...]:
        """What is left of each of the tenant's limits, for one Redis command; what other processes hold in advance
        counts as used. Raises `StoreUnavailableError`. `quotas` tells what is known here, for nothing."""
        self._require_open()
        try:
            return await self.limiter.peek(tenant)
        except StoreError as error:
            raise StoreUnavailableError(str(error)) from error

    def refund(
        self, tenant: Tenant, cost: int = 1, *, admitted_at: float | None = None, name: str | None = None
    ) -> int:
        """Give back `cost` tokens that were admitted in this process; return how many the day got back.

        `admitted_at` is `Decision.at` of the admission. Without it nobody knows whether its minute is over, and only
        the day gets tokens back. `name`: they were admitted by `check_named`. Never more than was spent here; no I/O.
        """
        self._require_open()
        return self.limiter.refund(tenant, cost, admitted_at, name)

    async def reset(self, tenant_id: str, *, named: Iterable[str] = ()) -> None:
        """Let the tenant begin anew: this minute and this day are unused from now on, and no process refuses any more.

        Named limits are those that this engine has counted, and those called `named`: a process that serves no routes
        has counted none. So at most one more limit is admitted in them. Costs one Redis command, one for each named
        limit, and two reads and a write of Postgres. Raises `StoreUnavailableError`, `UnknownTenantError`.
        """
        self._require_open()
        tenant = (await self.get_many([tenant_id])).get(tenant_id)
        if tenant is None:
            raise UnknownTenantError(f"there is no tenant with the id {tenant_id!r}")
        try:
            await self.limiter.reset(tenant, named)
            await self._stores.tenants.log_reset(tenant_id)
        except StoreError as error:
            raise StoreUnavailableError(str(error)) from error
        await self.sync()

    def quotas(self, tenant: Tenant) -> tuple[Quota, ...]:
        """What is left of each of the tenant's limits, as far as this process knows. No I/O, and nothing is spent."""
        return self.limiter.quotas(tenant)

    # What older parts ask of the follower, which is made last, and made anew in another loop.
    def _count_processes(self) -> int:
        return self.follower.processes

    def _put_in_force(self, tenant: Tenant) -> None:
        self._plan_names.note(tenant)
        self.limiter.update(tenant)

    def _newest(self, tenant: Tenant) -> Tenant:
        held = self.memory.of_tenant(tenant.id)
        return held[-1].tenant or tenant if held else tenant

    def _is_valid(self) -> bool:
        return self.freshness.is_valid(self.clock())

    def _wake_follower(self) -> None:
        self.follower.wake()

    def _pulled(self, pull: Pull) -> None:
        if self.fleet_counters is not None:
            self.fleet_counters.follow(pull)

    def _require_open(self) -> None:
        if not self._is_open:
            raise not_open()
        self._require_here()

    def _require_here(self) -> None:
        if self.is_elsewhere() and self._loop is not None:
            raise open_elsewhere(self._loop)

    # What is going on.

    def stats(self) -> Stats:
        """Counts since the start of this process, and states as they are now: see docs/api.md. No I/O."""
        link, postgres, now = self._stores.link, self._stores.postgres, self.clock()
        counters = None if self.fleet_counters is None else self.fleet_counters.stats()
        return {
            "memory": self.memory.stats(),
            "lookups": {**self.resolver.stats(), "warmed_up": self.warm_up.tenants},
            "freshness": {**self.freshness.stats(now), **self.follower.stats()},
            "index": self.indexer.stats(),
            "limits": {**self.limiter.stats(), "shadowed": self.shadow.count, "counters": counters},
            "usage": self.usage.stats(),
            "redis": {"configured": link is not None, **(NO_REDIS if link is None else link.stats())},
            "postgres": {"queries": 0 if postgres is None else postgres.queries},
        }


async def _run_cleanup(cleanup: Callable[[], Awaitable[object]] | None) -> None:
    try:
        if cleanup is not None:
            await cleanup()
    except Exception:
        logger.exception("closing goes on past what failed")
