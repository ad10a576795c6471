"""What the bands above the present one would save: what is not sent any more in each, by purpose.

A lookup, a fill and an invalidation are sent for copies alone. Without copies none of these are sent, and without Redis
nothing is. What thrift saves depends on the traffic: how many tenants are looked up once, and how evenly tokens are
used. So there is no figure for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tenantcache.budget.core.bands import CHANGES, Band, Cause, Use, edges_of
from tenantcache.budget.core.meter import Purpose

COPIES = frozenset({Purpose.LOOKUP, Purpose.FILL, Purpose.INVALIDATION})

SPARED: Mapping[Band, frozenset[Purpose]] = {Band.NO_COPIES: COPIES, Band.NO_REDIS: frozenset(Purpose)}
"""Purposes of which nothing is sent in a band."""


@dataclass(frozen=True, slots=True)
class BandAhead:
    """A band above the present one. It begins at a use of `begins_at` billed units.

    `saves`: units that would not be used until the period's end if it began now; None if that is not known.
    """

    band: Band
    begins_at: int
    saves: int | None


def bands_ahead(band: Band, use: Use, by_purpose: Mapping[Purpose, int], expected: int) -> list[BandAhead]:
    """From the next one up. `by_purpose` is what was used in this period, `expected` the use at its end.

    What is used from now on is taken to have the purposes of what was used before.
    """
    edges, rest, total = edges_of(use), max(0, expected - use.used), sum(by_purpose.values())
    ahead = []
    while (above := CHANGES[band].get(Cause.RISES)) is not None:
        spared = SPARED.get(above)
        billed = None if spared is None else sum(by_purpose[purpose] for purpose in spared)
        saves = None if billed is None else round(rest * billed / total) if total else 0
        ahead.append(BandAhead(above, edges[above], saves))
        band = above
    return ahead
