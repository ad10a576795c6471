"""Logs in one line what a start has found. Each fault has a warning of its own."""

from __future__ import annotations

import asyncio
import logging

from tenantcache.freshness.follower import Follower
from tenantcache.lookup.indexer import Indexer
from tenantcache.runtime.tasks import stop
from tenantcache.settings.model import Settings
from tenantcache.settings.urls import POSTGRES_PORT, REDIS_PORT, address
from tenantcache.stats import CounterStats

logger = logging.getLogger(__name__)

INDEX_WAIT = 10.0
"""Seconds that the line waits for the index of known hosts, which is loaded while requests are served already."""

LOOK_INTERVAL = 0.05


class StartReport:
    """`counters` are the statistics of the counter stores; None if the application brought one along."""

    def __init__(self, settings: Settings, follower: Follower, indexer: Indexer, counters: CounterStats | None) -> None:
        self._settings = settings
        self._follower = follower
        self._indexer = indexer
        self._counters = counters
        self._task: asyncio.Task[None] | None = None

    def open(self, *, redis_found: bool) -> None:
        self._task = asyncio.create_task(self._run(redis_found), name="tenantcache start report")

    async def close(self) -> None:
        await stop(self._task)

    async def _run(self, redis_found: bool) -> None:
        if self._settings.host_index_max_hosts:
            for _ in range(round(INDEX_WAIT / LOOK_INTERVAL)):
                if self._indexer.is_ready:
                    break
                await asyncio.sleep(LOOK_INTERVAL)
        logger.info("tenantcache is open: %s", ", ".join(self._found(redis_found)))

    def _found(self, redis_found: bool) -> list[str]:
        if self._counters is None:
            stores = ["stores of the application"]
        else:
            postgres = address(self._settings.database_url, POSTGRES_PORT)
            counted = f"limits counted in {self._counters['store']}"
            stores = [f"Postgres at {postgres}", self._redis(redis_found), counted]
        processes = self._follower.processes
        fleet = _count(processes, "process follows", "processes follow") + " the log"
        lacks_index = bool(self._settings.host_index_max_hosts) and not self._indexer.is_ready
        faults = (self._settings.redis_url is not None and not redis_found) + lacks_index
        warnings = _count(faults, "warning", "warnings") if faults else "no warnings"
        return [*stores, self._hosts(), fleet, warnings]

    def _redis(self, found: bool) -> str:
        if self._settings.redis_url is None:
            return "no Redis"
        where = address(self._settings.redis_url, REDIS_PORT)
        return f"Redis at {where}" if found else f"Redis at {where} unavailable"

    def _hosts(self) -> str:
        if self._indexer.is_ready:
            return f"{_count(self._indexer.hosts, 'host', 'hosts')} in the index"
        return "no index of hosts"


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
