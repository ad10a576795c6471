"""The fleet's budget as Postgres has it, for a command: no provider is asked, nothing is written or sent to Redis."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from tenantcache.budget.core.bands import Band, BandInForce
from tenantcache.budget.core.budget import Budget
from tenantcache.budget.core.meter import Meter
from tenantcache.budget.core.savings import BandAhead, bands_ahead
from tenantcache.budget.governor import Governor
from tenantcache.budget.provider import ProviderError, ProviderWatch
from tenantcache.errors import POSTGRES_FAILURES, told_as_unavailable
from tenantcache.settings.model import Settings
from tenantcache.stores.postgres import PostgresTenants
from tenantcache.stores.redisusage import PostgresRedisUsage
from tenantcache.wiring.assemble import make_fleet_use

_STANDING = """
    select extract(epoch from clock_timestamp())::float8 as server_time, c.band,
        (select count(*) from tenantcache.processes where seen_at > now() - interval '30 seconds') as processes
    from tenantcache.counter_store c
"""


@dataclass(frozen=True, slots=True)
class FleetBudget:
    """`summary` is what `TenantCache.budget` has. `ahead` are the bands above the fleet's; none without a budget."""

    summary: Budget
    ahead: Sequence[BandAhead] = ()


class OnlookersUsage(PostgresRedisUsage):
    """What the fleet has written: nothing of it is dropped, and no question falls to this process."""

    async def drop_before(self, hour: int) -> None:
        pass

    async def claim_question(self, interval: timedelta) -> bool:
        return False


class _NoProvider:
    async def read(self) -> int:
        raise ProviderError("a command does not ask")


async def read_fleet_budget(settings: Settings, postgres: PostgresTenants) -> FleetBudget:
    """Raises `StoreUnavailableError`."""
    with told_as_unavailable(*POSTGRES_FAILURES):
        [standing] = await postgres.fetch("reading the band of the budget", _STANDING)
    band, processes = Band(standing["band"]), standing["processes"]
    ahead: float = standing["server_time"] - time.time()
    store, meter = OnlookersUsage(postgres), Meter(settings.tariff)

    def server_now() -> float:
        return time.time() + ahead

    use = make_fleet_use(settings, store, meter, server_now, ProviderWatch(_NoProvider(), store))
    await use.report()
    summary = replace(use.summary(), band=band.value)
    governor = Governor(
        None, use, BandInForce(), None, server_now=server_now, processes=lambda: processes, ask_log=lambda: None
    )
    if (known := governor.use()) is None:
        return FleetBudget(summary)
    return FleetBudget(summary, bands_ahead(band, known, use.by_purpose(), summary.forecast.expected))
