"""Tokens reserved in advance: so many of each minute of a quarter of an hour, by one debit.

Rules:

* A quarter has a counter beside those of its minutes. Tokens debited there may be spent in each minute of the quarter,
  from the one in which they were granted on. So a minute's positions are those of the sum of both counters, its level.
  A command that debits one of them reads the other one too, and no other process's debit comes between.
* What is granted in advance must fit into this minute's level. It fits into the later minutes, because none has been
  debited yet. That needs a reply within the minute: `SKEW` before its end, since other processes may be in the next one
  by then. A later reply grants nothing.
* All processes together reserve a part of the limit, the pool. Nothing is granted at a position above it.
* The next quarter is reserved in the last minutes of this one, once. Its counter is in another key, which costs
  another command.
* A quarter that grants less than was asked for, or does not answer, is not asked again. Its overshoot
  goes back at once: it would be missing in each of the minutes.
* Tokens are lost if their counters are of another version than the minute's, or if the server's clock was set. A clock
  that was set back may have been in later minutes before: their quarter is not reserved any more.
* What was spent in the minute before does not go back while another process may be in that minute. Then it is lost.
"""

from __future__ import annotations

from collections.abc import Callable

from tenantcache.ratelimit.core.ledger import Ledger, Line
from tenantcache.ratelimit.core.rest import RestingCounters
from tenantcache.ratelimit.core.windows import MINUTE, QUARTER, Debit, Window, minute_at, quarter_of

VersionOf = Callable[[int], object]
"""The version of the counters of a minute, by its number; None if it is not known now. It never changes."""

SKEW = 1.0
"""Seconds that the server time of two processes differs by at most: each is exact to half a pull, of 0.5 s at most."""

REPLY = 1.0
"""Seconds that a reply may take and still grant something."""

HEARD = 5.0
"""Seconds after which every process has heard that the server's clock was set: more than the bound on staleness."""

AHEAD = 180.0
"""Seconds before its start from which a quarter is reserved, by a take that is sent anyway: there is one a minute."""


def is_settled(now: float, minute: int) -> bool:
    """Whether all processes are in `minute`, or in one before it, at server time `now`."""
    return now + SKEW < (minute + 1) * MINUTE


def has_begun(now: float, minute: int) -> bool:
    """Whether all processes are in `minute`, or in one after it, at server time `now`."""
    return now - SKEW >= minute * MINUTE


def may_reserve(now: float) -> bool:
    """Whether a reply to what is sent now will come before the minute ends."""
    return is_settled(now + REPLY, minute_at(now))


def is_next_due(now: float) -> bool:
    """Whether the next quarter may be reserved now."""
    return may_reserve(now) and QUARTER - now % QUARTER <= AHEAD


class Advance(Ledger):
    """The ledger of the quarter's counter, and what is reserved of the next quarter."""

    next_overshoot: int
    next_taken: int
    overshoot: int
    quarter: int
    taken: int

    __slots__ = ("_asked", "_barred", "_version", "next_overshoot", "next_taken", "quarter")

    def __init__(self, minute: int) -> None:
        super().__init__()
        self._version: object = None  # not known
        self._barred = 0  # the last quarter in which a clock was that has been set back since
        self.forget(minute)

    @property
    def window(self) -> Window:
        return Window("quarter", self.quarter)

    @property
    def next_window(self) -> Window:
        return Window("quarter", self.quarter + 1)

    def forget(self, minute: int) -> None:
        """Nothing is reserved."""
        self.taken = self.overshoot = self.next_taken = self.next_overshoot = 0
        self.quarter = quarter_of(minute)
        self._asked = 0  # the last quarter that is not to be asked again

    def enter(self, minute: int) -> None:
        """A later minute begins, perhaps in a later quarter."""
        quarter = quarter_of(minute)
        if quarter == self.quarter:
            return
        taken, overshoot = (self.next_taken, self.next_overshoot) if quarter == self.quarter + 1 else (0, 0)
        self.forget(minute)
        self.taken, self.overshoot = taken, overshoot
        self.has_lost = False

    def clock_was_set(self, minute: int, seconds: float, now: float) -> None:
        """The clock is `now`, by so many seconds another one than before: nothing is reserved."""
        self.forget(minute)
        if seconds < 0:
            self._barred = max(self._barred, quarter_of(minute_at(now - seconds + HEARD)))

    def follow(self, version: object) -> bool:
        """Note the version of the minute's counters, if it is known; return whether it is another one."""
        if version is None or version == self._version:
            return False
        self._version = version
        return True

    # At rest.

    def rest(self, number: int) -> RestingCounters | None:
        """What is reserved, if nothing is owed; `number` is that of the minute."""
        if self.has_overshoot or self.has_lost:
            return None
        return RestingCounters(number, self._version, self.taken, self.next_taken, self._asked, self._barred)

    def resume(self, resting: RestingCounters) -> None:
        self.quarter = quarter_of(resting.number)
        self._version, self._asked, self._barred = resting.version, resting.asked, resting.barred
        self.taken, self.next_taken = resting.reserved, resting.next_reserved

    # Taking.

    def plan(self, target: int) -> Line:
        """Bring what is reserved up to `target`, and read the counter."""
        claim = target - self.taken if self.lacks(target) else 0
        if claim:
            self._asked = self.quarter
        return self.claim(self.window, claim)

    def plan_next(self, target: int) -> list[Line]:
        """Reserve `target` of the next quarter, unless that has been asked for."""
        if not target or max(self._asked, self._barred) > self.quarter:
            return []
        self._asked = self.quarter + 1
        return [Line(Debit(self.next_window, target), target)]

    def lacks(self, target: int) -> bool:
        """Whether `plan` would ask for tokens of this quarter."""
        return self.taken < target and self.quarter > self._asked and self.quarter > self._barred

    def settle_reserved(self, line: Line, value: int, room: int, *, is_late: bool = False) -> int:
        """Enter the new value of this quarter's counter; return the tokens granted of each minute from now on.

        `room` is the highest position that may be granted; 0 if the reply `is_late`. Then it may be asked for again.
        """
        granted = self.grant(min(line.claim, value), value, room)  # a counter that was lost has no more
        if line.claim and (is_late or granted == line.claim) and self._asked == self.quarter:
            self._asked = 0
        return granted

    def settle_next(self, line: Line, value: int, room: int) -> None:
        """The same for the next quarter."""
        granted = max(0, min(line.claim, room - (value - line.claim)))
        self.next_taken += granted
        self.next_overshoot += line.claim - granted

    # Giving back.

    def owe(self, tokens: int) -> None:
        """So many tokens were spent in the minute that ends, and its counter does not have them: they stay debited."""
        self.overshoot -= min(max(0, tokens), self.overshoot)

    def lose(self, tokens: int) -> None:
        """So many of what is given up were spent in the minute before, in which others may be: they stay debited."""
        self.overshoot -= min(tokens, max(0, self.overshoot))

    def give_up(self) -> None:
        """Give everything up; the counters hold it until it is given back."""
        self.overshoot += self.taken
        self.next_overshoot += self.next_taken
        self.taken = self.next_taken = 0

    @property
    def has_overshoot(self) -> bool:
        return bool(self.overshoot or self.next_overshoot)

    def return_overshoot(self) -> list[Line]:
        """Give back what was debited and is not held."""
        lines = [self.give_back(self.window, 0)]
        if self.next_overshoot:
            lines.append(Line(Debit(self.next_window, -self.next_overshoot), 0))
            self.next_overshoot = 0
        return lines
