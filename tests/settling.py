"""Waits for what an engine sends in the background."""

from __future__ import annotations

from typing import Any

from tenantcache import TenantCache
from tests.fakes import until


async def settle(cache: TenantCache) -> None:
    """Return when nothing is on its way to Redis: takes, returns, copies, expiries."""
    counters: Any = cache._parts.fleet_counters
    await cache.limiter._meters.groups.finish()
    await until(lambda: not cache.resolver.sharing.is_writing and not counters._stores["redis"]._expiring)
