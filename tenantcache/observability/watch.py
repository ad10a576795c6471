"""What a process watches and writes down while its metrics are exported. Nothing of it is there before."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Iterable
from dataclasses import replace

from tenantcache.engine import TenantCache
from tenantcache.observability.enginereading import read_engine
from tenantcache.observability.looplag import LoopLag
from tenantcache.observability.metric import Kind, Merge, Metric, Rows
from tenantcache.observability.metrics import METRICS, TENANT_REQUESTS
from tenantcache.observability.snapshots import Directory, Ended, Snapshot
from tenantcache.observability.toptenants import TopTenants
from tenantcache.runtime import clock
from tenantcache.runtime.tasks import stop
from tenantcache.settings.model import Settings
from tenantcache.settings.urls import mask

logger = logging.getLogger(__name__)

WRITE_INTERVAL = 5.0
"""Seconds between two snapshots for the other processes of this machine: a third of a usual scrape interval."""

BY_NAME = {metric.name: metric for metric in METRICS}


class Watch:
    """A `Companion` of one engine, which has one at most: see `of`."""

    def __init__(self, cache: TenantCache) -> None:
        self._cache = cache
        self._lag = LoopLag()
        self._tenants: TopTenants | None = None
        self._snapshot_failures = 0
        self._is_failing = False
        self._task: asyncio.Task[None] | None = None
        path = cache.settings.metrics_dir
        self._directory = None if path is None else Directory(path, _deployment(cache.settings), _grows, clock.now)

    @classmethod
    def of(cls, cache: TenantCache) -> Watch:
        """That of `cache`, from now on if there was none."""
        for companion in cache.companions:
            if isinstance(companion, Watch):
                return companion
        watch = cls(cache)
        cache.companions.append(watch)
        if cache.is_open and not cache.is_elsewhere():
            watch.open()
        return watch

    def count_tenants(self, most: int) -> None:
        """Count the requests of so many of the busiest tenants."""
        self._tenants = TopTenants(most)
        self._cache.usage.on_spent = self._tenants.note

    # Life.

    def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._lag.open(loop)
        if self._directory is not None:
            self._task = loop.create_task(self._run(self._directory), name="tenantcache metrics")

    async def close(self) -> None:
        self._lag.close()
        task, self._task = self._task, None
        await stop(task)
        if task is not None and self._directory is not None:
            await self._write(self._directory)

    def forget(self) -> None:
        self._lag.close()
        self._task = None
        if self._directory is not None:
            self._directory.forget()

    async def _run(self, directory: Directory) -> None:
        while True:
            await self._write(directory)
            await asyncio.sleep(WRITE_INTERVAL)

    async def _write(self, directory: Directory) -> None:
        await asyncio.to_thread(self._write_down, directory, self._read())

    def _write_down(self, directory: Directory, own: dict[str, Rows]) -> None:
        try:
            directory.write(own)
        except OSError as error:
            self._snapshot_failures += 1
            if not self._is_failing:
                logger.error("metrics of this process are not shared with the other workers: %s", error)
            self._is_failing = True
        else:
            if self._is_failing:
                logger.info("metrics of this process are shared with the other workers again")
            self._is_failing = False

    # Reading.

    def metrics(self) -> Iterable[Metric]:
        """Those that are exported."""
        return (metric for metric in METRICS if metric is not TENANT_REQUESTS or self._tenants is not None)

    def collect(self) -> dict[str, Rows]:
        """The values of all processes of this machine that share a directory, by metric. Blocks to read their files."""
        own = self._read()
        return self._merge(own, *self._exchange(own))

    async def collect_aside(self) -> dict[str, Rows]:
        """The same, without blocking the event loop."""
        own = self._read()
        if self._directory is None:
            return self._merge(own, Ended(), [])
        return self._merge(own, *await asyncio.to_thread(self._exchange, own))

    def _exchange(self, own: dict[str, Rows]) -> tuple[Ended, list[Snapshot]]:
        """Read what the others have written, after this process's own: what a scrape has told of counters must be there
        if the process is killed, or they would fall."""
        if self._directory is None:
            return Ended(), []
        self._write_down(self._directory, own)
        return self._directory.read()

    def _read(self) -> dict[str, Rows]:
        """This process's own. No I/O."""
        reading = replace(
            read_engine(self._cache),
            loop_lag=self._lag.rows(),
            tenants={} if self._tenants is None else self._tenants.look(clock.now()),
            snapshot_failures=self._snapshot_failures,
        )
        return {metric.name: metric.read(reading) for metric in self.metrics()}

    def _merge(self, own: dict[str, Rows], ended: Ended, others: list[Snapshot]) -> dict[str, Rows]:
        now, found = clock.now(), {}
        current = [each for each in others if each.is_current(now)]
        for metric in self.metrics():
            rows = [(str(os.getpid()), own[metric.name])]
            counted = others if _grows(metric.name) else current
            rows += [(str(each.process), each.values.get(metric.name, {})) for each in counted]
            found[metric.name] = metric.merged([*rows, ("", ended.values.get(metric.name, {}))])
        return found


def _grows(name: str) -> bool:
    """Whether the values of ended processes count on."""
    metric = BY_NAME.get(name)
    return metric is not None and metric.kind is not Kind.GAUGE and metric.merge is Merge.SUM


def _deployment(settings: Settings) -> str:
    """The same for all processes of a fleet, and another one for other fleets."""
    names = f"{mask(settings.database_url)} {settings.key_prefix}"
    return hashlib.sha256(names.encode()).hexdigest()[:12]
