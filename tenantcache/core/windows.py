"""Fixed windows on the server's clock.

A window is named by its policy and its number since the Unix epoch, so that two processes that agree on the
server's time agree on the window without talking. Minutes are UTC minutes; days are UTC days.
Times are seconds since the Unix epoch, as floats.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Policy = Literal["minute", "day"]

MINUTE = 60
DAY = 86_400
MINUTES_PER_HOUR = 60


class Window(NamedTuple):
    """One window of one policy: `Window("minute", 29_000_000)`."""

    policy: Policy
    number: int

    @property
    def start(self) -> int:
        return self.number * (MINUTE if self.policy == "minute" else DAY)

    @property
    def end(self) -> int:
        """First second after the window."""
        return (self.number + 1) * (MINUTE if self.policy == "minute" else DAY)


def minute_at(server_time: float) -> int:
    return int(server_time // MINUTE)


def day_at(server_time: float) -> int:
    return int(server_time // DAY)


class Debit(NamedTuple):
    """Tokens to take from a window's counter (amount > 0), to give back (< 0), or only to read (0)."""

    window: Window
    amount: int
