"""What a process has in the counters, and what a reply grants it.

Rules:

* A debit of `claim` tokens that brings the counter to `value` took the positions `value - claim + 1 ... value`.
  Those up to the limit are granted; the others belong to no process, so asking for too much is harmless.
* For every limit L, at most L tokens at positions up to L are out at once, whatever is returned and taken again:
  a debit adds positions above the counter, and no more tokens than the counter's value are out when it does.
* A counter below what this process knows to be in it has been lost (a flush, a failover).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from tenantcache.ratelimit.core.windows import Debit, Window


class Line(NamedTuple):
    """One debit of a take, and the tokens that it claims: the amount, and overshoot of earlier debits."""

    debit: Debit
    claim: int


def reading(window: Window) -> Line:
    """Claim nothing, so that the reply tells the counter's value."""
    return Line(Debit(window, 0), 0)


@dataclass(frozen=True, slots=True)
class Take:
    """What to send to the counters in one go. Hand it back to `settle` with the reply, or to `fail`, exactly once.

    `version` is that of the counters which the current minute had when it was planned (`failover.py`).
    """

    lines: tuple[Line, ...]
    repairs: bool = False
    version: object = None

    @property
    def debits(self) -> tuple[Debit, ...]:
        return tuple(line.debit for line in self.lines)


class Ledger:
    """What this process has in the counter of one window."""

    __slots__ = ("has_lost", "overshoot", "taken")

    def __init__(self) -> None:
        self.taken: int = 0
        """Tokens granted and not given back, spent or not."""
        self.overshoot: int = 0
        """Tokens debited and not granted, or dropped when the limit was lowered. Below 0 if the counter has to be
        debited: the tokens were spent on another counter's debit, which goes back (`MinuteWindow`)."""
        self.has_lost: bool = False
        """The counter has been lost once."""

    @property
    def is_even(self) -> bool:
        """Whether nothing is owed, and nothing was lost."""
        return not self.overshoot and not self.has_lost

    def claim(self, window: Window, tokens: int) -> Line:
        """Ask for `tokens`; the overshoot of earlier debits counts as paid."""
        line = Line(Debit(window, tokens - self.overshoot), tokens)
        self.overshoot = 0
        return line

    def give_back(self, window: Window, tokens: int) -> Line:
        self.taken -= tokens
        line = Line(Debit(window, -tokens - self.overshoot), 0)
        self.overshoot = 0
        return line

    def lost(self, line: Line, value: int) -> bool:
        return value < self.taken + min(0, self.overshoot) + line.claim

    def grant(self, claim: int, value: int, limit: int) -> int:
        """Enter a debit that brought the counter to `value`; return the tokens granted."""
        before = value - claim
        granted = max(0, min(claim, limit - before))
        self.taken += granted
        self.overshoot += claim - granted
        return granted

    def settle(self, line: Line, value: int, limit: int, repaired: bool) -> tuple[int, bool, list[Line]]:
        """Return the tokens granted, whether the window is used up, and what to send to repair a lost counter.

        `repaired`: the line was such a repair. If that is lost too, the window counts as used up, so that a store
        that keeps nothing is not asked, and paid, forever. So does a minute whose counter is lost for the second time,
        since each loss may admit more.
        """
        lost = self.lost(line, value)
        again = repaired or (self.has_lost and line.debit.window.unit == "minute")
        if lost and not again:
            self.has_lost, self.overshoot = True, max(0, self.overshoot)
            return 0, False, [repair(self, line, value, limit)]
        granted = 0 if lost else self.grant(line.claim, value, limit)
        return granted, granted < line.claim or (repaired and not granted), []

    def drop(self, unspent: int) -> None:
        """Give up what is unspent; the counter still holds it until it is given back or claimed anew."""
        self.taken -= unspent
        self.overshoot += unspent


def repair(ledger: Ledger, line: Line, value: int, limit: int) -> Line:
    """Debit what is held again, and claim what the lost counter's successor granted to `line`, at most.

    What others gave back to a counter that had just been lost may have taken it below 0; the repair lifts it.
    """
    present = min(max(0, line.debit.amount), value)
    claim = max(0, min(present, limit - (value - present)))
    return Line(Debit(line.debit.window, ledger.taken + claim - present), claim)


def undo(made: Iterable[Line], version: object) -> Take | None:
    """Give back what was debited of what was claimed: the rest of a claim may count in debits that are lost by now, and
    the rest of a debit was spent."""
    amounts = [(line.debit.window, min(line.debit.amount, line.claim)) for line in made]
    lines = tuple(Line(Debit(window, -amount), 0) for window, amount in amounts if amount > 0)
    return Take(lines, version=version) if lines else None
