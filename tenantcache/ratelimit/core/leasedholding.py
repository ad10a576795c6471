"""A holding, and the lease on it of the fast path."""

from __future__ import annotations

from tenantcache.ratelimit.core.clockmoves import ClockMoves
from tenantcache.ratelimit.core.holding import Holding
from tenantcache.ratelimit.core.lease import FastRequests, Lease
from tenantcache.ratelimit.core.windows import Calendar, Window
from tenantcache.tenant import Limits


class LeasedHolding(Lease):
    """It is the lease itself, so that the fast path reads one object. What that has spent is collected before anything
    else is done to the holding, and counted in `fast`."""

    __slots__ = ("_fast", "_followed", "_holding", "_moves")

    def __init__(self, holding: Holding, fast: FastRequests, moves: ClockMoves) -> None:
        super().__init__()
        self._holding = holding
        self._fast = fast
        self._moves = moves
        self._followed = moves.count

    @property
    def limits(self) -> Limits:
        return self._holding.limits

    @property
    def calendar(self) -> Calendar:
        return self._holding.day.calendar

    @property
    def windows(self) -> tuple[Window, Window]:
        """The minute and the day in which tokens are spent now."""
        return self._holding.minute.window, self._holding.day.window

    @property
    def until(self) -> float:
        """The server time at which the first of them ends; 0 after `release`, and if they may be other ones because the
        server's clock was set."""
        return self._holding.until if self._followed == self._moves.count else 0.0

    @property
    def minute(self) -> int:
        """Tokens that may be spent in the current minute; `UNLIMITED` if there is no limit."""
        self._collect()
        return self._holding.minute.held

    @property
    def low(self) -> int:
        """The low-water mark: tokens of the current minute on top of `minute`, handed out by `decide`."""
        return self._holding.minute.low

    @property
    def granted(self) -> int:
        """Tokens of the current minute that were granted here, spent or not; 0 without a limit."""
        return self._holding.minute.granted

    @property
    def day(self) -> int:
        """Tokens that may be spent today; `UNLIMITED` if there is no limit."""
        self._collect()
        return self._holding.day.held

    @property
    def refill(self) -> bool:
        """Whether a background take should be planned."""
        return self._holding.refill

    @property
    def watched(self) -> bool:
        """Whether more is held than may be left idle: then the shell calls `surplus` about once a second."""
        return self._holding.pace is not None

    # The lease.

    def lend(self, until: float) -> None:
        """Let the fast path spend until `until`, in its own time: before this minute and this day have ended."""
        self._collect()
        self.begin(min(self._holding.minute.held, self._holding.day.held), until)

    def _collect(self) -> None:
        if spent := self.collect():
            self._fast.count += spent
            self._holding.minute.spend(spent)
            self._holding.day.spend(spent)

    def follow_clock(self) -> None:
        """Note each move of the server's clock, before anything else is done."""
        if self._followed != self._moves.count:
            moves, self._followed = self._moves.since(self._followed), self._moves.count
            for seconds, now in moves:
                self.clock_moved(seconds, now)

    def clock_moved(self, seconds: float, now: float) -> None:
        raise NotImplementedError

    def _enter(self, now: float) -> Holding:
        """End the lease, and enter the windows of `now`."""
        self.follow_clock()
        self._collect()
        self.end()
        self._holding.enter(now)
        return self._holding
