"""What was admitted, by day, read off the tokens that are left: the hot path counts nothing beside them.

Rules:

* Of a day's tokens, those that were taken and are not held any more were spent. That number grows, or falls by a
  refund, until the ledger is closed: at the end of the day, when the limit comes or goes, when all is given back.
* Each token is handed out once, by `drain`, under the day in which it was spent. One that was handed out before it was
  refunded is taken back by a negative number.
"""

from __future__ import annotations

from typing import NamedTuple


class Spent(NamedTuple):
    """Tokens admitted on the day of that number since the Unix epoch, in the tenant's time zone."""

    day: int
    tokens: int


class Spending:
    """One tenant's in this process. `spent` is always the total of the open ledger, that of `day`."""

    __slots__ = ("_closed", "_drained")

    def __init__(self) -> None:
        self._closed: tuple[Spent, ...] = ()
        self._drained = 0

    def close(self, day: int, spent: int) -> None:
        """The ledger ends with that total; the next one begins at 0."""
        if spent != self._drained:
            self._closed += (Spent(day, spent - self._drained),)
        self._drained = 0

    def add(self, day: int, tokens: int) -> None:
        """Count `tokens` that were admitted without having been taken."""
        if self._closed and self._closed[-1].day == day:
            tokens += self._closed[-1].tokens
            self._closed = self._closed[:-1]
        self._closed += (Spent(day, tokens),)

    def is_drained(self, spent: int) -> bool:
        return not self._closed and spent == self._drained

    def resume(self, drained: int) -> None:
        """So many tokens of the open ledger have been handed out."""
        self._drained = drained

    def drain(self, day: int, spent: int) -> list[Spent]:
        """What was spent since the last call, oldest first."""
        self.close(day, spent)
        drained, self._closed, self._drained = list(self._closed), (), spent
        return drained
