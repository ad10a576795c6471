"""What is measured of each contender. Counts where there is something to count; seconds only as ratios in one run."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from random import Random
from typing import Any

from benchmarks.bench.stats import summary
from benchmarks.bench.stores import Stores
from benchmarks.values.contenders import FLOOR, Cached, Contender

KEYS = 100


class Source:
    """What a loader reads: each value has the version that was written last. Counts the loads, each of which takes
    `seconds`."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.loads = 0
        self.version = 0
        self._seconds = seconds

    async def __call__(self, key: str) -> dict[str, Any]:
        found = self._read(key)
        if self._seconds:
            await asyncio.sleep(self._seconds)
        return found

    def blocking(self, key: str) -> dict[str, Any]:
        found = self._read(key)
        time.sleep(self._seconds)
        return found

    def _read(self, key: str) -> dict[str, Any]:
        self.loads += 1
        return {"key": key, "version": self.version, "color": "#2563eb", "seats": 25, "plan": "pro", "active": True}


Progress = Callable[[], None]


@asynccontextmanager
async def opened(stores: Stores, contender: Contender, part: str, source: Source) -> AsyncIterator[Cached]:
    """One process of the contender, whose keys are of that part alone."""
    own = "".join(filter(str.isalnum, contender.name))
    async with contender.open(stores.env(prefix=f"{own}-{part}"), source) as cached:
        yield cached


async def hit_cost(
    stores: Stores, contenders: tuple[Contender, ...], rounds: int, hits: int, tick: Progress
) -> dict[str, Any]:
    """CPU microseconds a hit in this process, and how many times the floor's; all in one run, in shuffled order."""
    found: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    random = Random(1)
    for _ in range(rounds):
        for contender in random.sample(contenders, len(contenders)):
            async with opened(stores, contender, "hits", Source()) as cached:
                for number in range(4 * KEYS):
                    await cached.get(f"settings:{number % KEYS}")
                gc.collect()
                keys = [f"settings:{number % KEYS}" for number in range(hits)]
                before = time.process_time()
                for key in keys:
                    await cached.get(key)
                found[contender.name].append((time.process_time() - before) / hits * 1e6)
        tick()
    floor = found[FLOOR]
    return {
        name: {
            "cpu": summary(values),
            "over_floor": summary([value / least for value, least in zip(values, floor, strict=True)]),
        }
        for name, values in found.items()
    }


async def commands(stores: Stores, contender: Contender) -> dict[str, float]:
    """Billed commands of a first miss, of a hit, and of an invalidation."""
    async with opened(stores, contender, "commands", Source()) as cached:
        await cached.get("warm")
        await asyncio.sleep(0.3)
        found = {}
        for name, action in (("miss", cached.get), ("hit", cached.get), ("invalidation", cached.invalidate)):
            found[name] = await _counted(stores, action)
        return found


async def _counted(stores: Stores, action: Callable[[str], Awaitable[Any]]) -> float:
    stores.meter.reset()
    for number in range(KEYS):
        await action(f"settings:{number}")
    await asyncio.sleep(0.2)  # what is written in the background
    return stores.meter.total() / KEYS


async def stampede(stores: Stores, contender: Contender, callers: int) -> int:
    """Loads that so many concurrent callers of one key cause; each takes a tenth of a second."""
    source = Source(0.1)
    async with opened(stores, contender, "stampede", source) as cached:
        await asyncio.gather(*(cached.get("warm") for _ in range(callers)))  # all connections are open
        source.loads = 0
        await asyncio.gather(*(cached.get("settings") for _ in range(callers)))
        return source.loads


async def staleness(stores: Stores, contender: Contender, updates: int, seconds: float) -> dict[str, Any]:
    """Stale answers of another process after `invalidate` has returned in the one that wrote: of those in so many
    seconds, and for how long."""
    source = Source()
    stale = reads = 0
    last = 0.0
    async with (
        opened(stores, contender, "staleness", source) as writer,
        opened(stores, contender, "staleness", source) as reader,
    ):
        for _ in range(updates):
            for cached in (writer, reader):
                await cached.get("settings")
            source.version += 1
            await writer.invalidate("settings")
            since = time.perf_counter()
            while (passed := time.perf_counter() - since) < seconds:
                reads += 1
                if _version_of(await reader.get("settings")) != source.version:
                    stale += 1
                    last = max(last, passed)
                await asyncio.sleep(0.001)
    return {"stale": stale, "reads": reads, "longest": last}


def _version_of(value: Any) -> Any:
    return value["version"] if isinstance(value, dict) else value.version


async def memory(stores: Stores, contender: Contender, entries: int) -> float:
    """Bytes of this process for each value of some 110 bytes of JSON."""
    source = Source()
    async with opened(stores, contender, "memory", source) as cached:
        for number in range(200):
            await cached.get(f"warm:{number}")
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(entries):
            await cached.get(f"settings:{number}")
        await asyncio.sleep(0.3)
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return (after - before) / entries


def traces(random: Random, requests: int, keys: int) -> dict[str, list[int]]:
    """Numbers of keys: Zipf(1.0); the same with scans of keys that come once; and a Zipf whose order shifts."""
    weights = [1 / rank for rank in range(1, keys + 1)]
    zipf = random.choices(range(keys), weights, k=requests)
    once = count(keys)
    scan = [next(once) if index % 1_000 >= 700 else key for index, key in enumerate(zipf)]
    part = requests // 4
    shift = [(key + keys // 7 * (index // part)) % keys for index, key in enumerate(zipf)]
    return {"Zipf": zipf, "Zipf and scans": scan, "Zipf that shifts": shift}
