"""What one process holds of one tenant's limits: spending it, and entering the windows of each time.

The rules are those of `reservation.py`, which takes what is held here and gives it back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil

from tenantcache.freshness.core.freshness import NEVER
from tenantcache.ratelimit.core.advance import Standing
from tenantcache.ratelimit.core.decision import Decision, Quota, policies_below, quota
from tenantcache.ratelimit.core.forecast import Demand, Pace, Usage
from tenantcache.ratelimit.core.ledger import Ledger
from tenantcache.ratelimit.core.policy import DEFAULT_POLICY, ReservePolicy
from tenantcache.ratelimit.core.spending import Spending, Spent
from tenantcache.ratelimit.core.toodear import NOT_TOO_DEAR
from tenantcache.ratelimit.core.windows import MINUTE, Calendar, Policy, Window, minute_at, minute_end, utc_day
from tenantcache.tenant import Limits

VersionOf = Callable[[int], object]
"""The version of the counters of a minute, by its number; None where it is not known now. It never changes."""


def one_version(_minute: int) -> object:
    return 0


UNLIMITED = 1 << 62
"""Tokens where there is no limit: more than any process can spend."""


BACK = 5.0
"""Seconds before its window at which a process stays in it: a clock that is corrected by so little, or a look at it
that was less exact than another, should not cost what is held."""


class Holding:
    """One tenant's tokens in this process: what is spent and told of them. `Reservation` takes and returns them.

    The hot path of the middleware spends what was lent to it, inline::

        if now < r.hot_until and r.left >= cost:
            r.left -= cost         # admitted

    has more lent to it while `until` is in the future, and calls `decide` otherwise. There is no low-water mark to
    compare with: `low` tokens are held back from `minute`, so the hot path fails once when only they are left; `decide`
    then hands them out, admits, and sets `refill`. The shell looks at `refill` after each `decide` that admitted and,
    if it is true, starts a take in the background: `plan(now, 0, processes)`.

    Times are server time, in seconds since the Unix epoch. Not safe for threads; made for one event loop.
    """

    __slots__ = (
        "_calendar",
        "_current",
        "_cut_until",
        "_daily",
        "_day",
        "_day_exhausted",
        "_day_used",
        "_demand",
        "_exhausted",
        "_lent",
        "_minute",
        "_number",
        "_pace",
        "_policy",
        "_sparing",
        "_spending",
        "_standing",
        "_today",
        "_too_dear",
        "_too_dear_today",
        "_usage",
        "_version_of",
        "hot_until",
        "left",
        "limits",
        "low",
        "refill",
        "released",
        "taking",
        "until",
        "watched",
    )

    def __init__(
        self,
        limits: Limits,
        now: float,
        policy: ReservePolicy = DEFAULT_POLICY,
        calendar: Calendar = utc_day,
        version_of: VersionOf = one_version,
    ) -> None:
        self.limits = limits
        self._minute = UNLIMITED if limits.per_minute is None else 0
        self._day = UNLIMITED if limits.per_day is None else 0
        self._lent = 0
        self.left = 0
        """What is left of `_lent` tokens of both windows, which the hot path may spend until `hot_until`, in its own
        time; taken back whenever anything else than spending changes them."""
        self.hot_until = NEVER
        self.low = 0
        """Tokens of the current minute on top of `minute`, handed out by `decide`."""
        self.refill = False
        """True when a background take should be started. The shell starts one and sets it to False."""
        self.watched = False
        """True while more is held than may be left idle: the shell calls `surplus` about once a second."""
        self.taking = False
        """True while a take is in flight."""
        self.released = False
        self._policy, self._calendar, self._version_of = policy, calendar, version_of
        self._demand = Demand(now)
        self._number, self._today = minute_at(now), calendar(now)
        self._current, self._standing, self._daily = Ledger(), Standing(self._number), Ledger()
        self._usage, self._day_used = Usage(now), 0
        self._exhausted = self._day_exhausted = self._sparing = False
        self._too_dear = self._too_dear_today = NOT_TOO_DEAR
        self._spending = Spending()
        self._pace: Pace | None = None
        self._cut_until = 0.0  # while others may not have given back what they held above a limit that was cut
        self.until = self._end_of_validity()

    @property
    def minute(self) -> int:
        """Tokens spendable in the current minute; `UNLIMITED` where there is no limit."""
        return self._minute - self._lent + self.left

    @minute.setter
    def minute(self, tokens: int) -> None:
        self.take_back()
        self._minute = tokens

    @property
    def day(self) -> int:
        """Tokens spendable today; `UNLIMITED` where there is no limit."""
        return self._day - self._lent + self.left

    @day.setter
    def day(self, tokens: int) -> None:
        self.take_back()
        self._day = tokens

    def lend(self, until: float) -> None:
        """Let the hot path spend until `until`, in its own time: before this minute and this day have ended."""
        self.take_back()
        self.left = self._lent = min(self._minute, self._day)
        self.hot_until = until

    def take_back(self) -> None:
        """End the lending: the hot path has nothing to spend, and asks."""
        spent = self._lent - self.left
        self._minute -= spent
        self._day -= spent
        self.left = self._lent = 0

    def _end_of_validity(self) -> float:
        """For a tenant without limits, the day's end: its requests are counted by days all the same."""
        if self.limits == Limits():
            return self._today.end
        return min(float(minute_end(self._number)), self._today.end)

    def _roll(self, now: float) -> None:
        """Enter the windows of `now`. A clock that was set back a little stays in the newer window."""
        self.hot_until = NEVER
        number = minute_at(now)
        if now < self._number * MINUTE - BACK or now < self._today.start - BACK:
            self._go_back(number, now)
        if self._cut_until and now >= self._cut_until:
            self._cut_until, self._exhausted, self._day_exhausted = 0.0, False, False
            self._too_dear = self._too_dear_today = NOT_TOO_DEAR
        if number > self._number:
            self._enter_minute(number)
        if now >= self._today.end:
            self._enter_day(now)
        self.until = self._end_of_validity()

    def _go_back(self, number: int, now: float) -> None:
        """Enter earlier windows, because the server's clock was set back: with nothing, since what was taken of them
        before is in their counters. What is held of later windows is given up: it would be spent in these."""
        self._cut_until = min(self._cut_until, now + self._policy.cut_settles)
        if number < self._number:
            self._demand.since, self._demand.denied = now, 0
            self._number, self._usage, self._pace = number, Usage(now), None
            self._current, self._standing = Ledger(), Standing(number)
            self._exhausted = self.refill = self.watched = False
            self.low, self._too_dear = 0, NOT_TOO_DEAR
            self.minute = UNLIMITED if self.limits.per_minute is None else 0
        if now < self._today.start:
            self._enter_day(now)

    def clock_moved(self, now: float) -> None:
        """The server's time is `now`, and was thought to be another one when tokens were lent."""
        self.take_back()
        if not self.released:
            self._roll(now)

    def _enter_minute(self, number: int) -> None:
        passed = number - self._number
        self._demand.close(self._spent(), passed, number * MINUTE)
        self._current = Ledger()
        version = self._version_of(number)
        if version is None:
            self._standing.enter(number, Ledger())  # rule 7: to nobody; what stands for later minutes may be known then
        elif version == self._standing.version:
            self._standing.enter(number, self._current)
        else:
            self._standing = Standing(number)
        self._usage.close(passed, number * MINUTE)
        self._number, self._pace, self._too_dear = number, None, NOT_TOO_DEAR
        self._exhausted = self.refill = self.watched = False
        self.minute = UNLIMITED if self.limits.per_minute is None else self._current.taken
        self.low = 0
        self._hold_back(float(number * MINUTE))

    def _enter_day(self, now: float) -> None:
        self._spending.close(self._today.number, self._spent_today())
        self._today = self._calendar(now)
        self._daily = Ledger()
        self._day_used, self._day_exhausted, self._too_dear_today = 0, False, NOT_TOO_DEAR
        self.day = UNLIMITED if self.limits.per_day is None else 0

    def _spent(self) -> int:
        """Tokens admitted in the current minute."""
        if self.limits.per_minute is None:
            return UNLIMITED - self.minute
        return self._current.taken - self.minute - self.low

    def _spent_today(self) -> int:
        if self.limits.per_day is None:
            return UNLIMITED - self.day
        return self._daily.taken - self.day

    def drain(self) -> list[Spent]:
        """The tokens admitted since the last call, by the day of its time zone."""
        return self._spending.drain(self._today.number, 0 if self.released else self._spent_today())

    def idle(self, now: float) -> float:
        """Seconds since the end of the last minute in which anything was decided here."""
        return max(0.0, now - minute_end(self._number))

    def note_unbacked(self, cost: int) -> None:
        """Count what was admitted without tokens: no store answered, or the limit is only watched."""
        self._spending.add(self._today.number, cost)

    def refund(self, cost: int, now: float, admitted_at: float | None) -> int:
        """Take back the admission of `cost` tokens at server time `admitted_at`; return the day's tokens given back.

        In windows that have ended since there is nothing to give back. Without a time the minute is one of them. Never
        more than was spent here.
        """
        if self.released:
            return 0
        self._roll(now)
        if admitted_at is not None and minute_at(admitted_at) == self._number:
            self.minute += min(cost, self._spent())
        if admitted_at is not None and not self._today.start <= admitted_at < self._today.end:
            return 0
        returned = min(cost, self._spent_today())
        self.day += returned
        self._watch(now)
        return returned

    def observe(self, values: Mapping[Window, int], now: float) -> None:
        """Take note of counters that somebody has read."""
        self._roll(now)
        if (value := values.get(Window("minute", self._number))) is not None:
            self._usage.see(value, now)
        self._day_used = values.get(Window("day", self._today.number), self._day_used)

    def restart(self, now: float) -> None:
        """Somebody has set the counters of this minute and this day to nothing: what was held in them is gone."""
        if self.released:
            return
        self._roll(now)
        self._spending.close(self._today.number, self._spent_today())
        self._current, self._daily, self._usage = Ledger(), Ledger(), Usage(now)
        self._exhausted = self._day_exhausted = self.refill = self.watched = False
        self._day_used, self.low, self._pace = 0, 0, None
        self._too_dear = self._too_dear_today = NOT_TOO_DEAR
        self.minute = UNLIMITED if self.limits.per_minute is None else 0
        self.day = UNLIMITED if self.limits.per_day is None else 0

    def _hold_back(self, now: float) -> None:
        """Set the low-water mark: the demand of `lead` seconds, at most a quarter of what is held."""
        if self.limits.per_minute is None:
            return
        held = self.minute + self.low
        lead = ceil(self._demand.rate(self._spent(), now) * self._policy.lead)
        self.low = 0 if self._exhausted else min(held // 4, lead)
        self.minute = held - self.low

    def spend(self, now: float, cost: int) -> bool:
        """Admit from what is held, entering new windows first; False when that is not enough."""
        if self.released:
            return False
        self._roll(now)
        if self.minute < cost and self.low:
            self.minute += self.low
            self.low = 0
            self.refill = not self._exhausted
        if self.minute < cost or self.day < cost:
            return False
        self.minute -= cost
        self.day -= cost
        return True

    def decide(self, now: float, cost: int) -> Decision | None:
        """Return admitted or refused; None when a take is needed to know (never after `release`: always None)."""
        if self.spend(now, cost):
            return Decision(True, quotas=self.quotas(now), at=now)
        if self.released:
            return None
        if never := policies_below(self.limits, cost):
            return Decision(False, never, None, self.quotas(now))
        short: dict[Policy, float] = {}
        if self.minute < cost and now < (ends := self._refused_until(cost, now)):
            short["minute"] = ends
        if self.day < cost and (self._day_exhausted or self._too_dear_today.refuses(cost, now)):
            short["day"] = self._today.end
        if not short:
            return None
        self._demand.denied += cost
        if cost > 1:
            self._leave_to_others(cost, now)
        violated, ends = tuple(short), max(short.values())
        return Decision(False, violated, min(ends, self._cut_until or ends) - now, self.quotas(now))

    def _leave_to_others(self, cost: int, now: float) -> None:
        """What is held was too little for a request of `cost`: it goes back soon, and `cost` is not asked for again."""
        if self._exhausted:
            self._too_dear = self._too_dear.again(cost, now)
        if self._day_exhausted:
            self._too_dear_today = self._too_dear_today.again(cost, now)
        self._watch(now)
        if self._pace is not None:
            self._pace.rate = max(self._pace.rate, self._demand.rate(self._spent(), now))

    def _refused_until(self, cost: int, now: float) -> float:
        """When a minute that is used up has room for `cost` again; in the past where it is not."""
        is_refused = self._exhausted or self._too_dear.refuses(cost, now)
        return float(minute_end(self._number)) if is_refused else 0.0

    def _ceiling(self, limit: int, now: float) -> int:
        """The highest position in the minute's counter that is granted now."""
        return limit

    def quotas(self, now: float) -> tuple[Quota, ...]:
        """Return a line for each limit: what is held here and what the counter had left when it was last seen."""
        if now >= self.until and not self.released:
            self._roll(now)
        lines: list[Quota] = []
        minute, day = self.limits.per_minute, self.limits.per_day
        if minute is not None:
            used = max(self._usage.value, self._current.taken)
            left = 0 if self._exhausted else self._ceiling(minute, now) - used
            lines.append(quota("minute", minute, self.minute + self.low, left, minute_end(self._number) - now))
        if day is not None:
            left = 0 if self._day_exhausted else day - max(self._day_used, self._daily.taken)
            lines.append(quota("day", day, self.day, left, self._today.end - now))
        return tuple(lines)

    def _watch(self, now: float) -> None:
        """Begin to look for idle tokens when much is held; go on where that was so already."""
        limit = self.limits.per_minute
        much = limit is not None and self.minute + self.low > self._kept(limit)
        self.watched = much or self._in_vain() + self._in_vain_today() > 0
        if not self.watched:
            self._pace = None
        elif self._pace is None:
            spent = self._spent()
            self._pace = Pace(spent, self._demand.rate(spent, now), now)

    def _in_vain(self) -> int:
        """What a request that was refused as too dear has left in the minute's counter beside what is held."""
        is_left = self._too_dear is not NOT_TOO_DEAR and self._exhausted and self.limits.per_minute is not None
        return self._current.over if is_left else 0

    def _in_vain_today(self) -> int:
        """The same of the day, with its last tokens, which were too few."""
        is_left = self._too_dear_today is not NOT_TOO_DEAR and self._day_exhausted and self.limits.per_day is not None
        return self.day + self._daily.over if is_left else 0

    def _kept(self, limit: int) -> int:
        return max(int(limit * self._policy.keep), self._standing.taken)
