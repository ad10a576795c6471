"""The engine: what applications and the faces (the middleware, the commands) call. `wiring` makes its parts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

from tenantcache.admin.domains import Domains
from tenantcache.admin.tenants import Tenants
from tenantcache.admin.usage import Usage
from tenantcache.admin.writethrough import aliases_of
from tenantcache.budget.core.budget import Budget
from tenantcache.errors import StoreError, UnknownTenantError, told_as_unavailable
from tenantcache.fleet.reports import Reports
from tenantcache.freshness.callbacks import OnChangeDecorator
from tenantcache.freshness.core.freshness import Freshness
from tenantcache.freshness.core.servertime import ServerTime
from tenantcache.freshness.follower import Follower
from tenantcache.lifecycle import Companion, LifeCycle
from tenantcache.lookup.core.alias import id_alias
from tenantcache.lookup.core.hosts import HostMatch, HostRules
from tenantcache.lookup.core.names import alias_of_name, is_kind
from tenantcache.lookup.entry import Entry
from tenantcache.lookup.fastpath import Engine
from tenantcache.lookup.fastpaths import FastPaths
from tenantcache.lookup.indexer import Indexer
from tenantcache.lookup.memory import Memory
from tenantcache.lookup.resolver import Resolver
from tenantcache.lookup.warmup import WarmUp
from tenantcache.ratelimit.core.decision import AdmittedAt, Decision, Quota
from tenantcache.ratelimit.limiter import ADMITTED, Limiter
from tenantcache.runtime import clock as clocks
from tenantcache.runtime.clock import Clock
from tenantcache.runtime.eventloops import Home
from tenantcache.runtime.tracing import Tracing
from tenantcache.settings.model import Settings
from tenantcache.stats import HealthState, Stats
from tenantcache.tenant import Limits, Tenant
from tenantcache.values.parts import ValueParts
from tenantcache.values.values import Values
from tenantcache.wiring.assemble import assemble
from tenantcache.wiring.refusals import Refusals
from tenantcache.wiring.statistics import state_of, stats_of
from tenantcache.wiring.stores import Stores


class TenantCache(Engine):
    """Finds tenants and checks their limits, in this process as far as that is possible.

    Open it before use, by `async with` or `open`; the middleware does so by itself. It is open in one event loop at a
    time, and calls in another one raise `NotOpenError`. When that loop ends as `asyncio.run` ends it, the engine is
    closed with it, and may be opened in the next.

    docs/api.md lists what is public. Other attributes are for the package itself.
    """

    settings: Settings
    tenants: Tenants
    domains: Domains
    usage: Usage
    on_change: OnChangeDecorator
    values: Values

    clock: Clock
    server_now: Callable[[], float]
    is_elsewhere: Callable[[], bool]
    hosts: HostRules
    freshness: Freshness
    server_time: ServerTime
    memory: Memory
    limiter: Limiter
    fast_paths: FastPaths
    refusals: Refusals
    companions: list[Companion]
    route_limits: dict[str, Limits]
    tracing: Tracing
    reports: Reports

    _home_class: type[Home] = Home
    _value_parts_class: type[ValueParts] = ValueParts

    def __init__(
        self, settings: Settings | None = None, *, stores: Stores | None = None, clock: Clock = clocks.now
    ) -> None:
        self.settings = settings if settings is not None else Settings()
        made = stores if stores is not None else Stores.from_settings(self.settings)
        self._parts = parts = assemble(self.settings, made, clock, self._home_class(), self._value_parts_class)
        self._life, self.on_change = LifeCycle(parts), parts.changes.callbacks.add
        self.tenants, self.domains, self.usage, self.values = parts.tenants, parts.domains, parts.usage, parts.values
        self.clock, self.server_now, self.is_elsewhere = clock, parts.server_now, parts.home.is_elsewhere
        self.hosts, self.freshness, self.server_time = parts.hosts, parts.freshness, parts.server_time
        self.memory, self.limiter, self.fast_paths = parts.memory, parts.limiter, parts.fast_paths
        self.tracing = made.tracing
        self.companions, self.refusals = self._life.companions, parts.refusals
        self.reports = parts.reports
        self.route_limits = {}  # the figures of its routes' named limits, which they share

    # Those of the event loop that it is open in.

    @property
    def resolver(self) -> Resolver:
        return self._parts.in_loop.resolver

    @property
    def indexer(self) -> Indexer:
        return self._parts.in_loop.indexer

    @property
    def warm_up(self) -> WarmUp:
        return self._parts.in_loop.warm_up

    @property
    def follower(self) -> Follower:
        return self._parts.in_loop.follower

    # Life.

    @property
    def is_open(self) -> bool:
        """Whether it is open, in some event loop."""
        return self._parts.home.is_open

    async def open(self) -> None:
        """Connect, load the tail of the log and follow it; again is harmless.

        Raises `SchemaMissingError`, `StoreUnavailableError`, and `NotOpenError` while another event loop has it open.
        Redis may be unavailable: it is used as soon as it answers.
        """
        await self._life.open()

    async def close(self) -> None:
        """Give back unused tokens, sign off and disconnect. Goes on past whatever fails; again is harmless.

        Raises `NotOpenError` while another event loop has it open. After that loop has ended it connects once more.
        """
        await self._life.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        # Not if the settings were wrong: then there is nothing to close.
        if "_parts" in self.__dict__ and self.is_open:
            warnings.warn(f"{self!r} was dropped without being closed", ResourceWarning, source=self, stacklevel=2)

    # Tenants.

    async def resolve(self, host: str) -> Tenant | None:
        """The tenant of `host` (as in a Host header, port allowed), whatever its status; None if there is none.

        Raises `StoreUnavailableError` if no store can say, `NotOpenError` before `open`.
        """
        match = self.hosts.classify(host.encode("utf-8", "surrogateescape"))
        return (await self.find(match)).tenant if match.alias is not None else None

    async def resolve_name(self, name: str, *, kind: str = "") -> Tenant | None:
        """The tenant that has `name` within `kind`, whatever its status; None if there is none. Old names count.

        Names within a kind are an adopted query's `slug`, `slugs` and `old_slugs`. In a kind that has a name they are
        its subdomains and old names as well. Raises as `resolve`, and ValueError if `kind` cannot be one.
        """
        if kind and not is_kind(kind):
            raise ValueError(f"kind {kind!r:.80} is not possible; a kind is made of a to z, 0 to 9, _ and -")
        alias = alias_of_name(name, kind)
        self._parts.home.require_open()
        return None if alias is None else (await self.resolver.find(alias)).tenant

    async def find(self, match: HostMatch) -> Entry:
        """The entry that a classified host with an alias leads to; its `tenant` may be None. Raises as `resolve`."""
        self._parts.home.require_open()
        assert match.alias is not None
        return await self.resolver.find(match.alias)

    async def get_many(self, ids: Sequence[str]) -> dict[str, Tenant]:
        """The tenants of `ids` that exist, by id: from memory, then one MGET, then one query. Raises as `resolve`."""
        self._parts.home.require_open()
        return await self.resolver.find_ids(ids)

    async def invalidate(self, tenant_id: str) -> None:
        """Make every process read the tenant again, under all its aliases. Raises `StoreUnavailableError`.

        Only needed if a change happened outside the database: what the tables say is followed anyway.
        """
        self._parts.home.require_open()
        names = {alias for tenant in self.memory.tenants_of(tenant_id) for alias in tenant.aliases}
        stores = self._parts.stores
        with told_as_unavailable(StoreError):
            # Names that no trigger has told of are in the database alone.
            alias = id_alias(tenant_id)
            row = (await stores.tenants.read([alias])).rows[alias]
            aliases = sorted(names if row is None else names.union(aliases_of(row)))
            await stores.tenants.log_change(tenant_id, aliases)
        await self.sync()
        if stores.copies is not None and aliases:
            with suppress(StoreError):  # hygiene: those copies are refused from now on anyway
                await stores.copies.drop(aliases)

    async def sync(self) -> None:
        """Return once every change committed before this call has been applied here: read-your-writes.

        Raises `StoreUnavailableError` if the log cannot be read.
        """
        await self._parts.in_loop.sync()

    # Limits.

    async def check(self, tenant: Tenant, cost: int = 1) -> Decision:
        """Spend `cost` of the tenant's tokens, or say when to come back. Never raises for a store that is unavailable.

        ValueError unless `cost` is a whole number from 1.
        """
        self._parts.home.require_open()
        decision = await self.limiter.check(tenant, cost)
        if decision.allowed or self.settings.limits != "shadow":
            return decision
        self.limiter.note_unbacked(tenant, cost)
        return self._parts.shadow.admit(tenant.id, decision, self.server_now())

    async def check_named(self, tenant: Tenant, name: str, limits: Limits, cost: int = 1) -> Decision:
        """As `check`, for a limit beside the tenant's own: `tenantcache.limits` is the usual way to it."""
        self._parts.home.require_open()
        if self.settings.limits == "off":
            return ADMITTED
        decision = await self.limiter.check_named(tenant, name, limits, cost)
        if decision.allowed or self.settings.limits != "shadow":
            return decision
        return self._parts.shadow.admit(tenant.id, decision, self.server_now())

    async def peek(self, tenant: Tenant) -> tuple[Quota, ...]:
        """What is left of each of the tenant's limits, for two Redis commands; what other processes hold in advance
        counts as used. Raises `StoreUnavailableError`. `quotas` tells what is known here, for nothing."""
        self._parts.home.require_open()
        with told_as_unavailable(StoreError):
            return await self.limiter.peek(tenant)

    def refund(
        self, tenant: Tenant, cost: int = 1, *, admitted_at: AdmittedAt = "today", name: str | None = None
    ) -> int:
        """Give back `cost` tokens that were admitted in this process; return how many the day got back.

        `admitted_at` is `Decision.at` of the admission. Without it, it is not known whether that minute is over, and
        only the day gets tokens back; with None, nothing. `name`: they were admitted by `check_named`. Never more than
        was spent here; no I/O. Raises ValueError.
        """
        self._parts.home.require_open()
        return self.limiter.refund(tenant, cost, admitted_at, name)

    async def reset(self, tenant_id: str, *, named: Iterable[str] = ()) -> None:
        """Let the tenant begin anew: this minute and this day are unused from now on, and no process refuses any more.

        Named limits are those that this engine has counted, and those called `named`: a process that serves no routes
        has counted none. So at most one more limit is admitted in them. Costs two Redis commands, one for each named
        limit, and two reads and a write of Postgres. Raises `StoreUnavailableError`, `UnknownTenantError`.
        """
        self._parts.home.require_open()
        tenant = (await self.get_many([tenant_id])).get(tenant_id)
        if tenant is None:
            raise UnknownTenantError(f"there is no tenant with the id {tenant_id!r}")
        with told_as_unavailable(StoreError):
            await self.limiter.reset(tenant, named)
            await self._parts.stores.tenants.log_reset(tenant_id)
        await self.sync()

    def quotas(self, tenant: Tenant) -> tuple[Quota, ...]:
        """What is left of each of the tenant's limits, as far as this process knows. No I/O, and nothing is spent."""
        return self.limiter.quotas(tenant)

    # What is going on.

    @property
    def state(self) -> HealthState:
        """Whether it can do its work: docs/states.md says what each state means. No I/O."""
        return state_of(self._parts)

    @property
    def budget(self) -> Budget:
        """What the fleet uses of its Redis in this period, what that costs, and a forecast: see docs/api.md. No I/O."""
        return replace(self._parts.fleet_use.summary(), band=self._parts.governor.band)

    def stats(self) -> Stats:
        """Counts since the start of this process, and states as they are now: see docs/api.md. No I/O."""
        return stats_of(self._parts)
