"""What one process holds of one tenant's limits: a minute and a day, spent together, and refused by each.

The rules are those of `reservation.py`, which leases what is held here, and takes and returns it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tenantcache.ratelimit.core.daywindow import DayWindow
from tenantcache.ratelimit.core.decision import AdmittedAt, Decision, Quota, policies_below
from tenantcache.ratelimit.core.forecast import Pace
from tenantcache.ratelimit.core.ledger import Line, Take
from tenantcache.ratelimit.core.minutewindow import MinuteWindow
from tenantcache.ratelimit.core.need import Need
from tenantcache.ratelimit.core.policy import ReservePolicy
from tenantcache.ratelimit.core.refusal import OPEN
from tenantcache.ratelimit.core.rest import Resting
from tenantcache.ratelimit.core.windows import MINUTE, OUT_OF_REACH, Calendar, CounterValue, Policy, Window, minute_at
from tenantcache.tenant import Limits

BACK = 5.0
"""Seconds before its window at which a process stays in it: a clock that is corrected by so little, or a look at it
that was less exact than another, should not cost what is held."""


class Holding:
    """Two windows, those of the server time at which `enter` was called last: it is called before anything else is."""

    day: DayWindow
    minute: MinuteWindow

    __slots__ = ("_cut_until", "day", "limits", "minute", "pace", "policy", "refill", "until")

    def __init__(self, limits: Limits, minute: MinuteWindow, day: DayWindow, policy: ReservePolicy) -> None:
        self.limits: Limits = limits
        self.minute, self.day = minute, day
        self.refill: bool = False
        """The low-water mark was passed."""
        self.pace: Pace | None = None
        """How fast tokens are spent, while more is held than may be left idle; else None."""
        self.policy: ReservePolicy = policy
        self._cut_until = 0.0  # while others may not have given back what they held above a limit that was cut
        self.until: float = self._end_of_validity()

    def use_policy(self, policy: ReservePolicy) -> None:
        self.policy = policy
        self.minute.use_policy(policy)

    # Time.

    def _end_of_validity(self) -> float:
        """For a tenant without limits, the day's end: its requests are counted by days all the same."""
        if self.limits == Limits():
            return self.day.today.end
        return min(float(self.minute.end), self.day.today.end)

    def enter(self, now: float) -> None:
        """Enter the windows of `now`. A clock that was set back a little stays in the newer window."""
        minute, day, number = self.minute, self.day, minute_at(now)
        if number == minute.number and day.today.start <= now < day.today.end and not self._cut_until:
            return
        if now < minute.number * MINUTE - BACK or now < day.today.start - BACK:
            self._go_back(number, now)
        if self._cut_until and now >= self._cut_until:
            self._cut_until = 0.0
            minute.refusal = day.refusal = OPEN
        if number > minute.number:
            minute.enter(number)
            self._begin_minute()
            self.watch(now)
        if now >= day.today.end:
            day.enter(now)
        self.until = self._end_of_validity()

    def _begin_minute(self) -> None:
        self.refill, self.pace = False, None

    def _go_back(self, number: int, now: float) -> None:
        """Enter earlier windows, because the server's clock was set back (rule 6)."""
        self._cut_until = min(self._cut_until, now + self.policy.cut_settles)
        if number < self.minute.number:
            self.minute.go_back(number, now)
            self._begin_minute()
        if now < self.day.today.start:
            self.day.enter(now)

    def restart(self, now: float) -> None:
        """The counters of this minute and this day have been reset: what was held in them is gone."""
        self.minute.restart(now)
        self.day.restart()
        self._begin_minute()

    # At rest.

    def rest(self) -> Resting | None:
        """What it is made anew of by `resume`; None if something is under way."""
        minute, day = self.minute.rest(), self.day.rest()
        if minute is None or day is None or self.refill or self.pace is not None or self._cut_until:
            return None
        return Resting(self.limits, self.day.calendar, minute, day)

    def leave(self) -> None:
        """Hold nothing any more, without giving anything back."""
        self.minute.held = self.minute.low = self.day.held = 0
        self.until = 0.0

    def resume(self, resting: Resting) -> None:
        """Be what has gone to rest. This is its day, and nothing has been held here yet."""
        self.minute.resume(resting.minute)
        self.day.resume(resting.day)
        self.until = self._end_of_validity()

    # Deciding.

    def spend(self, cost: int) -> bool:
        """Admit from what is held; False when that is not enough."""
        minute, day = self.minute, self.day
        if minute.held < cost and minute.low:
            minute.pass_low_water_mark()
            self.refill = not minute.refusal.is_used_up
        if minute.held < cost or day.held < cost:
            return False
        minute.spend(cost)
        day.spend(cost)
        return True

    def refuse(self, now: float, cost: int) -> Decision | None:
        """Return the refusal of a request for which too little is held; None when a take is needed to know."""
        if never := policies_below(self.limits, cost):
            return Decision(False, never, None, self.quotas(now))
        ends: dict[Policy, float] = {}
        if self.minute.held < cost and now < (end := self.minute.refused_until(cost, now)):
            ends["minute"] = end
        if self.day.refuses(cost, now):
            ends["day"] = self.day.today.end
        if not ends:
            return None
        self.minute.demand.denied += cost
        if cost > 1:
            self._leave_to_others(cost, now)
        end = max(ends.values())
        retry_after = min(end, self._cut_until or end) - now
        if "day" not in ends and self.minute.is_unknown(cost):
            return Decision(False, retry_after=retry_after, unavailable=True)
        return Decision(False, tuple(ends), retry_after, self.quotas(now))

    def _leave_to_others(self, cost: int, now: float) -> None:
        """What is held was too little for a request of `cost`: it goes back soon, and `cost` is not asked for again."""
        for window in (self.minute, self.day):
            window.refusal = window.refusal.noting(cost, now)
        self.watch(now)
        if self.pace is not None:
            self.pace.rate = max(self.pace.rate, self.minute.rate(now))

    def quotas(self, now: float) -> tuple[Quota, ...]:
        """Return a line for each limit: what is held here and what the counter had left when it was last seen."""
        return tuple(line for line in (self.minute.quota(now), self.day.quota(now)) if line is not None)

    def observe(self, values: Mapping[Window, CounterValue], now: float) -> None:
        """Take note of counters that were read."""
        known = {window: value for window, value in values.items() if value is not OUT_OF_REACH}
        self.minute.observe(known, now)
        self.minute.observe_previous(values)
        self.day.observe(known)

    def refund(self, cost: int, now: float, admitted_at: AdmittedAt) -> int:
        """Take back an admission at server time `admitted_at`; return the day's tokens that are held again."""
        if admitted_at is None:
            return 0
        if admitted_at != "today":
            if minute_at(admitted_at) == self.minute.number:
                self.minute.refund(cost)
            if not self.day.today.start <= admitted_at < self.day.today.end:
                return 0
        returned = self.day.refund(cost)
        self.watch(now)
        return returned

    def change(self, limits: Limits, now: float, calendar: Calendar | None) -> None:
        """Put new limits, and the days of `calendar` unless it is None, in force."""
        if calendar is not None and calendar is not self.day.calendar:
            self.day.use_calendar(calendar, now)
        old, self.limits = self.limits, limits
        if _is_cut(old.per_minute, limits.per_minute) or _is_cut(old.per_day, limits.per_day):
            self._cut_until = now + self.policy.cut_settles
        if old.per_minute != limits.per_minute:
            self.minute.change(limits.per_minute, now)
            self.refill = False
        if old.per_day != limits.per_day:
            self.day.change(limits.per_day)
        self.until = self._end_of_validity()

    # Taking and giving back.

    def plan(self, need: Need) -> list[Line]:
        """Return what to ask for, given that it is needed."""
        cost = self._affordable(need)
        if need.cost and not cost:
            return []
        need = need._replace(cost=cost)
        minute = self.minute.plan(need, self.day.held if self.day.refusal.is_used_up else None)
        return minute + self.day.plan(need, self.minute.mean(need.now), self.policy, is_along=bool(minute))

    def learn(self, now: float, processes: int) -> bool:
        """Expect the demand that the counters tell of, if nothing else is known; return whether that is so."""
        return self.minute.learn(self.day.demand(now, processes, self.policy), processes)

    def _affordable(self, need: Need) -> int:
        """What of the cost a take can still make possible."""
        cost = need.cost
        if policies_below(self.limits, cost):
            return 0
        if need.now < self.minute.refused_until(1, need.now):
            cost = min(cost, self.minute.unspent)
        if self.day.refusal.is_used_up:
            cost = min(cost, self.day.held)
        return cost

    def settle(self, take: Take, values: Sequence[CounterValue | None], now: float, *, is_same: bool) -> list[Line]:
        """Enter the counters' new values; return what to send to repair those that were lost.

        `is_same`: the take was planned in counters of the version that the current minute has (rule 7).
        """
        read = list(zip(take.lines, values, strict=True))
        self.minute.observe_previous({line.debit.window: value for line, value in read})
        answered = {
            line.debit.window: (line, value) for line, value in read if value is not None and value is not OUT_OF_REACH
        }
        repairs = self.minute.settle(answered, now, is_repair=take.repairs) if is_same else []
        if reply := answered.get(self.day.window):
            repairs += self.day.settle(*reply, is_repair=take.repairs)
        self.minute.set_low_water_mark(now)
        self.watch(now)
        return repairs

    def watch(self, now: float) -> None:
        """Begin to look for idle tokens when much is held; go on if that was so already."""
        if not (self.minute.idle or self.day.idle):
            self.pace = None
        elif self.pace is None:
            self.pace = Pace(self.minute.spent, self.minute.rate(now), now)

    def plan_surplus(self, now: float) -> list[Line]:
        """Give back what a lowered limit has ended, and what is held for a demand that has stopped."""
        return self._return_cut() + self._return_idle(now)

    def _return_cut(self) -> list[Line]:
        """What was dropped when a limit was lowered goes back at once: the counter holds it against all processes."""
        if not self._cut_until:
            return []
        return _changing(self.minute.return_overshoot()) + _changing([self.day.return_overshoot()])

    def _return_idle(self, now: float) -> list[Line]:
        of_minute, of_day = self.minute.idle, self.day.idle
        if not (of_minute or of_day) or self.pace is None:
            self.pace = None
            return []
        quiet, missed = self.pace.missed(self.minute.spent, now)
        if quiet < self.policy.quiet or missed < self.policy.missed:
            return []
        self.pace = None
        lines = self.minute.return_idle(now) if of_minute else []
        return lines + ([self.day.return_idle()] if of_day else [])

    def release(self, now: float) -> list[Line]:
        """Give up everything unspent, for good."""
        lines = _changing(self.minute.release(now)) + _changing(self.day.release())
        self._begin_minute()
        self.until = 0.0
        return lines


def _changing(lines: list[Line]) -> list[Line]:
    """`lines`, if they give anything back or pay for anything."""
    return lines if any(line.debit.amount for line in lines) else []


def _is_cut(old: int | None, new: int | None) -> bool:
    return old is not None and new is not None and new < old
