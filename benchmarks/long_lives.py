"""What a process with very many tenants in memory stops for, and what each of them takes.

One process, whose stores answer at once from nothing, so that our own code is all that runs. Through each phase a
ticker notes for how long the event loop did something else, and `gc.callbacks` time each collection of garbage.

    python -m benchmarks.long_lives
    python -m benchmarks.long_lives --tenants 100000

The phases: memory is filled; the first tokens of all tenants are taken; the process goes on for `QUIET` seconds; it
follows `CHANGED` changed rows; `ASKED` tenants are asked for; entries past their TTL are read again; tenants that are
new take the places of others; `LIVE` are asked for, the server's clock is set, and the process hands its minute over;
everything is dropped, and filled again; the engine is closed.

A stop is the CPU time of the event loop's thread between two ticks, in which several steps may lie: what others on the
machine take does not count. Beside it stands by how much a tick was late at most, which a busy machine lengthens. What
there is before the engine is opened is frozen, so that collections look at our own objects alone. Bytes are what the
process has grown by (resident set, after a collection) per tenant.

The exit status is 1 if a figure is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress

import psutil

from benchmarks.bench.contenders.ours import settings_of
from benchmarks.bench.contenders.plain import bare
from benchmarks.bench.scale import Directory, NumberedSlots
from benchmarks.bench.stores import Env
from benchmarks.bench.traffic import call_many, scope_of
from benchmarks.host_index import Figure, show
from benchmarks.stops import Stops
from tenantcache import StoreUnavailableError, TenantCache, TenantMiddleware
from tenantcache.freshness.core.logmark import LogMark
from tenantcache.freshness.log import ChangeKind, LogEntry, Pull
from tenantcache.lookup.core.alias import subdomain_alias
from tenantcache.lookup.core.snapshot import Snapshot
from tenantcache.lookup.sources import RowStream
from tenantcache.ratelimit.core.windows import Window
from tenantcache.ratelimit.counterstore import Account, AccountDebits
from tenantcache.runtime import clock as clocks
from tenantcache.stores.rediscounters import STEP
from tenantcache.wiring.stores import Stores

SIZES = (100_000, 1_000_000)

CHANGED = 40_000
ASKED = EVICTED = 2_000
"""Tenants that are asked for, so that they have all that a request needs."""

LIVE = 20_000
"""Tenants that were asked for lately when the server's clock is set."""

SET_BY = 20.0
"""Seconds."""

QUIET = 5.0

MAX_STOP = 0.020
"""Seconds for which the event loop may stand still."""

MAX_BYTES = 1_000
"""Of a tenant in memory, with its reservation."""


class Clock:
    """The machine's own, and as many seconds more as it was moved on."""

    moved = 0.0

    def __call__(self) -> float:
        return clocks.now() + self.moved


class Tenants(Directory):
    """Its log grows by `change`. Each answer lets the event loop run, as one from a server does. Memory is filled with
    the first `streamed`."""

    streamed = 0

    changed = 0
    """Changes of the log beyond its first entry. They are made when they are pulled, and take no memory before."""

    @property
    def head(self) -> LogMark:
        first = super().head
        return LogMark(first.seq + self.changed, first.at)

    @asynccontextmanager
    async def stream_rows(self, batch: int, most: int) -> AsyncIterator[RowStream]:
        async with super().stream_rows(batch, self.streamed) as stream:
            yield stream

    async def read(self, aliases: Sequence[str]) -> Snapshot:
        await asyncio.sleep(0)
        return await super().read(aliases)

    async def pull(
        self, applied: LogMark, max_behind: int, page: int, *, since: str | None = None, check: bool = True
    ) -> Pull:
        await asyncio.sleep(0)
        seqs = range(applied.seq + 1, min(applied.seq + page, self.head.seq) + 1)
        return self._pull([self._entry(seq) for seq in seqs], since=since, check=check)

    def _entry(self, seq: int) -> LogEntry:
        names = (subdomain_alias(f"tenant-{seq}"),)
        return LogEntry(seq, self.head.at, ChangeKind.TENANT, f"t{seq}", names)


class Counters:
    """`CounterStore`: each window's counter is at what is debited."""

    async def debit(self, batch: Sequence[AccountDebits]) -> list[list[int]]:
        values: list[list[int]] = []
        for number, (_, debits) in enumerate(batch):
            if number % STEP == 0:  # as the counters in Redis do
                await asyncio.sleep(0)
            values.append([max(0, debit.amount) for debit in debits])
        return values

    async def reset(self, account: Account, windows: Sequence[Window]) -> None:
        pass


class Collections:
    """The seconds of each collection of garbage while it is installed."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began = 0.0

    def note(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.thread_time()
        else:
            self.seconds.append(time.thread_time() - self._began)

    @contextmanager
    def noting(self) -> Iterator[None]:
        gc.callbacks.append(self.note)
        try:
            yield
        finally:
            gc.callbacks.remove(self.note)


class Life:
    """Of one engine; `figures` are what was found."""

    def __init__(self, tenants: int) -> None:
        self.figures: list[Figure] = []
        self._tenants = tenants
        self._clock = Clock()
        self._directory = directory = Tenants(tenants + EVICTED)
        self._directory.streamed = tenants
        env = Env("postgresql://nobody@127.0.0.1:1/none", "", per_minute=600, per_day=100_000)
        settings = settings_of(env, memory_max_tenants=tenants, host_index_max_hosts=0, warm_up=True)
        stores = Stores(directory, directory, directory, Counters(), rows=directory, slots=NumberedSlots())
        self._cache = TenantCache(settings, stores=stores, clock=self._clock)
        self._app = TenantMiddleware(bare(), cache=self._cache)

    async def run(self) -> None:
        await self._cache.open()
        await self._cache.warm_up.close()  # each filling is a phase
        before = _resident()
        gc.freeze()
        await self._fill("fill")
        filled = _resident()
        self._add("memory, a tenant", (filled - before) / self._tenants, "bytes")
        await self._take_first_tokens()
        with_tokens = _resident()
        self._add("reservation, a tenant", (with_tokens - filled) / self._tenants, "bytes")
        self._add("both", (with_tokens - before) / self._tenants, "bytes", MAX_BYTES)
        self._add("objects that garbage collection tracks, a tenant", len(gc.get_objects()) / self._tenants, "")
        async with self._phase("goes on"):
            await asyncio.sleep(QUIET)
        async with self._phase(f"follows {CHANGED:,} changed rows"):
            self._directory.changed += CHANGED
            while self._cache.freshness.applied < self._directory.head.seq:
                with suppress(StoreUnavailableError):  # there is more to follow than a caller waits for
                    await self._cache.sync()
        before = _resident()
        async with self._phase(f"{ASKED:,} tenants are asked for"):
            await self._ask(range(self._tenants - ASKED, self._tenants))
        self._add("more, a tenant that was asked for", (_resident() - before) / ASKED, "bytes")
        async with self._phase("reads entries past their TTL again"):
            self._clock.moved += self._cache.settings.memory_ttl + 1
            await asyncio.sleep(QUIET)
        async with self._phase(f"{EVICTED:,} tenants take the places of others"):
            await self._ask(range(self._tenants, self._tenants + EVICTED))
        await self._ask(range(self._tenants + EVICTED - LIVE, self._tenants))
        await self._set_clock()
        async with self._phase("drops everything"):
            self._cache.resolver.flush()
            await asyncio.sleep(QUIET)
        await self._fill("fills again")
        async with self._phase("closes"):
            await self._cache.close()

    async def _fill(self, name: str) -> None:
        async with self._phase(name):
            self._cache.warm_up.open()
            while self._cache.warm_up.state == "filling":
                await asyncio.sleep(0.001)
        assert len(self._cache.memory) == self._tenants, f"{len(self._cache.memory)} tenants are in memory"

    async def _take_first_tokens(self) -> None:
        async with self._phase("takes first tokens"):
            await self._cache.warm_up.wait()

    async def _set_clock(self) -> None:
        limiter = self._cache._parts.limiter
        self._add("live meters", len(limiter._meters.of_tenants), "")
        async with self._phase("the server's clock is set"):
            limiter.clock_moved(SET_BY)
        async with self._phase("hands its minute over"):
            granted: dict[str, int] = {}
            await limiter.enter_windows()
            for _ in limiter.hand_over(granted):
                await asyncio.sleep(0)

    async def _ask(self, numbers: range) -> None:
        for start in range(0, len(numbers), 10):
            scopes = [scope_of(number) for number in numbers[start : start + 10]]
            statuses = await call_many(self._app, scopes, len(scopes), 1)
            assert statuses == {200: len(scopes)}, statuses
            await asyncio.sleep(0)

    @asynccontextmanager
    async def _phase(self, name: str) -> AsyncIterator[None]:
        collections, started = Collections(), time.perf_counter()
        with collections.noting():
            async with Stops() as stops:
                yield
        seconds = time.perf_counter() - started
        self._add(f"{name}: longest stop", stops.longest * 1e3, "ms", MAX_STOP * 1e3)
        self._add(f"{name}: latest tick", stops.latest * 1e3, "ms")
        self._add(f"{name}: longest collection", max(collections.seconds, default=0.0) * 1e3, "ms")
        self._add(f"{name}: all collections", sum(collections.seconds), "s")
        self._add(f"{name}: took", seconds, "s")

    def _add(self, name: str, value: float, unit: str, bound: float | None = None) -> None:
        self.figures.append(Figure(name, value, unit, bound))


def _resident() -> int:
    gc.collect()
    resident: int = psutil.Process().memory_info().rss
    return resident


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tenants", type=int, help="only that many; else 100,000 and 1,000,000, each in a process")
    tenants = parser.parse_args().tenants
    if tenants is None:
        command = [sys.executable, "-m", "benchmarks.long_lives", "--tenants"]
        return max(subprocess.run([*command, str(size)], check=False).returncode for size in SIZES)
    logging.basicConfig(level=logging.ERROR)
    life = Life(tenants)
    asyncio.run(life.run())
    print(f"{tenants:,} tenants")
    show(life.figures)
    return any(figure.is_missed for figure in life.figures)


if __name__ == "__main__":
    raise SystemExit(main())
