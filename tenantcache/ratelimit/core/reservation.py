"""What one process holds of one tenant's limits, and when it must ask the counters for more.

Rules, each of which keeps "never exceeded" true by itself:

1. A token is spendable only if a counter was debited for it before, at a position up to the limit (`ledger.py`).
2. Tokens belong to their window and end with it. Standing tokens, taken in advance for later minutes (`standing.py`),
   become a minute's tokens when it begins.
3. What is given back is given up when the debit is planned, not when the reply comes: it is never spent meanwhile.
4. A debit whose reply never came is counted as spent: nothing is granted on it. A take may be answered in part (its
   debits lie in two stores, and one failed): what was granted is kept, and the next take asks only for the rest. After
   a failure a take asks for no more than it needs now, and for no later minute, until one is answered: a store that
   counts and does not answer is not emptied by those who ask again.
5. A counter below what this process knows to be in it has been lost. What is held, spent or not, is debited again
   before anything new is granted; if that is lost too, the window counts as used up. So one process alone never exceeds
   a limit even then. Several may: each loss of a window's counter lets at most one more `limit` through in that window
   (or the value that was lost, where more had been claimed); in practice, what the other processes had been granted and
   have not debited again, which each does with its next take.
6. A lowered limit ends all tokens of its window and gives them back: those above it must go, and those below it would
   be refused to everybody else for the rest of a day. Until all processes have done so (`cut_settles`), a refusal is
   not final. A window's bound is the highest limit that was in force in it. Standing tokens belong to windows that the
   old limit never governs: all of them go, unless all are within the new limit.
   A clock that was set back leads into windows that were left before. They are entered with nothing: what was taken of
   them is in their counters. What was taken of later windows is given up, also what is on its way: it
   is of no version (rule 7).
7. Where the counters of a minute are others than those that its tokens were debited in (`storechoice.py`: the fleet has
   changed its store), or where that is not known, the tokens are lost. Each minute's counters have a version.

One take of a reservation may be in flight at a time; replies out of order would look like a lost counter.
How much to ask for is `ReservePolicy`; nothing in it can break the rules above.
"""

from __future__ import annotations

from collections.abc import Sequence

from tenantcache.ratelimit.core.advance import Standing
from tenantcache.ratelimit.core.decision import Decision, Quota, policies_below
from tenantcache.ratelimit.core.forecast import Usage
from tenantcache.ratelimit.core.holding import UNLIMITED, Holding, VersionOf, one_version
from tenantcache.ratelimit.core.ledger import Ledger, Line, Take, undo
from tenantcache.ratelimit.core.policy import ReservePolicy
from tenantcache.ratelimit.core.toodear import NOT_TOO_DEAR
from tenantcache.ratelimit.core.windows import MINUTE, Calendar, Window, minute_at, minute_end
from tenantcache.tenant import Limits

__all__ = ["UNLIMITED", "Decision", "Quota", "Reservation", "ReservePolicy", "Take", "VersionOf", "one_version"]


class Reservation(Holding):
    """One tenant's tokens in this process, and what to ask the counters for. The hot path's fields: see `Holding`."""

    __slots__ = ()

    def plan(self, now: float, cost: int, processes: int, horizon: int | None = None) -> Take | None:
        """Return what to ask for so that `cost` can be spent (0: a background refill), sized by forecast.

        `cost` may be what several waiting requests cost together, up to the limits. `processes` is the size of the
        fleet, at least 1, and `horizon` the minutes ahead for which tokens may stand, where the policy's are too
        many for the store that counts. None when there is nothing to ask: enough is held, a limit is known to be
        used up, a take is in flight, or after `release`. Every take returned must be settled or failed.
        """
        if self.taking or self.released:
            return None
        self._roll(now)
        if cost:
            cost = self._affordable(now, cost)
            if not cost:
                return None
        minute = self._plan_minute(now, cost, processes, self._policy.horizon if horizon is None else horizon)
        lines = minute + self._plan_day(now, cost, processes, bool(minute))
        self.taking = bool(lines)
        return self._take(lines)

    def _take(self, lines: Sequence[Line], *, repairs: bool = False) -> Take | None:
        return Take(tuple(lines), repairs, self._version_of(self._number)) if lines else None

    def _current_standing(self) -> Standing:
        """Rule 7: what stands in counters of the version that the current minute has; nothing else does."""
        version = self._version_of(self._number)
        if version != self._standing.version:
            self._standing = Standing(self._number, version)
        return self._standing

    def _affordable(self, now: float, cost: int) -> int:
        """What of `cost` a take can still make possible."""
        if policies_below(self.limits, cost):
            return 0
        if now < self._refused_until(1, now):
            cost = min(cost, self.minute + self.low)
        if self._day_exhausted:
            cost = min(cost, self.day)
        return cost

    def _plan_minute(self, now: float, cost: int, processes: int, horizon: int) -> list[Line]:
        limit = self.limits.per_minute
        held = self.minute + self.low
        if limit is None or now < self._refused_until(1, now) or (cost and held >= cost):
            return []
        standing = 0 if self._sparing else self._standing_target(limit, processes)
        wanted = 0 if self._sparing else self._wanted(now, cost, limit, processes, standing if cost else 0)
        tokens = max(cost, wanted) - held
        if self._day_exhausted:
            tokens = min(tokens, self.day - held)
        if tokens <= 0:
            return []
        current = self._current.claim(Window("minute", self._number), tokens)
        if self._sparing:
            return [current]
        return [current, *self._current_standing().plan(self._number, standing, horizon)]

    def _wanted(self, now: float, cost: int, limit: int, processes: int, standing: int) -> int:
        """Tokens to hold for `cost` and the rest of the minute."""
        rest = min(MINUTE, max(0.0, minute_end(self._number) - now))
        expected = cost + self._demand.rate(self._spent(), now) * rest
        return self._policy.wanted(expected, self._left(now, limit) / processes, standing, limit)

    def _left(self, now: float, limit: int) -> float:
        """What the minute's counter is expected to have left."""
        pressed = self._policy.pressed(limit, self._usage.peak())
        return max(0.0, limit - self._usage.estimate(now, limit, pressed=pressed))

    def _standing_target(self, limit: int, processes: int) -> int:
        """Tokens to have in each later minute."""
        return self._policy.standing(limit, processes, self._usage.peak())

    def _plan_day(self, now: float, cost: int, processes: int, along: bool) -> list[Line]:
        """Ask for the next hour's demand when the day's tokens run out (`along`: or would within the minute)."""
        limit = self.limits.per_day
        if limit is None or self._day_exhausted:
            return []
        mean = self._demand.mean or 0.0
        enough = cost + int(mean) if (along or not cost) and not self._sparing else cost
        if self.day >= enough:
            return []
        left = max(0, limit - max(self._day_used, self._daily.taken))
        chunk = 0 if self._sparing else self._policy.day_chunk(mean, left, processes)
        tokens = max(1, cost - self.day, chunk)
        return [self._daily.claim(Window("day", self._today.number), tokens)]

    def settle(self, take: Take, values: Sequence[int | None], now: float) -> Take | None:
        """Apply the counters' new `values`, one for each debit, in order; None for one that may not have been made.

        Returns a take to send next, and settle likewise, when a counter was lost (nothing of that debit is granted
        before), or when the reservation was released meanwhile (it gives everything back).
        """
        self.taking = False
        answered = [(line, value) for line, value in zip(take.lines, values, strict=True) if value is not None]
        unanswered = [line for line, value in zip(take.lines, values, strict=True) if value is None]
        self._sparing = bool(unanswered)
        if self.released:
            return undo([line for line, _ in answered]) if self._version_of(minute_at(now)) == take.version else None
        self._roll(now)
        is_same = take.version is not None and take.version == self._version_of(self._number)  # rule 7
        repairs: list[Line] = []
        later: list[tuple[Line, int]] = []
        for line, value in answered:
            window = line.debit.window
            if window.policy == "day":
                repairs += self._settle_day(line, value, take.repairs)
            elif is_same and window.number == self._number:
                repairs += self._settle_minute(line, value, now, take.repairs)
            elif is_same and window.number > self._number:
                later.append((line, value))
        if self.limits.per_minute is not None and not any(_is_later(line, self._number) for line in unanswered):
            self._standing.settle_all(self._number, later, self.limits.per_minute)
        self._hold_back(now)
        self._watch(now)
        self.taking = bool(repairs)
        return self._take(repairs, repairs=True)

    def _settle_minute(self, line: Line, value: int, now: float, repaired: bool) -> list[Line]:
        if self.limits.per_minute is None:
            return []
        granted, used_up, repairs = self._current.settle(
            line, value, self._ceiling(self.limits.per_minute, now), repaired
        )
        self.minute += granted
        self._usage.see(value, now)
        self._exhausted = self._exhausted or used_up
        return repairs

    def _settle_day(self, line: Line, value: int, repaired: bool) -> list[Line]:
        if self.limits.per_day is None or line.debit.window.number != self._today.number:
            return []
        granted, self._day_exhausted, repairs = self._daily.settle(line, value, self.limits.per_day, repaired)
        self.day += granted
        self._day_used = value
        return repairs

    def fail(self, take: Take, now: float) -> None:
        """Count a take as spent: its reply never came, so its debits may or may not have been made."""
        self.taking, self._sparing = False, True

    def surplus(self, now: float) -> Take | None:
        """Return what to give back because demand has gone elsewhere, or the limit was lowered; else None.

        To be called about once a second while `watched`, and after `change`. Settle or fail the take as any other.
        """
        if self.taking or self.released:
            return None
        self._roll(now)
        lines = self._plan_cut()
        if (standing := self._current_standing()).over:
            lines += standing.plan(self._number, standing.taken)
        lines += self._plan_idle(now)
        self.taking = bool(lines)
        return self._take(lines)

    def _plan_cut(self) -> list[Line]:
        """What was dropped when a limit was lowered goes back at once: the counter holds it against everybody."""
        if not self._cut_until:
            return []
        lines = [
            self._current.give_back(Window("minute", self._number), 0),
            self._daily.give_back(Window("day", self._today.number), 0),
        ]
        return [line for line in lines if line.debit.amount]

    def _plan_idle(self, now: float) -> list[Line]:
        """Give back what is held for a demand that has stopped, and what was taken for a request that was too dear."""
        limit, lines = self.limits.per_minute, []
        extra = 0 if limit is None else max(0, self.minute + self.low - self._kept(limit))
        of_minute, of_day = extra + self._in_vain(), self._in_vain_today()
        if not (of_minute or of_day) or self._pace is None:
            self.watched, self._pace = False, None
            return []
        quiet, missed = self._pace.missed(self._spent(), now)
        if quiet < self._policy.quiet or missed < self._policy.missed:
            return []
        self.watched, self._pace = False, None
        if of_minute:
            self.minute, self.low, self._exhausted = self.minute + self.low - extra, 0, False
            lines.append(self._current.give_back(Window("minute", self._number), extra))
        if of_day:
            left, self.day, self._day_exhausted = self.day, 0, False
            lines.append(self._daily.give_back(Window("day", self._today.number), left))
        return lines

    def hand_over(self, now: float) -> int:
        """Return the tokens of this minute that were granted here, spent or not: other counters begin with them.

        What was debited in vain stays in those that are left, and so does whether they were used up.
        """
        if self.limits.per_minute is None:
            return 0
        if self.released:
            return self._current.taken if minute_at(now) == self._number else 0
        self._roll(now)
        self._current.over, self._current.has_lost = 0, False
        self._exhausted, self._usage = False, Usage(now)
        return self._current.taken

    def release(self, now: float) -> Take | None:
        """Give up everything unspent and return the debits that give it back; the reservation is dead afterwards.

        A take in flight is given back by its `settle`. None when there is nothing to give back, and ever after.
        """
        if self.released:
            return None
        self._roll(now)
        spent = self._spent_today()
        lines: list[Line] = []
        if self.limits.per_minute is not None:
            lines.append(self._current.give_back(Window("minute", self._number), self.minute + self.low))
            lines += self._current_standing().plan(self._number, 0)
        if self.limits.per_day is not None:
            lines.append(self._daily.give_back(Window("day", self._today.number), self.day))
        lines = [line for line in lines if line.debit.amount]
        self._spending.close(self._today.number, spent)
        self.released = True
        self.minute = self.day = self.low = 0
        self.until = 0.0
        self.refill = self.watched = False
        return self._take(lines)

    def change(self, limits: Limits, now: float, calendar: Calendar | None = None) -> None:
        """Put new limits in force at once: a raise ends a denial, a cut drops the tokens above it.

        `calendar`: the tenant's days are other ones from now on. What was spent of the day of the same date counts.
        """
        if self.released:
            return
        self._roll(now)
        if calendar is not None and calendar is not self._calendar:
            self._change_calendar(calendar, now)
        if (self.limits.per_day is None) != (limits.per_day is None):
            self._spending.close(self._today.number, self._spent_today())  # another ledger begins
        old, self.limits = self.limits, limits
        if _is_cut(old.per_minute, limits.per_minute) or _is_cut(old.per_day, limits.per_day):
            self._cut_until = now + self._policy.cut_settles
        if old.per_minute != limits.per_minute:
            self._change_minute(old.per_minute, limits.per_minute)
        if old.per_day != limits.per_day:
            self._change_day(old.per_day, limits.per_day)
        self.until = self._end_of_validity()

    def _change_calendar(self, calendar: Calendar, now: float) -> None:
        self._calendar = calendar
        today = calendar(now)
        if today.number == self._today.number:
            self._today = today
        else:
            self._enter_day(now)

    def _change_minute(self, old: int | None, new: int | None) -> None:
        held = self.minute + self.low
        self.low, self.refill, self._exhausted = 0, False, False
        self._too_dear = NOT_TOO_DEAR
        if old is None or new is None:
            self._current, self._standing = Ledger(), Standing(self._number, self._standing.version)
            self.minute = UNLIMITED if new is None else 0
        elif new < old:
            self._current.drop(held)
            self._standing.cut(new)
            self.minute = 0
        else:
            self.minute = held

    def _change_day(self, old: int | None, new: int | None) -> None:
        self._day_exhausted, self._too_dear_today = False, NOT_TOO_DEAR
        if old is None or new is None:
            self._daily = Ledger()
            self.day = UNLIMITED if new is None else 0
        elif new < old:
            self._daily.drop(self.day)
            self.day = 0


def _is_later(line: Line, minute: int) -> bool:
    """Of minutes that stand in advance one number is known: that of all of them, or none."""
    return line.debit.window.policy == "minute" and line.debit.window.number > minute


def _is_cut(old: int | None, new: int | None) -> bool:
    return old is not None and new is not None and new < old
