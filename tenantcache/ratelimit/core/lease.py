"""Tokens that the fast path of requests spends by itself."""

from __future__ import annotations

from tenantcache.freshness.core.freshness import NEVER


class FastRequests:
    """Counts what all fast paths of an engine have admitted, one token each, as far as it has been collected."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count: int = 0


class Lease:
    """Tokens of one minute and one day, leased to the fast path, which spends them inline::

        if now < lease.hot_until and lease.left >= cost:
            lease.left -= cost  # admitted

    Nothing is counted beside `left`. The owner learns by `collect` what was spent, and ends the lease before it changes
    anything else.
    """

    __slots__ = ("_leased", "hot_until", "left")

    def __init__(self) -> None:
        self._leased = 0
        self.left: int = 0
        """Tokens that may be spent until `hot_until`."""
        self.hot_until: float = NEVER
        """In the fast path's own time, in seconds. `NEVER` once the owner has ended the lease."""

    def begin(self, tokens: int, until: float) -> None:
        """Lease `tokens` until `until`. What was spent of another lease has been collected."""
        self.left = self._leased = tokens
        self.hot_until = until

    def collect(self) -> int:
        """Return the tokens spent since the last call. The lease goes on."""
        spent, self._leased = self._leased - self.left, self.left
        return spent

    def end(self) -> None:
        """Leave the fast path nothing to spend, so that it asks. What it has spent has been collected."""
        self.left = self._leased = 0
        self.hot_until = NEVER
