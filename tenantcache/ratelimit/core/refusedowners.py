"""Which tenants are refused most, counted at the refusals themselves."""

from __future__ import annotations

MOST_OWNERS = 1_000
"""Owners that are counted between two calls of `drain`: some 100 kB. Those beyond are refused seldom, or come late."""


class RefusedOwners:
    """Requests that were refused because a limit was used up, by the owner of the counters (`owner_of`)."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def note(self, owner: str) -> None:
        counts = self._counts
        if owner in counts:
            counts[owner] += 1
        elif len(counts) < MOST_OWNERS:
            counts[owner] = 1

    def drain(self) -> dict[str, int]:
        """What was counted since the last call. Without calls it is bounded, and grows stale."""
        counts, self._counts = self._counts, {}
        return counts
