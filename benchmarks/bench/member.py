"""One process of a fleet that answers requests made up inside it: `python -m benchmarks.bench.member JSON`.

It says "ready" once everything is imported, opens its engine at the line "go", and prints what happened as one line of
JSON. No server and no client stand in between: four of them must get by on two cores.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import uvloop

from benchmarks.bench.contenders.ours import settings_of
from benchmarks.bench.contenders.plain import bare
from benchmarks.bench.stores import Env
from benchmarks.bench.traffic import Zipf, call, scope_of
from tenantcache import TenantCache, TenantMiddleware
from tenantcache.ratelimit.core.windows import CounterValue
from tenantcache.ratelimit.counterstore import AccountDebits

SAMPLE = 0.25
"""Seconds between two samples of requests and loads."""


class Member:
    """`rate` in requests a second, None for as fast as it goes; `pattern` "zipf" or "uniform" over `tenants`."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.statuses: Counter[int] = Counter()
        self.touched: set[int] = set()
        self.samples: list[tuple[int, int]] = []
        self.debits: list[float] = []
        """Seconds of each take, answered or not."""
        self.random = Random(options["seed"])
        tenants = options["tenants"]
        zipf = Zipf(tenants, self.random)
        self.draw: Callable[[], int] = (
            zipf if options["pattern"] == "zipf" else lambda: int(self.random.random() * tenants)
        )
        # A tenant's scope is made when it is first asked for: ten thousand beforehand would be part of the start.
        self.templates: dict[int, dict[str, Any]] = {}

    async def run(self) -> dict[str, Any]:
        started = time.perf_counter()
        cache = TenantCache(settings_of(Env(**self.options["env"]), **self.options["settings"]))
        self.app = TenantMiddleware(bare(), cache=cache)
        self._time_debits(cache)
        async with cache:
            if self.options["awaits_warm_up"]:
                await cache.warm_up.wait()
            opened = time.perf_counter() - started
            self.end = time.perf_counter() + self.options["seconds"]
            sampler = asyncio.create_task(self._sample(cache, started))
            await (self._paced(self.options["rate"]) if self.options["rate"] else self._closed())
            sampler.cancel()
            stats = cache.stats()
        follower = cache.follower.pulls
        billed = cache.stats()["redis"]["billed_commands"]  # with what the orderly stop gave back
        return {
            "opened": opened,
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "touched": sorted(self.touched),
            "samples": self.samples,
            "stats": stats,
            "pulls": follower,
            "billed": billed,
            "debits": self.debits,
        }

    def _time_debits(self, cache: TenantCache) -> None:
        counters = cache._parts.fleet_counters
        assert counters is not None
        debit = counters.debit

        async def timed(batch: Sequence[AccountDebits]) -> Sequence[Sequence[CounterValue]]:
            started = time.perf_counter()
            try:
                return await debit(batch)
            finally:
                self.debits.append(time.perf_counter() - started)

        counters.debit = timed  # type: ignore[method-assign]

    async def _one(self) -> None:
        number = self.draw()
        self.touched.add(number)
        template = self.templates.get(number)
        if template is None:
            template = self.templates[number] = scope_of(number)
        self.statuses[await call(self.app, template)] += 1

    async def _paced(self, rate: float) -> None:
        """Requests come when they come, whether those before have been answered or not."""
        under_way: set[asyncio.Task[None]] = set()
        due = time.perf_counter()
        while due < self.end:
            due += self.random.expovariate(rate)
            if (pause := due - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
            task = asyncio.create_task(self._one())
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)

    async def _closed(self) -> None:
        await asyncio.gather(*(self._caller() for _ in range(self.options["at_once"])))

    async def _caller(self) -> None:
        while time.perf_counter() < self.end:
            for _ in range(20):
                await self._one()
            await asyncio.sleep(0)  # hot requests never wait, and others want their turn

    async def _sample(self, cache: TenantCache, started: float) -> None:
        number = 0
        while True:
            number += 1
            await asyncio.sleep(max(0.0, started + number * SAMPLE - time.perf_counter()))
            self.samples.append((self.statuses.total(), cache.resolver.loads))


def main() -> None:
    options = json.loads(sys.argv[1])
    logging.basicConfig(level=logging.ERROR)
    member = Member(options)
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(uvloop.run(member.run())), flush=True)


if __name__ == "__main__":
    main()
