"""What one process holds of one tenant's limits, and when it must ask the counters for more.

Rules, each of which keeps "never exceeded" true by itself:

1. A token is spendable only if a counter was debited for it before, at a position up to the limit (`ledger.py`).
2. Tokens belong to their window and end with it. Tokens reserved in advance (`advance.py`) may be spent in each
   minute of their quarter of an hour.
3. What is given back is given up when the debit is planned, not when the reply comes: it is never spent meanwhile.
4. A debit whose reply never came is counted as spent: nothing is granted on it. A take may be answered in part (its
   debits lie in two stores, and one failed): what was granted is kept, and the next take asks only for the rest. After
   a failure a take asks for no more than it needs now, and for no later minute, until one is answered. So a store that
   counts and does not answer is not emptied by repeated takes.
5. A counter below what this process knows to be in it has been lost. What is held, spent or not, is debited again
   before anything new is granted. If that is lost too, the window counts as used up. So one process alone never exceeds
   a limit even then. Several may: each loss of a window's counter lets at most one more `limit` through in that window.
   If more had been claimed, it lets the value that was lost through. In practice that is what the other processes had
   been granted and have not debited again, which each does with its next take.
6. A lowered limit ends all tokens of its window and gives them back: those above it must go, and those below it would
   be refused to all other processes for the rest of a day. Until all processes have done so (`cut_settles`), a refusal
   is not final. A window's bound is the highest limit that was in force in it. Tokens reserved in advance belong to
   windows that the old limit never governs: all of them go.
   A clock that was set back leads into windows that were left before. They are entered with nothing: what was taken of
   them is in their counters. What was taken of later windows is given up. So is what is on its way: it is of no version
   (rule 7).
7. Each minute's counters have a version. Tokens are lost if they were debited in counters of another version than their
   minute's (`failover.py`: the fleet has changed its counter store), or if that is not known.

One take of a reservation may be in flight at a time; replies out of order would look like a lost counter.
How much to ask for is `ReservePolicy`; nothing in it can break the rules above.

A reservation is the lease of the fast path on a holding (`leasedholding.py`): a minute, fixed or sliding, and a
day. `TRANSITIONS` has its states. It is the lease itself, so that the fast path reads one object. That spends what is
leased, renews the lease while `until` is in the future (`lend`), and calls `decide` otherwise. There is no low-water
mark to compare with: `low` tokens are not in the lease, so the fast path fails once when only they are left. `decide`
then hands them out, admits, and sets `refill`. The shell looks at `refill` after each `decide` that admitted. If it is
true, the shell starts a take in the background: `plan(now, 0, processes)`.

Times are server time, in seconds since the Unix epoch. Nothing here is safe for threads: it is for one event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import TypeVar

from tenantcache.ratelimit.core.advance import SKEW, VersionOf
from tenantcache.ratelimit.core.clockmoves import ClockMoves
from tenantcache.ratelimit.core.daywindow import DayWindow
from tenantcache.ratelimit.core.decision import AdmittedAt, Decision, Quota
from tenantcache.ratelimit.core.holding import Holding
from tenantcache.ratelimit.core.lease import FastRequests
from tenantcache.ratelimit.core.leasedholding import LeasedHolding
from tenantcache.ratelimit.core.ledger import Line, Take, undo
from tenantcache.ratelimit.core.minutewindow import MinuteWindow
from tenantcache.ratelimit.core.need import Need
from tenantcache.ratelimit.core.policy import DEFAULT_POLICY, ReservePolicy
from tenantcache.ratelimit.core.rest import Resting
from tenantcache.ratelimit.core.sliding import FIXED, SlidingEdge
from tenantcache.ratelimit.core.spending import Spent
from tenantcache.ratelimit.core.windows import Calendar, CounterValue, Window, minute_at, utc_day
from tenantcache.tenant import Limits

T = TypeVar("T")


class State(Enum):
    """What a reservation is at, apart from its windows."""

    HOLDING = "holding"
    """No take is in flight. The next one is sized by forecast."""
    CAUTIOUS = "cautious"
    """No take is in flight, and the last one failed: the next one asks for no more than is needed (rule 4)."""
    TAKING = "taking"
    """A take is in flight."""
    OUTDATED = "outdated"
    """A take is in flight, and the server's clock was set since it was planned: it grants nothing of a minute."""
    RELEASED = "released"
    """Everything was given back. It admits nothing any more."""


class Event(Enum):
    """What happens to it."""

    SENT = "a take is sent"
    ANSWERED = "all of it is answered"
    FAILED = "at least a part of it is not answered"
    CLOCK_SET = "the server's clock was set"
    RELEASED = "everything is given back"


TRANSITIONS: dict[State, dict[Event, State]] = {
    State.HOLDING: {Event.SENT: State.TAKING, Event.RELEASED: State.RELEASED},
    State.CAUTIOUS: {Event.SENT: State.TAKING, Event.RELEASED: State.RELEASED},
    State.TAKING: {
        Event.ANSWERED: State.HOLDING,
        Event.FAILED: State.CAUTIOUS,
        Event.CLOCK_SET: State.OUTDATED,
        Event.RELEASED: State.RELEASED,
    },
    State.OUTDATED: {Event.ANSWERED: State.HOLDING, Event.FAILED: State.CAUTIOUS, Event.RELEASED: State.RELEASED},
    State.RELEASED: dict.fromkeys((Event.SENT, Event.ANSWERED, Event.FAILED), State.RELEASED),
}


def one_version(_minute: int) -> object:
    return 0


class Reservation(LeasedHolding):
    """One tenant's tokens in this process: a minute and a day, and the lease on both of them."""

    __slots__ = ("_state", "_version_of")

    def __init__(
        self,
        limits: Limits,
        now: float,
        policy: ReservePolicy = DEFAULT_POLICY,
        calendar: Calendar = utc_day,
        version_of: VersionOf = one_version,
        *,
        slides: bool = False,
        fast: FastRequests | None = None,
        moves: ClockMoves | None = None,
    ) -> None:
        minute = MinuteWindow(limits.per_minute, now, policy, version_of, SlidingEdge() if slides else FIXED)
        holding = Holding(limits, minute, DayWindow(limits.per_day, now, calendar), policy)
        super().__init__(holding, FastRequests() if fast is None else fast, ClockMoves() if moves is None else moves)
        self._version_of = version_of
        self._state = State.HOLDING

    @property
    def released(self) -> bool:
        return self._state is State.RELEASED

    @property
    def is_taking(self) -> bool:
        return self._state in (State.TAKING, State.OUTDATED)

    def use_policy(self, policy: ReservePolicy) -> None:
        self._holding.use_policy(policy)

    # At rest.

    def rest(self, now: float, keep: Callable[[Resting], T]) -> T | None:
        """Go to rest. What `keep` is given is all that is left, beside a take in flight; return what it returns.

        The reservation is dead afterwards, as after `release`, and gives nothing back. None if it cannot rest now; then
        it goes on, as it does if `keep` raises.
        """
        self.follow_clock()
        if self._state in (State.OUTDATED, State.RELEASED):
            return None
        resting = self._enter(now).rest()
        if resting is None:
            return None
        kept = keep(resting._replace(is_cautious=self._state is State.CAUTIOUS))
        self._state = TRANSITIONS[self._state][Event.RELEASED]
        self._holding.leave()
        return kept

    @classmethod
    def resumed(
        cls,
        resting: Resting,
        version_of: VersionOf,
        policy: ReservePolicy = DEFAULT_POLICY,
        fast: FastRequests | None = None,
        moves: ClockMoves | None = None,
        *,
        is_taking: bool = False,
        followed: int = 0,
    ) -> Reservation:
        """The reservation that has gone to rest, in the windows that it was in. `is_taking`: its take is in flight.
        `followed`: how many of the `moves` it has followed."""
        made = cls(resting.limits, resting.day.start, policy, resting.calendar, version_of, fast=fast, moves=moves)
        made._followed = followed
        made._holding.resume(resting)
        made._state = State.TAKING if is_taking else State.CAUTIOUS if resting.is_cautious else State.HOLDING
        return made

    # Time.

    def clock_moved(self, seconds: float, now: float) -> None:
        """The server's time is `now`, by so many seconds another one than was thought when tokens were leased."""
        if not self.released:
            if abs(seconds) >= SKEW:
                if self._state is State.TAKING:
                    self._state = TRANSITIONS[self._state][Event.CLOCK_SET]
                self._holding.minute.clock_was_set(seconds, now)
            self._enter(now)

    def enter(self, now: float) -> None:
        """Be in the windows of `now`. What is leased is asked for again."""
        if not self.released:
            self._enter(now)

    # Deciding.

    def spend(self, now: float, cost: int) -> bool:
        """Admit from what is held, entering new windows first; False when that is not enough."""
        return self._state is not State.RELEASED and self._enter(now).spend(cost)

    def decide(self, now: float, cost: int) -> Decision | None:
        """Return admitted or refused; None when a take is needed to know (never after `release`: always None)."""
        if self.spend(now, cost):
            return Decision(True, quotas=self._holding.quotas(now), at=now)
        return None if self.released else self._holding.refuse(now, cost)

    def quotas(self, now: float) -> tuple[Quota, ...]:
        """Return a line for each limit: what is held here and what the counter had left when it was last seen."""
        if now >= self.until and not self.released:
            self._enter(now)
        self._collect()
        return self._holding.quotas(now)

    # Beside the requests.

    def idle(self, now: float) -> float:
        """Seconds since the end of the last minute in which anything was decided here."""
        self.follow_clock()
        return max(0.0, now - self._holding.minute.end)

    def drain(self) -> list[Spent]:
        """The tokens admitted since the last call, by the day of its time zone."""
        self._collect()
        return self._holding.day.drain()

    def note_unbacked(self, cost: int) -> None:
        """Count what was admitted without tokens: no store answered, or the limit is only watched."""
        self._holding.day.note_unbacked(cost)

    def refund(self, cost: int, now: float, admitted_at: AdmittedAt) -> int:
        """Take back the admission of `cost` tokens at server time `admitted_at`; return the day's tokens given back.

        Nothing of windows that have ended since, and of "today" nothing of the minute. Never more than was spent here.
        """
        return 0 if self.released else self._enter(now).refund(cost, now, admitted_at)

    def observe(self, values: Mapping[Window, CounterValue], now: float) -> None:
        """Take note of counters that were read."""
        if not self.released:
            self._enter(now).observe(values, now)

    def restart(self, now: float) -> None:
        """The counters of this minute and this day have been reset: what was held in them is gone."""
        if not self.released:
            self._enter(now).restart(now)

    def change(self, limits: Limits, now: float, calendar: Calendar | None = None) -> None:
        """Put new limits in force at once: a raise ends a denial, a cut drops the tokens above it. `calendar`: the
        tenant's days are other ones from now on. What was spent of the day of the same date counts."""
        if not self.released:
            self._enter(now).change(limits, now, calendar)

    # Taking.

    def plan(self, now: float, cost: int, processes: int, *, ahead: bool = False) -> Take | None:
        """Return what to ask for so that `cost` can be spent (0: the background refill), sized by forecast.

        `cost` may be that of several waiting requests, up to the limits. `processes` is the size of the fleet, at least
        1. `ahead`: the next quarter of an hour may be reserved as well. None when there is nothing to ask: enough is
        held, a limit is known to be used up, a take is in flight, or after `release`. Settle or fail every take.
        """
        if not cost:
            self._holding.refill = False
        return self._plan(Need(now, cost, processes, self._state is State.CAUTIOUS, ahead=ahead))

    def plan_along(
        self, now: float, processes: int, *, ahead: bool = False, day: bool = False, is_first: bool = False
    ) -> Take | None:
        """Return what to ask for in a command that is sent for another tenant, by a store that answers: what will be
        needed soon.

        `ahead` and `day`: that command touches the counters of the next quarter of an hour, and of the day. `is_first`:
        the process has just started, and the reply is to tell what the other ones are asked for.
        """
        return self._plan(Need(now, 0, processes, is_along=True, ahead=ahead, day=day, is_first=is_first))

    def plan_second(self, now: float, processes: int) -> Take | None:
        """Return what will be needed soon by what the reply to the first take of a process has told."""
        if self.is_taking or self.released or not self._enter(now).learn(now, processes):
            return None
        return self.plan_along(now, processes, day=True)

    def _plan(self, need: Need) -> Take | None:
        if self.is_taking or self.released:
            return None
        return self._send(self._enter(need.now).plan(need))

    def _send(self, lines: Sequence[Line], *, repairs: bool = False) -> Take | None:
        if not lines:
            return None
        self._state = TRANSITIONS[self._state][Event.SENT]
        return Take(tuple(lines), repairs, self._version_of(self._holding.minute.number))

    def settle(self, take: Take, values: Sequence[CounterValue | None], now: float) -> Take | None:
        """Apply the counters' new `values`, one for each debit, in order; None for one that may not have been made.

        Returns a take to send and settle next: it repairs a lost counter, or gives back what must go (all if released).
        """
        self.follow_clock()
        is_outdated = self._state is State.OUTDATED
        self._state = TRANSITIONS[self._state][Event.FAILED if None in values else Event.ANSWERED]
        if self.released:
            made = [line for line, value in zip(take.lines, values, strict=True) if value is not None]
            return undo(made, take.version) if self._version_of(minute_at(now)) == take.version else None
        holding = self._enter(now)
        version = self._version_of(self._holding.minute.number)
        is_same = take.version is not None and take.version == version and not is_outdated
        if repairs := holding.settle(take, values, now, is_same=is_same):
            return self._send(repairs, repairs=True)
        return self._send(holding.minute.return_weight())

    def fail(self, take: Take, now: float) -> None:
        """Count a take as spent: its reply never came, so its debits may or may not have been made."""
        self._state = TRANSITIONS[self._state][Event.FAILED]

    def surplus(self, now: float) -> Take | None:
        """Return what to give back because demand has gone elsewhere, or the limit was lowered; else None.

        To be called about once a second while `watched`, and after `change`. Settle or fail the take as any other.
        """
        if self.is_taking or self.released:
            return None
        return self._send(self._enter(now).plan_surplus(now))

    def hand_over(self, now: float) -> int:
        """Return the tokens of this minute that were granted here, spent or not: other counters begin with them.

        Overshoot stays in those that are left, and so does whether they were used up.
        """
        if self.limits.per_minute is None:
            return 0
        if not self.released:
            return self._enter(now).minute.hand_over(now)
        return self.granted if minute_at(now) == self._holding.minute.number else 0

    def release(self, now: float) -> Take | None:
        """Give up everything unspent and return the debits that give it back; the reservation is dead afterwards.

        A take in flight is given back by its `settle`. None when there is nothing to give back, and ever after.
        """
        if self.released:
            return None
        lines = self._enter(now).release(now)
        self._state = TRANSITIONS[self._state][Event.RELEASED]
        return self._send(lines)
