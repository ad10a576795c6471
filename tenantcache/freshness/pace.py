"""When to pull next, and how much to ask for at once."""

from __future__ import annotations

MIN_PULL_PAUSE, MAX_PULL_PAUSE = 0.002, 0.25
"""Seconds between pulls that wait for a transaction to end, and for which a notification is left unanswered after many
that have brought nothing."""

EMPTY_NOTIFICATIONS = 8
"""Without a change, one after the other: a publisher's own and those that come too late are two or three."""


class Pace:
    """When to pull next, in seconds. `patience` is how long a notification is left unanswered.

    A transaction that leaves the notifying to another may commit after it. So after a notification the pauses are
    short, and grow, for as long as transactions that were under way then still are.
    """

    def __init__(self, interval: float) -> None:
        self.patience: float = 0.0
        self._empty = 0
        self._interval = interval
        self._awaited: frozenset[int] = frozenset()
        self._pause = MIN_PULL_PAUSE

    @property
    def pause(self) -> float:
        """How long to wait for a notification."""
        return min(self._pause, self._interval) if self._awaited else self._interval

    def pulled(self, running: frozenset[int], *, is_notified: bool, found: bool) -> None:
        """Note the end of a catch-up: which transactions are under way, and whether it has brought a change."""
        if found:
            self.patience, self._empty = 0.0, 0
        elif is_notified:
            self._empty += 1
            if self._empty > EMPTY_NOTIFICATIONS:
                self.patience = min(max(self.patience * 2, MIN_PULL_PAUSE), MAX_PULL_PAUSE)
        if found or is_notified:
            self._awaited, self._pause = running, MIN_PULL_PAUSE
        else:
            self._awaited &= running
            self._pause *= 2


class Portion:
    """How much of something is asked for at once: half as much after each failure, twice as much after each success."""

    def __init__(self) -> None:
        self._halvings = 0

    def shrink(self) -> None:
        self._halvings += 1

    def grow(self) -> None:
        self._halvings = max(0, self._halvings - 1)

    def of(self, most: int) -> int:
        return max(1, most >> self._halvings)
