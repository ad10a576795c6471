"""Makes the parts of an engine and joins them, in one pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from tenantcache.admin.domains import Domains
from tenantcache.admin.plannames import PlanNames
from tenantcache.admin.tenants import Tenants
from tenantcache.admin.usage import Usage
from tenantcache.admin.usagestore import UsageStore
from tenantcache.admin.writethrough import WriteThrough
from tenantcache.budget.core.bands import Band
from tenantcache.budget.core.meter import Meter
from tenantcache.budget.core.signature import key_of
from tenantcache.budget.fleetuse import FleetUse
from tenantcache.budget.governor import Governor
from tenantcache.budget.provider import ProviderWatch
from tenantcache.budget.usestore import UseStore
from tenantcache.budget.webhook import Webhook
from tenantcache.fleet.reports import Reports
from tenantcache.freshness.core.freshness import Freshness
from tenantcache.freshness.core.servertime import ServerTime
from tenantcache.freshness.log import VALUES_ID
from tenantcache.lookup.core.hosts import HostRules
from tenantcache.lookup.fastpaths import FastPaths
from tenantcache.lookup.memory import Memory
from tenantcache.ratelimit.core.policy import DEFAULT_POLICY, THRIFTY_POLICY
from tenantcache.ratelimit.counters import FleetCounters
from tenantcache.ratelimit.limiter import Limiter
from tenantcache.ratelimit.shadow import ShadowLog
from tenantcache.runtime.clock import Clock
from tenantcache.runtime.eventloops import Home
from tenantcache.settings.model import Settings
from tenantcache.tenant import Tenant
from tenantcache.values.codecs import Codecs
from tenantcache.values.core.writequeue import WriteQueue
from tenantcache.values.memory import ValueMemory
from tenantcache.values.parts import ValueParts
from tenantcache.values.sharing import ValueSharing
from tenantcache.values.values import Values
from tenantcache.wiring.changes import Changes
from tenantcache.wiring.inloop import InLoop
from tenantcache.wiring.parts import Parts
from tenantcache.wiring.statistics import stats_of
from tenantcache.wiring.stores import Stores


def assemble(
    settings: Settings,
    stores: Stores,
    clock: Clock,
    home: Home,
    value_parts: Callable[..., ValueParts] = ValueParts,
) -> Parts:
    """Make all parts of an engine, and join them. No I/O."""
    parts = _make_parts(settings, stores, clock, home, value_parts)
    parts.reports.read = partial(stats_of, parts)
    parts.renew()
    return parts


def _make_parts(
    settings: Settings, stores: Stores, clock: Clock, home: Home, value_parts: Callable[..., ValueParts]
) -> Parts:
    hosts = HostRules(settings.base_domains, settings.reserved_subdomains, settings.base_domain_tenant)
    server_time = ServerTime(offset=time.time() - clock())
    server_now = partial(_server_now, clock, server_time)
    memory, in_loop, shadow = _make_memory(settings, clock), InLoop(home), ShadowLog()
    limiter = _make_limiter(settings, stores, memory, server_now, in_loop)
    fleet_counters = stores.counters if isinstance(stores.counters, FleetCounters) else None
    governor = _make_governor(settings, stores, limiter, server_now, in_loop)
    write_through = WriteThrough(stores.tenants, stores.copies, in_loop.sync)
    freshness = Freshness(max_staleness=settings.max_staleness, stale_if_error=settings.stale_if_error)
    values = _make_values(settings, stores, freshness, clock, server_now, in_loop, home, value_parts)
    usage = _make_usage(settings, stores.usage, limiter, server_now, home)
    return Parts(
        settings=settings,
        stores=stores,
        clock=clock,
        server_now=server_now,
        home=home,
        hosts=hosts,
        freshness=freshness,
        server_time=server_time,
        memory=memory,
        limiter=limiter,
        fast_paths=_make_fast_paths(memory, freshness, server_time, limiter, home),
        fleet_counters=fleet_counters,
        shadow=shadow,
        usage=usage,
        governor=governor,
        tenants=Tenants(stores.registry, write_through, hosts, settings.limit_table, home.require_open),
        domains=Domains(stores.registry, write_through, hosts, home.require_open),
        plan_names=PlanNames(settings.plans),
        values=values,
        changes=Changes(in_loop, limiter, shadow, server_time, fleet_counters, governor, values.parts),
        in_loop=in_loop,
        reports=Reports(stores.reports, usage.collect, limiter.refused.drain, server_now=server_now),
    )


def _server_now(clock: Clock, server_time: ServerTime) -> float:
    return clock() + server_time.offset


def _make_memory(settings: Settings, clock: Clock) -> Memory:
    return Memory(
        max_tenants=settings.memory_max_tenants,
        ttl=settings.memory_ttl,
        grace=settings.stale_if_error,
        negative_ttl=settings.negative_ttl,
        clock=clock,
    )


def _make_values(
    settings: Settings,
    stores: Stores,
    freshness: Freshness,
    clock: Clock,
    server_now: Callable[[], float],
    in_loop: InLoop,
    home: Home,
    value_parts: Callable[..., ValueParts],
) -> Values:
    sharing = ValueSharing(
        stores.values, stores.in_force, is_billed=settings.tariff.bills, max_value_bytes=settings.max_value_bytes
    )
    parts = value_parts(
        ValueMemory(settings.values_max_entries, settings.values_max_bytes),
        freshness,
        sharing,
        partial(stores.tenants.log_change, VALUES_ID),
        in_loop.sync,
        require_open=home.require_open,
        prefix=settings.key_prefix,
        negative_ttl=settings.negative_ttl,
        clock=clock,
        server_now=server_now,
        kinds=settings.values_kinds,
        codecs=Codecs(is_packed=settings.values_format == "msgpack"),
        write_queue=WriteQueue(settings.values_max_writes, settings.values_max_write_bytes),
    )
    return Values(parts)


def _make_fast_paths(
    memory: Memory, freshness: Freshness, server_time: ServerTime, limiter: Limiter, home: Home
) -> FastPaths:
    return FastPaths(memory, freshness, server_time, reservation_of=limiter.meter_of, is_elsewhere=home.is_elsewhere)


def _make_usage(
    settings: Settings, store: UsageStore | None, limiter: Limiter, server_now: Callable[[], float], home: Home
) -> Usage:
    return Usage(
        store,
        limiter.drain,
        server_now=server_now,
        interval=settings.usage_interval,
        require_here=home.require_here,
    )


def _meter(settings: Settings, stores: Stores) -> Meter:
    return Meter(settings.tariff) if stores.link is None else stores.link.meter


def make_fleet_use(
    settings: Settings,
    store: UseStore | None,
    meter: Meter,
    server_now: Callable[[], float],
    provider: ProviderWatch | None,
) -> FleetUse:
    """What `settings` say of a period and its budget."""
    daily = settings.redis_daily_budget
    return FleetUse(
        store,
        meter,
        server_now=server_now,
        unit="month" if daily is None else "day",
        first_day=settings.redis_billing_day,
        budget=settings.redis_monthly_budget if daily is None else daily,
        provider=provider,
    )


def _make_governor(
    settings: Settings,
    stores: Stores,
    limiter: Limiter,
    server_now: Callable[[], float],
    in_loop: InLoop,
) -> Governor:
    def change(band: Band) -> None:
        limiter.use_policy(THRIFTY_POLICY if band.is_thrifty else DEFAULT_POLICY)

    url, secret = settings.budget_webhook_url, settings.budget_webhook_secret
    return Governor(
        stores.bands,
        make_fleet_use(settings, stores.redis_usage, _meter(settings, stores), server_now, stores.provider),
        stores.in_force,
        None if url is None or secret is None else Webhook(url, key_of(secret)),
        server_now=server_now,
        processes=in_loop.count_processes,
        ask_log=in_loop.wake_follower,
        on_change=change,
    )


def _make_limiter(
    settings: Settings, stores: Stores, memory: Memory, server_now: Callable[[], float], in_loop: InLoop
) -> Limiter:
    def newest(tenant: Tenant) -> Tenant:
        return memory.tenant_of(tenant.id) or tenant

    store = stores.counters
    limiter = Limiter(
        store,
        stores.slots,
        server_now=server_now,
        processes=in_loop.count_processes,
        on_error=settings.on_limiter_error,
        enforced=settings.limits != "off",
        sliding=settings.minute_window == "sliding",
        counts_unlimited=settings.usage_interval > 0,
        counts_spending=settings.usage_interval > 0,
        newest=newest,
        is_cached=lambda tenant_id: bool(memory.aliases_of(tenant_id)),
        tracing=stores.tracing,
    )
    if isinstance(store, FleetCounters):
        limiter.share_counters(store.version_of, store.note_lost, store.is_billed)
        limiter.local_share.place = store.holder.place
    return limiter
