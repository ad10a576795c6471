"""A process of a fleet: looks tenants up and checks their limits all the time, and says what it has seen.

Its settings come from the environment. Each line of its output is what it knows, as JSON. A line on its input makes it
report its use and read that of the others; at the end of its input it stops in order.
"""

from __future__ import annotations

import asyncio
import json
import sys

from tenantcache import Settings, TenantCache

HOSTS = [f"t{number}.localhost" for number in range(6)]


async def serve(cache: TenantCache, seen: dict[str, int]) -> None:
    while True:
        for host in HOSTS:
            try:
                tenant = await cache.resolve(host)
                assert tenant is not None
            except Exception:
                seen["failed"] += 1
                continue
            decision = await cache.check(tenant)
            seen["admitted"] += decision.allowed
            seen["refused"] += not decision.allowed
        await asyncio.sleep(0.02)


async def tell(cache: TenantCache, seen: dict[str, int]) -> None:
    while True:
        stats = cache.stats()
        counters = stats["limits"]["counters"]
        assert counters is not None
        known = {**seen, "band": stats["redis"]["band"], "changes": stats["redis"]["band_changes"]}
        print(json.dumps({**known, "store": counters["store"], "to": counters["changes_to"]}), flush=True)
        await asyncio.sleep(0.05)


async def main() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    seen = {"admitted": 0, "refused": 0, "failed": 0}
    async with TenantCache(Settings()) as cache:
        tasks = [asyncio.create_task(work(cache, seen)) for work in (serve, tell)]
        while await reader.readline():
            await cache._parts.fleet_use.report()
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
