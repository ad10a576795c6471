"""What an engine says of itself, as metrics are read from it."""

from __future__ import annotations

from tenantcache.engine import TenantCache
from tenantcache.observability.metric import Reading
from tenantcache.runtime.version import VERSION


def read_engine(cache: TenantCache) -> Reading:
    """Without what only a watch of it knows. No I/O."""
    stats = cache.stats()
    return Reading(stats, cache.budget if stats["redis"]["configured"] else None, VERSION, cache.settings.limits)
