"""What values take in memory is what is counted of it, because `TENANTCACHE_VALUES_MAX_BYTES` bounds the count."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Mapping, Sequence

import pytest

from tests.fakes import FakeClock, FakeDatabase, make_cache

HELD, LOADED = 400, 1_200
"""So many leave, and are remembered for a while without their content."""


@pytest.mark.parametrize("tags", [(), ("plan:pro", "region:eu")])
async def test_the_count_is_close(tags: Sequence[str]) -> None:
    async def load(keys: Sequence[str]) -> Mapping[str, object]:
        return {key: {"theme": "dark", "key": key} for key in keys}

    clock = FakeClock()
    async with make_cache(FakeDatabase(clock), clock, values_max_entries=HELD) as cache:

        async def fill(first: int, last: int) -> None:
            for batch in range(first, last, 100):
                keys = [f"page:{number}" for number in range(batch, batch + 100)]
                await cache.values.get_many(keys, load, tenant=f"tenant-{batch}", ttl=3600, tags=tags)

        await fill(-100, 0)
        # What a start tells asks many classes what they are, and these remember it.
        await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name() == "tenantcache start report"))
        cache.values.parts.memory.clear()
        gc.collect()
        tracemalloc.start()
        try:
            await fill(0, LOADED)
            gc.collect()
            taken, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        stats = cache.values.stats()
        assert stats["entries"] == HELD
        assert 0.85 * taken < stats["bytes"] < 1.15 * taken
