"""Logs in one line what a start has found. Each fault has a warning of its own."""

from __future__ import annotations

import asyncio
import logging

from tenantcache.runtime.tasks import stop
from tenantcache.runtime.version import VERSION
from tenantcache.settings.model import variables
from tenantcache.settings.urls import POSTGRES_PORT, REDIS_PORT, address
from tenantcache.wiring.parts import Parts

logger = logging.getLogger(__name__)

START_WAIT = 10.0
"""Seconds that the line waits for memory and for the index of known hosts, which are filled while requests are served
already."""

LOOK_INTERVAL = 0.05


class StartReport:
    """Of the engine that `parts` make."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._settings, self._indexer = parts.settings, parts.in_loop.indexer
        self._task: asyncio.Task[None] | None = None

    def open(self, *, redis_found: bool) -> None:
        self._task = asyncio.create_task(self._run(redis_found), name="tenantcache start report")

    async def close(self) -> None:
        await stop(self._task)

    async def _run(self, redis_found: bool) -> None:
        for _ in range(round(START_WAIT / LOOK_INTERVAL)):
            if self._parts.in_loop.warm_up.done and not self._awaits_index():
                break
            await asyncio.sleep(LOOK_INTERVAL)
        found = self._found(redis_found)
        extra = {"tenantcache": {"what": "the engine", "before": "opening", "after": "ready", "version": VERSION}}
        logger.info("tenantcache %s is open: %s", VERSION, ", ".join(found), extra=extra)

    def _awaits_index(self) -> bool:
        return bool(self._settings.host_index_max_hosts) and not self._indexer.is_ready

    def _found(self, redis_found: bool) -> list[str]:
        parts = self._parts
        if parts.fleet_counters is None:
            stores = ["stores of the application"]
        else:
            counted = f"limits counted in {parts.fleet_counters.stats()['store']}"
            stores = [self._postgres(), self._redis(redis_found), counted]
        tenants = _count(parts.memory.tenant_count, "tenant", "tenants") + " in memory"
        fleet = _count(parts.in_loop.follower.processes, "process follows", "processes follow") + " the log"
        faults = (self._settings.redis_url is not None and not redis_found) + self._awaits_index()
        warnings = _count(faults, "warning", "warnings") if faults else "no warnings"
        return [*stores, tenants, self._hosts(), fleet, *self._changed_settings(), warnings]

    def _changed_settings(self) -> list[str]:
        """Those that differ from their defaults, but for the addresses, which are said already; secrets are masked."""
        shown = [one for one in variables(self._settings) if one.is_changed]
        texts = [f"{one.name}={one.value}" for one in shown if not one.name.endswith(("_REDIS_URL", "_DATABASE_URL"))]
        return [f"settings: {' '.join(texts)}"] if texts else []

    def _postgres(self) -> str:
        postgres = self._parts.stores.postgres
        number = "" if postgres is None or postgres.server_version is None else f" {postgres.server_version}"
        return f"Postgres{number} at {address(self._settings.database_url, POSTGRES_PORT)}"

    def _redis(self, found: bool) -> str:
        if self._settings.redis_url is None:
            return "no Redis"
        where = address(self._settings.redis_url, REDIS_PORT)
        link = self._parts.stores.link
        number = "" if link is None or link.server_version is None else f" {link.server_version}"
        return f"Redis{number} at {where}" if found else f"Redis at {where} unavailable"

    def _hosts(self) -> str:
        if self._indexer.is_ready:
            return f"{_count(self._indexer.hosts, 'host', 'hosts')} in the index"
        return "no index of hosts"


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
