"""A clock for tests: it stands still until it is told otherwise."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
"""No window ends by itself, and a few hours may be added before a day does."""


class FakeClock:
    """`FakeClock()()` is a reading, in seconds from 0. The database server's clock begins at `start`, and both advance
    together."""

    def __init__(self, start: datetime = NOON) -> None:
        self._started_at = start.timestamp()
        self._elapsed = 0.0
        self._followers: list[Callable[[], None]] = []

    def __call__(self) -> float:
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Let time pass: 60 for the next minute's limit, 86,400 for the next day's. Never backwards (ValueError)."""
        if seconds < 0:
            raise ValueError(f"time does not go back: {seconds}; give seconds of at least 0")
        self._elapsed += seconds
        for follow in self._followers:
            follow()

    def follow(self, follow: Callable[[], None]) -> None:
        """Call `follow` whenever time has passed."""
        self._followers.append(follow)

    def server_time(self) -> float:
        """Seconds since the Unix epoch, by the database server's clock."""
        return self._started_at + self._elapsed

    @property
    def now(self) -> datetime:
        """What the database server's clock shows."""
        return datetime.fromtimestamp(self.server_time(), UTC)
