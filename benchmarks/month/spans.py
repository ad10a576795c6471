"""The parts of a day that are simulated, and for how many hours each of them stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from benchmarks.month.bill import BAD_TENANT, FAILOVER, USUAL
from benchmarks.month.fleets import HOUR

LEAD = HOUR // 2
"""Seconds before a span in which the fleet starts and gets to know its demand. They are not counted."""


@dataclass(frozen=True)
class Span:
    """`hours` from `start`, an hour of the day, for `weight` times as many of it."""

    start: int
    hours: float
    weight: int
    deploys: bool = False
    loses_redis: bool = False
    has_bad_tenant: bool = False

    def times(self, weight: int) -> Span:
        return replace(self, weight=weight)

    def half_with_bad_tenant(self) -> Span:
        return replace(self, hours=self.hours / 2, weight=self.weight * 2, has_bad_tenant=True)


MIDNIGHT = Span(0, 1.0, 1)
NIGHT = Span(5, 1.0, 7)
"""For 22:00 to 6:00."""
DEPLOYMENT = Span(10, 1.0, 1, deploys=True)
PEAK = Span(12, 1.0, 9)
"""For 8:00 to 18:00."""
EVENING = Span(19, 1.0, 6)
"""For 6:00 to 8:00 and 18:00 to 22:00."""
LOSS = Span(14, 1.0, 1, loses_redis=True)

SPANS: Mapping[str, tuple[Span, ...]] = {
    USUAL: (MIDNIGHT, NIGHT, DEPLOYMENT, PEAK, EVENING),
    FAILOVER: (MIDNIGHT, NIGHT, DEPLOYMENT, PEAK.times(PEAK.weight - 1), EVENING, LOSS),
    BAD_TENANT: (MIDNIGHT, DEPLOYMENT, *(span.half_with_bad_tenant() for span in (NIGHT, PEAK, EVENING))),
}
"""Together they have 1.4 % more requests than the day."""
