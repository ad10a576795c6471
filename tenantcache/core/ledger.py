"""What a process has in the counters, and what a reply grants it.

Rules:

* A debit of `claim` tokens that brings the counter to `value` took the positions `value - claim + 1 ... value`.
  Those up to the limit are granted; the others are nobody's, so asking for too much is harmless.
* For every limit L, at most L tokens at positions up to L are out at once, whatever is returned and taken again:
  a debit adds positions above the counter, and no more tokens than the counter's value are out when it does.
* A counter below what this process knows to be in it has been lost (a flush, a failover).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tenantcache.core.windows import Debit, Window


class Line(NamedTuple):
    """One debit of a take, and the tokens that it claims: the amount, and what earlier debits had claimed in vain."""

    debit: Debit
    claim: int


@dataclass(frozen=True, slots=True)
class Take:
    """What to send to the counters in one go. Hand it back to `settle` with the reply, or to `fail`, exactly once."""

    lines: tuple[Line, ...]

    @property
    def debits(self) -> tuple[Debit, ...]:
        return tuple(line.debit for line in self.lines)


class Ledger:
    """What this process has in the counter of one window (for standing tokens: of each later minute of the hour)."""

    __slots__ = ("over", "taken", "top")

    def __init__(self) -> None:
        self.taken = 0
        """Tokens granted and not given back, spent or not."""
        self.over = 0
        """Tokens debited and not granted, or dropped when the limit was lowered."""
        self.top = 0
        """Highest position of a granted token."""

    def claim(self, window: Window, tokens: int) -> Line:
        """Ask for `tokens`; what was debited in vain before counts as paid."""
        line = Line(Debit(window, tokens - self.over), tokens)
        self.over = 0
        return line

    def give_back(self, window: Window, tokens: int) -> Line:
        self.taken -= tokens
        line = Line(Debit(window, -tokens - self.over), 0)
        self.over = 0
        return line

    def lost(self, line: Line, value: int) -> bool:
        return value < self.taken + line.claim

    def grant(self, claim: int, value: int, limit: int) -> int:
        """Enter a debit that brought the counter to `value`; return the tokens granted."""
        before = value - claim
        granted = max(0, min(claim, limit - before))
        self.taken += granted
        self.over += claim - granted
        if granted:
            self.top = max(self.top, before + granted)
        return granted

    def lower(self, unspent: int, limit: int) -> int:
        """Drop the unspent tokens above `limit`; return how many of them are left."""
        left = min(unspent, max(0, limit - (self.top - unspent)))
        self.taken -= unspent - left
        self.over += unspent - left
        self.top = min(self.top, limit)
        return left


def repair(ledger: Ledger, line: Line, value: int, limit: int) -> Line:
    """Debit what is held again, and claim what the lost counter's successor granted to `line`, at most."""
    amount = max(0, line.debit.amount)
    claim = max(0, min(amount, limit - (value - amount)))
    return Line(Debit(line.debit.window, ledger.taken + claim - amount), claim)


def undo(take: Take) -> Take | None:
    """Give back what a take debited; not what it claimed, which may count in debits that are lost by now."""
    lines = tuple(Line(Debit(d.window, -d.amount), 0) for d in take.debits if d.amount > 0)
    return Take(lines) if lines else None
