"""Whether Redis has lost counters, or one tenant's were merely reset (rule 4 of `failover.py`)."""

from __future__ import annotations

MIN_TENANTS_WITH_LOST_COUNTERS = 2
"""Of one tenant alone they may have been reset."""


class LostCounters:
    """Those that were found missing since a change."""

    __slots__ = ("_owners", "_version")

    def __init__(self) -> None:
        self._version, self._owners = -1, set[str]()

    def note(self, owner: str, version: int) -> None:
        """A counter of `owner` did not hold what was debited there under the row of that version."""
        if self._version != version:
            self._version, self._owners = version, set()
        if len(self._owners) < MIN_TENANTS_WITH_LOST_COUNTERS:
            self._owners.add(owner)

    def are_lost(self, version: int) -> bool:
        return self._version == version and len(self._owners) >= MIN_TENANTS_WITH_LOST_COUNTERS
