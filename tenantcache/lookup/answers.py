"""What answered lookups, and what came of them. Hits of the fast path are not among them: it counts nothing."""

from __future__ import annotations

from tenantcache.lookup.entry import Entry
from tenantcache.stats import AnswerResult, AnswerStats, Tier

TIERS: tuple[Tier, ...] = ("memory", "index", "redis", "postgres")
RESULTS: tuple[AnswerResult, ...] = ("found", "unknown", "stale")


class Answers:
    """Counts since the start of the process. A lookup that joins the load of another counts like any."""

    def __init__(self) -> None:
        self.failed: int = 0
        """Lookups that no store could answer."""
        self._counts: dict[str, dict[AnswerResult, int]] = {tier: dict.fromkeys(RESULTS, 0) for tier in TIERS}

    def note(self, entry: Entry, tier: str | None = None) -> Entry:
        """Count what `tier` has answered, by default the one that the entry came from; return it."""
        self._counts[tier or entry.tier]["unknown" if entry.tenant is None else "found"] += 1
        return entry

    def note_stale(self, entry: Entry) -> Entry:
        """Count one that memory has answered because no store could; return it."""
        self._counts["memory"]["stale"] += 1
        return entry

    def stats(self) -> AnswerStats:
        return {"failed": self.failed, "answers": {tier: self._counts[tier].copy() for tier in TIERS}}
