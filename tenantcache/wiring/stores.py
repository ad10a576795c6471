"""What an engine stands on, made from settings or brought along by the application."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from tenantcache.admin.registry import Registry
from tenantcache.admin.usagestore import UsageStore
from tenantcache.budget.bandstore import BandStore
from tenantcache.budget.core.bands import BandInForce
from tenantcache.budget.core.meter import Meter
from tenantcache.budget.provider import ProviderWatch
from tenantcache.budget.usestore import UseStore
from tenantcache.fleet.reportstore import ReportStore
from tenantcache.freshness.log import ChangeLog
from tenantcache.lookup.frugalcopies import FrugalCopies
from tenantcache.lookup.sources import CopyStore, HostSource, RowSource, TenantStore
from tenantcache.ratelimit.counters import FleetCounters
from tenantcache.ratelimit.counterstore import CounterStore
from tenantcache.ratelimit.slots import MemorySlots, OneGroup, Slots
from tenantcache.runtime.tracing import Tracing
from tenantcache.settings.model import Settings
from tenantcache.stores.bands import PostgresBands
from tenantcache.stores.changelog import PostgresLog
from tenantcache.stores.counterchoice import PostgresChoices
from tenantcache.stores.counters import PostgresCounters
from tenantcache.stores.postgres import PostgresTenants
from tenantcache.stores.processreports import PostgresReports
from tenantcache.stores.redis import RedisLink
from tenantcache.stores.rediscopies import RedisCopies
from tenantcache.stores.rediscounters import RedisCounters
from tenantcache.stores.redisusage import PostgresRedisUsage
from tenantcache.stores.redisvalues import RedisValues
from tenantcache.stores.registry import PostgresRegistry
from tenantcache.stores.slots import PostgresSlots
from tenantcache.stores.upstash import UpstashProvider
from tenantcache.stores.usage import PostgresUsage
from tenantcache.values.valuestore import ValueCopies


@dataclass(slots=True)
class Stores:
    """What the engine stands on. `link` is the connection behind `copies`, `values` and `counters`, if that is
    Redis.

    `registry` writes tenants, and `usage` what they used; without one, nothing is written.
    `rows` is what memory is warmed up from, if that is wanted. `slots` are the places in `counters`.
    `redis_usage` is what the fleet tells of its use of Redis; without one, each process knows of its own alone.
    `provider` is asked what it has billed. `bands` has the band of the budget; without one, it stays NORMAL. `in_force`
    is what `copies` go by. `tracing` is told of I/O. `reports` are those of the fleet's processes, if they can be read
    and written.
    """

    tenants: TenantStore
    hosts: HostSource
    log: ChangeLog
    counters: CounterStore
    copies: CopyStore | None = None
    values: ValueCopies | None = None
    registry: Registry = field(default_factory=lambda: PostgresRegistry(None))
    usage: UsageStore | None = None
    postgres: PostgresTenants | None = None
    link: RedisLink | None = None
    rows: RowSource | None = None
    slots: Slots = field(default_factory=MemorySlots)
    provider: ProviderWatch | None = None
    redis_usage: UseStore | None = None
    bands: BandStore | None = None
    reports: ReportStore | None = None
    in_force: BandInForce = field(default_factory=BandInForce)
    tracing: Tracing = field(default_factory=Tracing)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        postgres, in_force, tracing = PostgresTenants(settings.database_url), BandInForce(), Tracing()
        link = copies = values = in_redis = None
        if settings.redis_url is not None:
            link = RedisLink(
                settings.redis_url, prefix=settings.key_prefix, meter=Meter(settings.tariff), tracing=tracing
            )
            in_copies = RedisCopies(
                link,
                prefix=settings.key_prefix,
                ttl=settings.redis_ttl,
                max_value_bytes=settings.max_value_bytes,
                in_force=in_force,
            )
            copies = FrugalCopies(in_copies, in_force)
            values = RedisValues(link)
            if settings.counters == "redis":
                in_redis = RedisCounters(link, prefix=settings.key_prefix)
        return cls(
            tenants=postgres,
            hosts=postgres,
            log=PostgresLog(settings.database_url, listen_url=settings.listen_url),
            counters=FleetCounters(
                in_redis, PostgresCounters(postgres), PostgresChoices(postgres), link if in_redis else None
            ),
            copies=copies,
            values=values,
            registry=PostgresRegistry(postgres),
            usage=PostgresUsage(postgres),
            postgres=postgres,
            link=link,
            rows=postgres,
            slots=PostgresSlots(postgres) if in_redis else OneGroup(),
            redis_usage=PostgresRedisUsage(postgres),
            provider=_make_provider(settings, PostgresRedisUsage(postgres)),
            bands=PostgresBands(postgres),
            reports=PostgresReports(postgres),
            in_force=in_force,
            tracing=tracing,
        )


def _make_provider(settings: Settings, store: PostgresRedisUsage) -> ProviderWatch | None:
    email, key, database_id = settings.upstash_email, settings.upstash_api_key, settings.upstash_database_id
    if email is None or key is None or database_id is None:
        return None
    return ProviderWatch(UpstashProvider(email, key.get_secret_value(), database_id), store)
