"""How many requests were refused, and why. What is served is not counted here."""

from __future__ import annotations

from collections import Counter

from tenantcache.stats import RefusalReason, RefusalStats


class Refusals:
    """Of all middlewares of an engine, since the start of the process."""

    def __init__(self) -> None:
        self._counts: Counter[RefusalReason] = Counter()

    def note(self, reason: RefusalReason) -> None:
        self._counts[reason] += 1

    def stats(self) -> RefusalStats:
        counts = self._counts
        return {
            "malformed": counts["malformed"],
            "unknown": counts["unknown"],
            "foreign": counts["foreign"],
            "suspended": counts["suspended"],
            "maintenance": counts["maintenance"],
            "deleted": counts["deleted"],
            "limit": counts["limit"],
            "route_limit": counts["route_limit"],
            "lookup_unavailable": counts["lookup_unavailable"],
            "limit_unavailable": counts["limit_unavailable"],
        }
