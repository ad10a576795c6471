"""(a) What a request costs the process that serves it: direct ASGI calls, without a server and without a client.

* The figure is CPU time of this process. A contender that waits for Redis is not charged for the waiting, only for what
  it does itself; 16 requests are under way at once, so that it can use the time.
* All contenders are open in one process. A round gives each of them one batch, in an order that is shuffled anew.
* Garbage is collected before each batch, and the collector runs as usual during it.
* "Added" is the difference to bare Starlette in the same round.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from random import Random
from typing import Any

from starlette.types import ASGIApp

from benchmarks.bench import enforce
from benchmarks.bench.contenders import BARE, FLOOR, Contender
from benchmarks.bench.plan import Plan
from benchmarks.bench.stats import summary
from benchmarks.bench.stores import Stores
from benchmarks.bench.traffic import call_many, scope_of

AT_ONCE = 16
BUSY_TENANTS = 100


async def measure(
    stores: Stores, contenders: Sequence[Contender], plan: Plan, random: Random, tick: Callable[[], None]
) -> dict[str, Any]:
    """Microseconds by contender: `cpu` and `wall` a request, `added` over bare Starlette, `over_floor` as a ratio."""
    for contender in contenders:
        await enforce.check(contender, stores.env(prefix="enforce"), stores.meter)
    stores.meter.flush()
    batches: dict[str, list[tuple[float, float]]] = {contender.name: [] for contender in contenders}
    async with AsyncExitStack() as stack:
        apps = {c.name: await stack.enter_async_context(c.open(stores.env())) for c in contenders}
        templates = [scope_of(number) for number in range(BUSY_TENANTS)]
        for app in apps.values():
            await _batch(app, templates, 4 * BUSY_TENANTS)  # everything is cached, connected and compiled
        for _ in range(plan.cost_rounds):
            for contender in random.sample(list(contenders), len(contenders)):
                count = plan.cost_redis_requests if contender.on_redis else plan.cost_requests
                batches[contender.name].append(await _batch(apps[contender.name], templates, count))
            tick()
    return _figures(batches)


async def _batch(app: ASGIApp, templates: list[dict[str, Any]], count: int) -> tuple[float, float]:
    """CPU and wall-clock microseconds a request."""
    gc.collect()
    await asyncio.sleep(0.02)  # batches that wait for nothing would keep followers and keep-alives from their turn
    cpu, wall = time.process_time(), time.perf_counter()
    statuses = await call_many(app, templates, count, AT_ONCE)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    if statuses != {200: count}:
        raise enforce.NotEnforcedError(f"every request was to be admitted, and the answers were {statuses}")
    return cpu / count * 1e6, wall / count * 1e6


def _figures(batches: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    cpu = {name: [batch[0] for batch in found] for name, found in batches.items()}
    added = {name: [one - bare for one, bare in zip(found, cpu[BARE], strict=True)] for name, found in cpu.items()}
    floor = summary(added[FLOOR])["median"]
    return {
        name: {
            "cpu": summary(cpu[name]),
            "wall": summary([batch[1] for batch in batches[name]]),
            "added": summary(added[name]),
            "over_floor": summary(added[name])["median"] / floor,
        }
        for name in batches
    }
