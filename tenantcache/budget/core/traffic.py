"""What a Redis did in a span of time: between two readings, or since its start.

Counters of INFO begin at the start of the server. They say nothing about this hour, so every figure carries its span.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tenantcache.budget.core.prices import FREE
from tenantcache.budget.core.serverfacts import ServerFacts


@dataclass(frozen=True, slots=True)
class Traffic:
    """Counts in a span of `seconds`; None if the server does not tell. `calls` is empty if it does not."""

    seconds: float
    since_start: bool
    processed: int | None = None
    hits: int | None = None
    misses: int | None = None
    expired: int | None = None
    evicted: int | None = None
    network: int | None = None
    calls: Mapping[str, int] = field(default_factory=dict)

    @property
    def billed(self) -> int | None:
        """Commands that are billed where commands are; all that were processed if `calls` is not told."""
        if not self.calls:
            return self.processed
        return sum(calls for name, calls in self.calls.items() if name not in FREE)

    @property
    def lookups(self) -> int:
        return (self.hits or 0) + (self.misses or 0)

    @property
    def hit_rate(self) -> float | None:
        """Share of lookups that found their key; None without lookups."""
        return (self.hits or 0) / self.lookups if self.lookups else None

    def per_second(self, count: int | None) -> float | None:
        return None if count is None or self.seconds <= 0 else count / self.seconds

    @property
    def span(self) -> str:
        """For people."""
        if self.since_start:
            return "since the start"
        return f"in {self.seconds:.0f} seconds" if self.seconds >= 10 else f"in {self.seconds:.2g} seconds"


def traffic_of(after: ServerFacts, before: ServerFacts | None = None, *, seconds: float = 0, own: int = 0) -> Traffic:
    """What others did between two readings, `seconds` apart, in which `own` commands were sent to read them. Without an
    earlier one, or if the counters began anew in between: what happened since the start."""
    if before is None or _began_anew(before, after):
        before, seconds = ServerFacts(nodes=after.nodes), float(after.uptime or 0)
        since_start, own = True, 0
    else:
        since_start = False
    calls = {name: count - before.calls.get(name, 0) for name, count in after.calls.items()}
    return Traffic(
        seconds,
        since_start,
        processed=_difference(after.processed, before.processed, own),
        hits=_difference(after.hits, before.hits),
        misses=_difference(after.misses, before.misses),
        expired=_difference(after.expired, before.expired),
        evicted=_difference(after.evicted, before.evicted),
        network=_difference(after.network, before.network),
        calls={name: count for name, count in calls.items() if count},
    )


def _difference(after: int | None, before: int | None, own: int = 0) -> int | None:
    return None if after is None else max(after - (before or 0) - own, 0)


def _began_anew(before: ServerFacts, after: ServerFacts) -> bool:
    """After a restart, CONFIG RESETSTAT, or another number of nodes, nothing can be subtracted."""
    pairs = ((before.processed, after.processed), (before.hits, after.hits), (before.misses, after.misses))
    fell = any(early is not None and late is not None and late < early for early, late in pairs)
    return fell or before.nodes != after.nodes or any(after.calls.get(name, 0) < n for name, n in before.calls.items())


def duration(seconds: float) -> str:
    """Like "3 hours": one unit, rounded down."""
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count:,} {unit}{'s' if count > 1 else ''}"
    return f"{int(seconds)} second{'' if int(seconds) == 1 else 's'}"


def size(count: float) -> str:
    """Like "1.5 GB". As Redis does, a kB is 1,024 bytes."""
    for unit, amount in (("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10)):
        if count >= amount:
            return f"{count / amount:.3g} {unit}" if count < 1000 * amount else f"{count / amount:,.0f} {unit}"
    return f"{int(count)} bytes"


def share(part: float) -> str:
    """Like "42 %"."""
    return f"{100 * part:.0f} %" if part >= 0.1 or part == 0 else f"{100 * part:.2g} %"
