"""What this process has in the counters of a minute and of its quarter of an hour, which count together (`advance.py`).

Rules:

* Tokens of both are spent alike: what was spent is at most what both ledgers have taken. Which of them a request has
  spent is not decided before something is given back.
* What is given up is taken from the quarter first: it would be idle in each of its minutes. What was spent of it moves
  to the minute. So the minute's ledger may owe tokens to its counter (an overshoot below 0), and both counters are
  changed by one command.
* Sliding minutes have no part of a quarter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tenantcache.ratelimit.core.advance import Advance, VersionOf, has_begun, is_settled
from tenantcache.ratelimit.core.ledger import Ledger, Line, reading
from tenantcache.ratelimit.core.rest import RestingCounters
from tenantcache.ratelimit.core.windows import Window, quarter_of

Answered = Mapping[Window, tuple[Line, int]]
"""The lines of a take that were answered, with the counters' new values."""


class Settled(NamedTuple):
    """What a reply grants: `granted` tokens, of this minute at least. `level` is what both counters hold, and `before`
    what others took of the minute before; None if that was not read."""

    granted: int
    is_used_up: bool
    level: int
    claim: int
    repairs: list[Line]
    before: int | None = None


class MinuteCounters:
    __slots__ = ("_minute", "_quarter", "_slides", "_spent_before", "_version_of", "number")

    def __init__(self, number: int, version_of: VersionOf, *, slides: bool) -> None:
        self.number: int = number
        self._slides = slides
        self._version_of = version_of
        self._quarter = Advance(number)
        self._quarter.follow(version_of(number))
        self._spent_before = 0
        """Tokens of the quarter that were spent in the minute before, as far as that is of the same quarter."""
        self.begin()

    def begin(self) -> None:
        """Nothing is taken of this minute alone."""
        self._minute = Ledger()

    @property
    def window(self) -> Window:
        return Window("minute", self.number)

    @property
    def granted(self) -> int:
        """Tokens granted of this minute and not given back."""
        return self._minute.taken + self._quarter.taken

    @property
    def reserved(self) -> int:
        """Tokens of them that are granted of each later minute of the quarter as well."""
        return self._quarter.taken

    @property
    def overshoot(self) -> int:
        """Tokens debited of this minute and not granted."""
        return max(0, self._minute.overshoot)

    @property
    def weighs(self) -> bool:
        """Whether later minutes would be charged with overshoot."""
        return bool(self._minute.overshoot) if self._slides else self._quarter.has_overshoot

    # Time.

    def enter(self, number: int, spent: int) -> int:
        """Enter a later minute; return the tokens that are reserved of it. `spent` tokens were in the one that ends.

        If its version is not known, they may not be spent: they are claimed anew, or go back.
        """
        self._quarter.owe(-self._minute.overshoot)
        is_next = number == self.number + 1 and quarter_of(number) == self._quarter.quarter
        self._spent_before = max(0, spent - self._minute.taken) if is_next else 0
        self.number = number
        self.begin()
        self._quarter.enter(number)
        version = self._version_of(number)
        if self._quarter.follow(version):
            self._quarter.forget(number)
        if version is None:
            self._quarter.give_up()
        return self._quarter.taken

    def clear(self, number: int) -> None:
        """Hold nothing, in a minute in which something may have been held before."""
        self.number = number
        self.begin()
        self._quarter.forget(number)

    def restart(self, spent: int, held: int) -> tuple[int, int]:
        """The minute's counter has been reset. What is reserved stays, and was spent first. Return the tokens of
        it that were spent, and those that may be spent. `held` is that of `follow_version`."""
        self.follow_version(held)
        spent = min(spent, self._quarter.taken)
        self.begin()
        return spent, 0 if self._version_of(self.number) is None else self._quarter.taken - spent

    def clock_was_set(self, seconds: float, now: float, held: int) -> None:
        """What is reserved was granted for minutes that other processes may have been in already."""
        before = self._minute.taken
        self._move_to_minute(held)
        self._minute.overshoot -= self._minute.taken - before
        self._quarter.clock_was_set(self.number, seconds, now)

    def follow_version(self, held: int) -> None:
        """The fleet may have changed its counters within the minute: what is reserved was reported as taken of it.

        `held` tokens of this minute were spent or may be spent.
        """
        if self._quarter.follow(self._version_of(self.number)):
            self._move_to_minute(held)
            self._quarter.forget(self.number)

    def _move_to_minute(self, held: int) -> None:
        """What is held is all taken of the minute from now on."""
        self._minute.taken = max(self._minute.taken, held)
        self._quarter.taken = 0

    # At rest.

    def rest(self) -> RestingCounters | None:
        """What is reserved, if nothing else is taken, and nothing owed."""
        if self._slides or self._minute.taken or not self._minute.is_even:
            return None
        return self._quarter.rest(self.number)

    def resume(self, resting: RestingCounters) -> None:
        self.number = resting.number
        self._quarter.resume(resting)
        self._spent_before = self._quarter.taken  # it is not known, and may have been all

    # Taking.

    def lacks(self, target: int) -> bool:
        """Whether `claim` would reserve tokens."""
        return self._quarter.lacks(target)

    def claim(self, tokens: int, target: int) -> list[Line]:
        """Ask for `tokens` of this minute, and bring what is reserved up to `target`."""
        line = self._minute.claim(self.window, tokens)
        return [line] if self._slides else [line, self._quarter.plan(target)]

    def reads_before(self) -> list[Line]:
        """Read the minute before, if it lies in the same key: that is in the same command."""
        before = self.number - 1
        return [reading(Window("minute", before))] if quarter_of(before) == self._quarter.quarter else []

    def claim_next(self, target: int) -> list[Line]:
        """Reserve `target` tokens of the next quarter, unless that has been asked for."""
        return self._quarter.plan_next(target)

    def settle(
        self, answered: Answered, ceiling: int, pool: int, now: float, held: int, *, is_repair: bool
    ) -> Settled | None:
        """Enter the counters' new values. None: nothing was answered of this minute.

        `ceiling` is the highest level that may be granted, `pool` the highest position in a quarter's counter, `held`
        that of `follow_version`.
        """
        of_minute = answered.get(self.window)
        if self._slides:
            return self._settle_minute(*of_minute, ceiling, 0, is_repair=is_repair) if of_minute else None
        if is_late := not is_settled(now, self.number):
            pool = 0
        if reply := answered.get(self._quarter.next_window):
            self._quarter.settle_next(*reply, pool)
        if (of_quarter := answered.get(self._quarter.window)) is None:
            return None
        line, value = of_quarter
        if of_minute is None:
            self._quarter.settle_reserved(line, value, 0, is_late=True)  # it was sent in a minute that has ended since
            return None
        if self._quarter.lost(line, value):
            self._move_to_minute(held)
        settled = self._settle_minute(*of_minute, ceiling - (value - line.claim), value, is_repair=is_repair)
        room = 0 if settled.repairs else min(pool, ceiling - of_minute[1])
        reserved = self._quarter.settle_reserved(line, value, room, is_late=is_late)
        repairs = settled.repairs + self._quarter.return_overshoot() if settled.repairs else []
        before = answered.get(Window("minute", self.number - 1))
        others = None if before is None else max(0, before[1] + value - line.claim)
        return settled._replace(granted=settled.granted + reserved, repairs=repairs, before=others)

    def _settle_minute(self, line: Line, value: int, ceiling: int, other: int, *, is_repair: bool) -> Settled:
        """`other` is the counter of the quarter."""
        granted, is_used_up, repairs = self._minute.settle(line, value, ceiling, is_repair)
        return Settled(granted, is_used_up, value + other, line.claim, repairs)

    # Giving back.

    def give_back(self, tokens: int) -> list[Line]:
        """Give back `tokens` that were taken of this minute alone, and all overshoot."""
        line = self._minute.give_back(self.window, tokens)
        return [line] if self._slides else [line, *self._quarter.return_overshoot()]

    def keep_reserved(self, most: int, now: float) -> None:
        """Reserve no more than `most` tokens of later minutes. Those of this minute stay."""
        if not has_begun(now, self.number):
            return
        moved = max(0, self._quarter.taken - most)
        self._minute.taken += moved
        self._minute.overshoot -= moved
        self._quarter.taken -= moved
        self._quarter.overshoot += moved

    def give_up_unspent(self, spent: int, now: float, *, is_first: bool) -> None:
        """Nothing but the `spent` tokens is taken any more; `give_back` returns the others.

        `is_first`: nothing was held in an earlier minute.
        """
        self._minute.overshoot += self._minute.taken - spent
        self._minute.taken = spent
        self._quarter.give_up()
        if not is_first and not has_begun(now, self.number):
            self._quarter.lose(self._spent_before)

    def leave(self) -> None:
        """Other counters go on from what is granted here. Overshoot stays in those that are left."""
        self._minute.overshoot, self._minute.has_lost = 0, False
        self._quarter.overshoot = 0
