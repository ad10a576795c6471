"""Tokens reserved in advance, for the minutes that follow.

Rules:

* They reach some minutes ahead, and never over midnight UTC, when other counters begin (another key in Redis). Each
  take that is sent anyway moves their end on, and near the end of the day to midnight.
* One number is kept for all of these minutes. A minute is added only if it was granted as many tokens as the others
  hold; what it was granted otherwise is given up. What is dropped meanwhile was debited there too: a new minute is
  debited as much as the others hold and are asked for together.
* The first minute that grants less than was asked for is a `wall` until it has begun: it is not asked again, nor is any
  behind it, nor are the others for more. The overshoot of each take would be missing when these minutes come.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile

from tenantcache.ratelimit.core.ledger import Ledger, Line
from tenantcache.ratelimit.core.windows import MINUTES_PER_DAY, Debit, Window

VersionOf = Callable[[int], object]
"""The version of the counters of a minute, by its number; None if it is not known now. It never changes."""


class Advance(Ledger):
    """The ledger of each minute from the one after `minute`, the current one, to the one before `end`.

    Its debits are in counters of one version.
    """

    end: int
    overshoot: int
    taken: int
    top: int
    wall: int

    __slots__ = ("_version", "_version_of", "end", "wall")

    def __init__(self, minute: int, version_of: VersionOf) -> None:
        super().__init__()
        self._version_of = version_of
        self._version: object = None  # not known
        self.forget(minute)

    def forget(self, minute: int) -> None:
        """Nothing is reserved for the minutes after `minute`."""
        self.taken = self.overshoot = self.top = 0
        self.end = minute + 1
        self.wall = 0

    def go_back(self, minute: int) -> None:
        """An earlier minute is entered: what was reserved would be spent in minutes that had it before."""
        self.forget(minute)
        self._version = None

    def _check_version(self, minute: int) -> None:
        """Forget what is in counters of another version than the current minute's (rule 7 of `reservation.py`)."""
        version = self._version_of(minute)
        if version != self._version:
            self.forget(minute)
            self._version = version

    def enter(self, minute: int, current: Ledger) -> None:
        """`minute` begins: what was reserved for it goes to `current`, its ledger, if both have the same counters."""
        version = self._version_of(minute)
        if version is None:
            current = Ledger()  # lost; what is reserved for later minutes may be known when they begin
        elif version != self._version:
            self.go_back(minute)
            return
        if minute < self.end:
            current.copy(self)
        if minute + 1 >= self.end:
            self.taken = self.overshoot = self.top = 0
            self.end = minute + 1

    def plan(self, minute: int, target: int, horizon: int = 0) -> list[Line]:
        """Bring what each minute holds to `target`, up or down, and reach as far as `horizon` minutes.

        What goes back is given up at once.
        """
        self._check_version(minute)
        walled = self.wall > minute
        claim, surplus = 0 if walled else max(0, target - self.taken), max(0, self.taken - target)
        amount = claim - surplus - self.overshoot
        self.taken -= surplus
        self.overshoot = 0
        lines: list[Line] = []
        if claim or amount:
            lines += [_line(number, amount, claim) for number in range(minute + 1, self.end)]
        level = self.taken if walled else target
        if level:
            reach = min(_reach(minute, horizon), self.wall) if walled else _reach(minute, horizon)
            lines += [_line(number, level, level) for number in range(self.end, reach)]
        return lines

    def return_overshoot(self, minute: int) -> list[Line]:
        """Give back what was debited for later minutes and is not held."""
        self._check_version(minute)
        return self.plan(minute, self.taken) if self.overshoot else []

    def settle_all(self, minute: int, replies: Sequence[tuple[Line, int]], limit: int) -> None:
        """Enter the counters' new values for minutes after `minute`, in their order.

        Advance tokens are unspent, so a lost counter needs no repair: what was held is dropped, and what this
        very debit put into the counters is all there is.
        """
        known = [(line, value) for line, value in replies if line.debit.window.number < self.end]
        fresh = replies[len(known) :]
        if any(self.lost(line, value) for line, value in known):
            self.taken = self.overshoot = self.top = 0
            known = [(Line(line.debit, max(0, line.debit.amount)), value) for line, value in known]
        short = (line.debit.window.number for line, value in replies if _granted(line, value, limit) < line.claim)
        self.wall = next(short, self.wall)
        if minute + 1 == self.end:
            fresh = list(takewhile(lambda reply: _granted(*reply, limit) > 0, fresh))
            self._raise(fresh, limit)
            self.end += len(fresh)
        else:
            self._raise(known, limit)
            self._extend(fresh, limit)

    def _raise(self, replies: Sequence[tuple[Line, int]], limit: int) -> None:
        granted = min((_granted(line, value, limit) for line, value in replies), default=0)
        if granted:
            self.taken += granted
            self.top = max(self.top, *(value - line.claim + granted for line, value in replies))

    def _extend(self, replies: Sequence[tuple[Line, int]], limit: int) -> None:
        for line, value in replies:
            if _granted(line, value, limit) != self.taken:
                return
            self.top = max(self.top, value - line.claim + self.taken)
            self.end += 1

    def cut(self, limit: int) -> None:
        """Drop everything unless all of it is within `limit`, which alone will govern these minutes."""
        if self.top > limit:
            self.overshoot += self.taken
            self.taken = self.top = 0


def _reach(minute: int, horizon: int) -> int:
    """The first minute that is too far ahead: midnight if the horizon would end within a horizon of it.

    Else a tenant with a request now and then would pay for a take shortly before midnight and for one after it.
    """
    midnight = minute - minute % MINUTES_PER_DAY + MINUTES_PER_DAY
    end = minute + 1 + horizon
    return end if midnight - end >= horizon else midnight


def _line(number: int, amount: int, claim: int) -> Line:
    return Line(Debit(Window("minute", number), amount), claim)


def _granted(line: Line, value: int, limit: int) -> int:
    return max(0, min(line.claim, limit - (value - line.claim)))
