"""Tokens taken in advance for each later minute of the hour.

One number stands for all of the hour's later minutes: what the scarcest of them granted. It keeps an idle reservation
small, and differs only where the counters of some minutes were lost or the fleet grew.
"""

from __future__ import annotations

from collections.abc import Sequence

from tenantcache.core.ledger import Ledger, Line
from tenantcache.core.windows import MINUTES_PER_HOUR, Debit, Window


class Standing(Ledger):
    """The ledger of each later minute."""

    __slots__ = ()

    def plan(self, minute: int, target: int) -> list[Line]:
        """Bring what each minute after `minute` holds to `target`, up or down; what goes back is given up at once."""
        if target == self.taken and not self.over:
            return []
        hour_end = minute - minute % MINUTES_PER_HOUR + MINUTES_PER_HOUR
        claim, surplus = max(0, target - self.taken), max(0, self.taken - target)
        amount = claim - surplus - self.over
        self.taken -= surplus
        self.over = 0
        return [Line(Debit(Window("minute", number), amount), claim) for number in range(minute + 1, hour_end)]

    def settle_all(self, replies: Sequence[tuple[Line, int]], limit: int) -> None:
        """Enter the counters' new values.

        Standing tokens are unspent, so a lost counter needs no repair: what was held is dropped, and what this
        very debit put into the counters is all there is.
        """
        if any(self.lost(line, value) for line, value in replies):
            self.taken = self.top = 0
            replies = [(Line(line.debit, max(0, line.debit.amount)), value) for line, value in replies]
        granted = min((max(0, min(line.claim, limit - (value - line.claim))) for line, value in replies), default=0)
        if granted:
            self.taken += granted
            self.top = max(self.top, *(value - line.claim + granted for line, value in replies))

    def cut(self, limit: int) -> None:
        """Drop everything unless all of it is within `limit`, which alone will govern these minutes."""
        if self.top > limit:
            self.over += self.taken
            self.taken = self.top = 0
