"""(d) Cost per request and memory as the number of cached tenants grows: 100 to 1,000,000.

Each size lives in a process of its own, filled through the engine from a store in memory by its warm-up; all of them
are up at once, and batches alternate. Traffic goes to 100 tenants ("busy"), and for comparison evenly to all that
are cached ("all"), which no processor cache can hold. Memory is what the process grew by while it was filled (resident
set, after a collection), divided by the tenants: entry and indexes included, with three attributes each. A tenant's
first tokens are taken by the warm-up as well, from counters in arrays that were there before. The longest block is the
CPU time of one step of the event loop while memory fills, collections of garbage included.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import subprocess
import sys
import time
from array import array
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import psutil
import uvloop

from benchmarks.bench.contenders.ours import settings_of
from benchmarks.bench.contenders.plain import bare
from benchmarks.bench.plan import Plan
from benchmarks.bench.stats import summary
from benchmarks.bench.stores import Env
from benchmarks.bench.traffic import call_many, scope_of
from benchmarks.stops import Stops
from tenantcache import TenantCache, TenantMiddleware
from tenantcache.lookup.core.alias import subdomain_alias
from tenantcache.lookup.sources import RowStream, StreamedRow
from tenantcache.ratelimit.core.windows import OUT_OF_REACH, CounterValue, Debit, Unit, Window
from tenantcache.ratelimit.counterstore import Account, AccountDebits
from tenantcache.tenant import Row
from tenantcache.testing.database import MemoryDatabase
from tenantcache.wiring.stores import Stores as EngineStores

BUSY = 100
MEASURED_ALL = 20_000
"""Tenants of the "all" traffic for whom scopes are made: enough to leave any processor cache, few enough to hold."""


class Directory(MemoryDatabase):
    """`size` tenants that are never changed, made when they are asked for: they take no memory of their own."""

    def __init__(self, size: int) -> None:
        super().__init__(time.time)
        self._size = size

    def owner(self, alias: str) -> Row:
        return self.row(int(alias.removeprefix(subdomain_alias("tenant-"))))

    def row(self, number: int) -> Row:
        return Row(
            id=f"t{number}",
            name=f"Tenant {number}",
            subdomain=f"tenant-{number}",
            domains=[],
            primary_domain=None,
            status="active",
            plan=None,
            limit_per_minute=None,
            limit_per_day=None,
            time_zone=None,
            attributes={"color": "#2563eb", "seats": number % 50, "region": "eu-central"},
        )

    @asynccontextmanager
    async def stream_rows(self, batch: int, most: int) -> AsyncIterator[RowStream]:
        async def batches() -> AsyncIterator[list[StreamedRow]]:
            for start in range(0, min(most, self._size), batch):
                yield [StreamedRow(self.row(number)) for number in range(start, min(start + batch, most, self._size))]

        yield RowStream(self.head, self.epoch, batches())


class NumberedSlots:
    """`Slots`: the number in an id."""

    async def assign(self, owners: Sequence[str]) -> list[int]:
        return [int(owner[1:]) for owner in owners]


class SlotCounters:
    """`CounterStore` in arrays by slot, one for each of two windows of a unit: it grows by nothing, and has nothing for
    the garbage collector to look at."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._numbers: dict[tuple[Unit, int], int] = {}
        self._values = {(unit, half): self._zeros() for unit in ("minute", "quarter", "day") for half in (0, 1)}

    def _zeros(self) -> array[int]:
        return array("Q", bytes(8 * self._slots))

    async def debit(self, batch: Sequence[AccountDebits]) -> list[list[CounterValue]]:
        return [[self._add(account.slot, debit) for debit in debits] for account, debits in batch]

    def _add(self, slot: int, debit: Debit) -> CounterValue:
        (unit, number), amount = debit
        half = number % 2
        held = self._numbers.setdefault((unit, half), number)
        if number < held:
            return OUT_OF_REACH
        if number > held:
            self._numbers[unit, half], self._values[unit, half] = number, self._zeros()
        value = max(0, self._values[unit, half][slot] + amount)
        self._values[unit, half][slot] = value
        return value

    async def reset(self, account: Account, windows: Sequence[Window]) -> None:
        raise NotImplementedError


async def _serve(size: int) -> None:
    """Fill the memory, say what it weighs, and run a batch for each line that comes in."""
    directory = Directory(size)
    env = Env("postgresql://nobody@127.0.0.1:1/none", "")
    # A TTL beyond the run: what is due is read again, which is not what is measured here.
    settings = settings_of(env, memory_max_tenants=size, memory_ttl=3600, host_index_max_hosts=0, warm_up=True)
    stores = EngineStores(directory, directory, directory, SlotCounters(size), rows=directory, slots=NumberedSlots())
    async with TenantCache(settings, stores=stores) as cache:
        app = TenantMiddleware(bare(), cache=cache)
        gc.collect()
        process, before, started = psutil.Process(), psutil.Process().memory_info().rss, time.perf_counter()
        async with Stops() as stops:
            await cache.warm_up.wait()
        seconds = time.perf_counter() - started
        gc.collect()
        assert len(cache.memory) == size, f"{len(cache.memory)} of {size} tenants are cached"
        grown = process.memory_info().rss - before
        random = Random(1)
        busy = [scope_of(number) for number in range(min(BUSY, size))]
        others = [scope_of(random.randrange(size)) for _ in range(min(MEASURED_ALL, size))]
        for templates in (busy, others):  # each has its tokens and its place in front from here on
            await call_many(app, templates, 3 * len(templates), 1)
        # What is there stays there: without this each full collection would walk through a million tenants.
        gc.collect()
        gc.freeze()
        print(json.dumps({"bytes": grown / size, "seconds": seconds, "block": stops.longest}), flush=True)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            count = int(line)
            found = {}
            for name, templates in (("busy", busy), ("all", others)):
                cpu = time.process_time()
                statuses = await call_many(app, templates, count, 1)
                found[name] = (time.process_time() - cpu) / count * 1e6
                assert statuses == {200: count}, statuses
            print(json.dumps(found), flush=True)


def measure(plan: Plan, random: Random, tick: Callable[[], None]) -> dict[str, Any]:
    """By number of tenants: `bytes` a tenant, `fill_seconds`, and microseconds of CPU a request, `busy` and `all`."""
    processes: dict[int, subprocess.Popen[str]] = {}
    try:
        fills = {}
        for size in plan.scale_sizes:  # one after the other: each has the machine to itself while it fills
            command = [sys.executable, "-m", "benchmarks.bench.scale", str(size)]
            processes[size] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            fills[size] = _read(processes[size])
            tick()
        batches: dict[int, list[dict[str, float]]] = {size: [] for size in processes}
        for _ in range(plan.scale_rounds):
            for size in random.sample(list(processes), len(processes)):
                stdin = processes[size].stdin
                assert stdin is not None
                stdin.write(f"{plan.scale_requests}\n")
                stdin.flush()
                batches[size].append(_read(processes[size]))
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    return {
        str(size): {
            "bytes": fills[size]["bytes"],
            "fill_seconds": fills[size]["seconds"],
            "longest_block": fills[size]["block"],
            **{name: summary([batch[name] for batch in found]) for name in ("busy", "all")},
        }
        for size, found in batches.items()
    }


def _read(process: subprocess.Popen[str]) -> dict[str, float]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("a process of the scale part ended; its messages are above")
    found: dict[str, float] = json.loads(line)
    return found


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    uvloop.run(_serve(int(sys.argv[1])))
