"""A clock for tests: it stands still until it is told otherwise."""

from __future__ import annotations

from datetime import UTC, datetime

START = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()
"""Noon: no window ends by itself, and a few hours may be added before a day does."""


class FakeClock:
    """`FakeClock()()` is a reading, in seconds. The server's clock and this process's are one."""

    def __init__(self) -> None:
        self._elapsed = 0.0

    def __call__(self) -> float:
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Let time pass: 60 for the next minute's limit, 86,400 for the next day's. Never backwards (ValueError)."""
        if seconds < 0:
            raise ValueError(f"time does not go back: {seconds}; give seconds of at least 0")
        self._elapsed += seconds

    def server_time(self) -> float:
        """Seconds since the Unix epoch."""
        return START + self._elapsed

    @property
    def now(self) -> datetime:
        """What the database server's clock would show."""
        return datetime.fromtimestamp(self.server_time(), UTC)
