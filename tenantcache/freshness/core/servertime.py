"""What time the database server has, judged from here.

A look at the server's clock that was sent at s and came back at r places it at the middle of the trip. The error is at
most half of the trip (Cristian, "Probabilistic clock synchronization", 1989). The tightest recent look wins; an old one
loses trust as clocks drift. A look that contradicts the estimate beyond both their errors means that a clock was set.
"""

from __future__ import annotations

DRIFT = 200e-6
"""Seconds a second. Crystal oscillators stay within 100 ppm; two of them are involved."""


class ServerTime:
    """`offset` is what to add to a local reading, in seconds; `error` bounds how far off that may be."""

    __slots__ = ("_observed_at", "error", "offset")

    def __init__(self, offset: float) -> None:
        self.offset: float = offset
        self.error: float = float("inf")
        self._observed_at = 0.0

    def observe(self, sent: float, received: float, server_time: float) -> float:
        """Take in one look; `sent` and `received` are local readings, in seconds. Return how far `offset` has moved."""
        offset = server_time - (sent + received) / 2
        error = (received - sent) / 2
        trusted = self.error + (received - self._observed_at) * DRIFT
        moved = offset - self.offset
        if error > trusted and abs(moved) <= error + trusted:
            return 0.0
        self.offset, self.error, self._observed_at = offset, error, received
        return moved
