"""What a scrape of the metrics takes with very many tenants in memory, and two months of use of Redis to add up.

    python -m benchmarks.scrape
    python -m benchmarks.scrape --tenants 10000

One process on stand-ins, so that our own code is all that runs. Times are those that the process computed, in
milliseconds: the median of 40 scrapes, and the longest.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Callable

from tenantcache import TenantCache
from tenantcache.budget.core.meter import Command, Meter, Purpose
from tenantcache.budget.core.period import DAY, HOUR
from tenantcache.lookup.core.alias import id_alias
from tenantcache.observability.prometheus import MetricsApp
from tests.asgi import get
from tests.fakes import FakeClock, FakeDatabase, make_cache, row

SCRAPES = 40
STEP = 1_000
KEPT_DAYS = 62

COMMANDS = ("GET", "SET", "MGET", "BITFIELD", "EXPIRE", "UNLINK", "PING")


async def fill(cache: TenantCache, tenants: int) -> None:
    """Have all of them in memory, and each with a reservation."""
    for start in range(0, tenants, STEP):
        found = await cache.get_many([f"t{number}" for number in range(start, start + STEP)])
        for tenant in found.values():
            cache.limiter.meter_of(tenant)


def use_redis(cache: TenantCache, meter: Meter) -> None:
    """As many sorts of commands as there can be, and what others have used in each hour of two months."""
    for purpose in Purpose:
        meter.send([Command(purpose, (name, "key")) for name in COMMANDS])
    fleet_use, now = cache._parts.fleet_use, int(cache.server_now() // HOUR)
    hours = range(now - KEPT_DAYS * DAY // HOUR, now)
    fleet_use._others = Counter({(hour, purpose): 17 for hour in hours for purpose in Purpose})
    fleet_use.read_at = cache.server_now()


async def measure(app: MetricsApp) -> str:
    took = []
    for _ in range(SCRAPES):
        started = time.process_time()
        answer = await get(app)
        took.append((time.process_time() - started) * 1_000)
    return f"{statistics.median(took):.1f} ms, at most {max(took):.1f} ms, {len(answer.body):,} bytes"


async def main(tenants: int) -> None:
    clock = FakeClock()
    database = FakeDatabase(clock)
    rows = {id_alias(f"t{number}"): row(f"t{number}") for number in range(tenants)}
    owner: Callable[[str], object] = rows.get
    database.owner = owner  # type: ignore[assignment, method-assign] # it would look at each of them
    async with make_cache(database, clock) as cache:
        await fill(cache, tenants)
        print(f"{len(cache.memory):,} tenants in memory: {await measure(MetricsApp(cache))}")
        use_redis(cache, cache._parts.fleet_use._meter)
        started = time.process_time()
        for _ in range(SCRAPES):
            cache._parts.fleet_use.summary()
        took = (time.process_time() - started) * 1_000 / SCRAPES
        print(f"a budget with two months of use: {took:.1f} ms more")
        app = MetricsApp(cache, top_tenants=20)
        for number in range(tenants):
            assert cache.usage.on_spent is not None
            cache.usage.on_spent(f"t{number}", number % 50 + 1)
        print(f"the 20 busiest tenants named: {await measure(app)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=100_000)
    asyncio.run(main(parser.parse_args().tenants))
