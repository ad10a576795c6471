"""No interleaving of takes, spends, crashes, returns, refunds, resets and changes exceeds a limit.

Nor does one with sliding minutes exceed what the previous minute leaves. The changes are those of windows, limits, time
zones, clocks and counters. The model's processes hold real reservations. Their takes reach the counters late. The
replies come later still and in any order, or never, or for some of a take's debits only. Two stores share the debits,
and either may fail before, during or after. The model alone counts what was admitted, by the window in which it was.

Each fleet is explored twice: by Hypothesis, which shrinks what it finds, and by long random walks with fixed seeds. The
walks are deep enough to notice if a rule is left out. `test_advance.py` has those that only two faults at once need.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tenantcache.freshness.core.freshness import NEVER
from tenantcache.ratelimit.core.advance import HEARD, VersionOf
from tenantcache.ratelimit.core.clockmoves import ClockMoves
from tenantcache.ratelimit.core.ledger import Take
from tenantcache.ratelimit.core.policy import DEFAULT_POLICY, THRIFTY_POLICY, ReservePolicy
from tenantcache.ratelimit.core.reservation import Reservation, one_version
from tenantcache.ratelimit.core.windows import (
    DAY,
    MINUTE,
    MINUTES_PER_QUARTER,
    QUARTER,
    Calendar,
    Day,
    Debit,
    Window,
    minute_at,
    quarter_of,
    utc_day,
)
from tenantcache.tenant import Limits
from tests.thorough import effort

MIDNIGHT = 20_000 * DAY
U32 = 2**32 - 1

STARTS = [30.0, 23 * 3600 + 56 * 60.0 + 5, 23 * 3600 + 29 * 60.0 + 30, 23 * 3600 + 59 * 60.0 + 20]
"""Seconds after midnight: some of these are just before the day ends, in one of the calendars."""

limits_of_minutes = st.sampled_from([10, 40, 3, 100, 400, 1, None])
BEFORE_A_QUARTER = [170.0, 61.0, 2.1, 1.1, 0.5, 0.0]
limits_of_days = st.sampled_from([None, 30, 200, 3])
pick = st.integers(0, 5)


def shifted_day(now: float) -> Day:
    """Days that end 23 hours and 50 s before those of UTC do, in the middle of a minute, as they did before 1900."""
    shift = 3_550
    day = utc_day(now - shift)
    return Day(day.number, day.start + shift, day.end + shift)


def early_day(now: float) -> Day:
    """Days whose date is ahead of UTC for half an hour."""
    day = utc_day(now + 1_800)
    return Day(day.number, day.start - 1_800, day.end - 1_800)


CALENDARS: list[Calendar] = [utc_day, shifted_day, early_day]


POLICIES = [DEFAULT_POLICY, ReservePolicy(reserve=0.9, pressure=1.0, least_in_advance=40)]
"""Whatever the numbers are, no limit is exceeded."""


class Counters:
    """The counters of one tenant: minutes saturate as unsigned 32-bit fields, days are plain integers."""

    def __init__(self) -> None:
        self.values: Counter[Window] = Counter()
        self.days = self.values

    def debit(self, debits: tuple[Debit, ...]) -> list[int]:
        replies = []
        for window, amount in debits:
            counters = self.days if window.unit == "day" else self.values
            value = counters[window] + amount
            counters[window] = min(U32, max(0, value)) if window.unit != "day" else value
            replies.append(counters[window])
        return replies


@dataclass
class Process:
    limits: Limits
    calendar: Calendar = utc_day
    reservation: Reservation | None = None
    skew: float = 0.0
    """Seconds by which its server time is ahead."""
    admitted: Counter[Window] = field(default_factory=Counter)
    """By the reservation that it holds."""


@dataclass
class Message:
    """A take on its way: to the counters while `values` is None, and back."""

    take: Take
    reservation: Reservation | None
    skew: float = 0.0
    values: Sequence[int | None] | None = None


@dataclass
class Ceiling:
    """The highest limit in force in each window; absent means that it was unlimited at some time."""

    values: dict[Window, float] = field(default_factory=dict)

    def see(self, window: Window, limit: int | None) -> None:
        self.values[window] = max(self.values.get(window, 0), float("inf") if limit is None else limit)


class Fleet(RuleBasedStateMachine):
    """Several processes, one tenant."""

    size = 3
    slides = False
    skews: Sequence[float] = (0.0,)
    version_of: VersionOf = staticmethod(one_version)

    def __init__(self) -> None:
        super().__init__()
        self.now = float(MIDNIGHT)
        self.moves = ClockMoves()
        self.counters = Counters()
        self.admitted: Counter[Window] = Counter()
        self.ceiling = Ceiling()
        self.messages: list[Message] = []
        self.processes: list[Process] = []
        self.policy = DEFAULT_POLICY

    @initialize(
        minute=limits_of_minutes,
        day=limits_of_days,
        start=st.sampled_from(STARTS),
        calendar=st.sampled_from(CALENDARS),
        policy=st.sampled_from(POLICIES),
    )
    def begin(
        self, minute: int | None, day: int | None, start: float, calendar: Calendar, policy: ReservePolicy
    ) -> None:
        self.policy = policy
        self.now = MIDNIGHT + start
        skews = [self.skews[number % len(self.skews)] for number in range(self.size)]
        self.processes = [Process(Limits(minute, day), calendar, skew=skew) for skew in skews]
        self._see_limits()

    def _see_limits(self) -> None:
        for process in self.processes:
            minute, day = self._windows(process)
            self.ceiling.see(minute, process.limits.per_minute)
            self.ceiling.see(day, process.limits.per_day)

    def _time(self, number: int) -> float:
        """The server time by that process."""
        return self.now + self.processes[number % self.size].skew

    def _reservation(self, number: int) -> Reservation:
        process = self.processes[number % self.size]
        if process.reservation is None:
            now = self._time(number)
            process.reservation = Reservation(
                *(process.limits, now, self.policy, process.calendar, self.version_of),
                slides=self.slides,
                moves=self.moves,
            )
            process.admitted.clear()
        return process.reservation

    def _send(self, number: int, take: Take | None) -> None:
        process = self.processes[number % self.size]
        if take is not None:
            self.messages.append(Message(take, process.reservation, process.skew))

    def _windows(self, process: Process) -> tuple[Window, Window]:
        now = self.now + process.skew
        return Window("minute", minute_at(now)), Window("day", process.calendar(now).number)

    def _counters_of(self, take: Take) -> Counters:
        return self.counters

    def _admit(self, number: int, cost: int) -> None:
        process = self.processes[number % self.size]
        for window in self._windows(process):
            self.admitted[window] += cost
            process.admitted[window] += cost

    @rule(number=pick, cost=st.integers(1, 5), fleet=st.integers(1, 4))
    def ask(self, number: int, cost: int, fleet: int) -> None:
        reservation, now = self._reservation(number), self._time(number)
        decision = reservation.decide(now, cost)
        if decision is None:
            self._send(number, reservation.plan(now, cost, fleet, ahead=True))
        elif decision.allowed:
            self._admit(number, cost)

    @rule(number=pick, times=st.sampled_from([1, 5, 50, 500]), cost=st.integers(1, 3), fleet=st.sampled_from([1, 3]))
    def serve(self, number: int, times: int, cost: int, fleet: int) -> None:
        """A burst of requests, with replies that come at once."""
        reservation, now = self._reservation(number), self._time(number)
        for _ in range(times):
            decision = reservation.decide(now, cost)
            if decision is None:
                self._take_at_once(number, reservation.plan(now, cost, fleet, ahead=True))
                decision = reservation.decide(now, cost)
            if decision is None or not decision.allowed:
                break
            self._admit(number, cost)

    def _take_at_once(self, number: int, take: Take | None) -> None:
        reservation = self._reservation(number)
        while take is not None:
            values = self._counters_of(take).debit(take.debits)
            take = reservation.settle(take, values, self._time(number))

    @rule(number=pick, fleet=st.sampled_from([1, 3]), day=st.booleans(), at_once=st.booleans())
    def take_along(self, number: int, fleet: int, day: bool, at_once: bool) -> None:
        """A command is sent for another tenant."""
        take = self._reservation(number).plan_along(self._time(number), fleet, ahead=True, day=day)
        if at_once:
            self._take_at_once(number, take)
        else:
            self._send(number, take)

    @rule(number=pick, times=st.sampled_from([1, 5, 50, 500]), seconds=st.sampled_from([0.5, 3.0, 90.0]))
    def spend_on_the_hot_path(self, number: int, times: int, seconds: float) -> None:
        """As the middleware does. What is leased stays so while other things happen, and is spent by later calls."""
        r, now = self._reservation(number), self._time(number)
        for _ in range(times):
            if now >= r.hot_until and now < r.until:
                r.lend(min(r.until, now + seconds))
            if now >= r.hot_until or r.left < 1:
                break
            r.left -= 1
            self._admit(number, 1)

    @rule(number=pick, policy=st.sampled_from([*POLICIES, THRIFTY_POLICY]))
    def change_band(self, number: int, policy: ReservePolicy) -> None:
        """That process hears of another band of the budget; others may not have heard of it."""
        self._reservation(number).use_policy(policy)

    @rule(number=pick, fleet=st.integers(1, 4))
    def refill(self, number: int, fleet: int) -> None:
        reservation = self._reservation(number)
        self._send(number, reservation.plan(self._time(number), 0, fleet, ahead=True))

    def _release(self, number: int, *, forget: bool = True) -> None:
        reservation, now = self._reservation(number), self._time(number)
        if (take := reservation.release(now)) is not None:
            self.messages.append(Message(take, None))
        assert reservation.release(now) is None
        assert not reservation.spend(now, 1)
        if forget:
            self.processes[number % self.size].reservation = None

    @rule(number=pick)
    def give_back(self, number: int) -> None:
        reservation = self._reservation(number)
        self._send(number, reservation.surplus(self._time(number)))

    @rule(number=pick, cost=st.sampled_from([1, 3, 500]), ago=st.sampled_from([0.0, 0.0, 61.0, "today", None]))
    def refund(self, number: int, cost: int, ago: float | Literal["today"] | None) -> None:
        """What comes back was spent by this process, in the window in which it comes back."""
        reservation, process = self._reservation(number), self.processes[number % self.size]
        now = self._time(number)
        if reservation.released:
            assert reservation.refund(cost, now, now) == 0
            return
        reservation.refund(0, now, now)  # enter the windows of now
        minute, day = reservation.minute, reservation.day
        reservation.refund(cost, now, ago if ago is None or ago == "today" else now - ago)
        back = list(zip(self._windows(process), (reservation.minute - minute, reservation.day - day), strict=True))
        for window, tokens in back:
            assert 0 <= tokens <= (0 if ago is None else min(cost, process.admitted[window]))
            self.admitted[window] -= tokens
            process.admitted[window] -= tokens
        assert back[0][1] == 0 or ago == 0.0, "what was admitted in another minute, or it is not known when"
        if ago is not None and ago != "today" and process.calendar(now - ago) != process.calendar(now):
            assert back[1][1] == 0, "what was admitted yesterday"

    @precondition(lambda self: any(m.values is None for m in self.messages))
    @rule(index=pick)
    def arrive(self, index: int) -> None:
        waiting = [message for message in self.messages if message.values is None]
        message = waiting[index % len(waiting)]
        message.values = self._counters_of(message.take).debit(message.take.debits)

    @precondition(lambda self: any(m.values is not None for m in self.messages))
    @rule(index=pick)
    def reply(self, index: int) -> None:
        answered = [message for message in self.messages if message.values is not None]
        message = answered[index % len(answered)]
        self.messages.remove(message)
        if message.reservation is not None and message.values is not None:
            following = message.reservation.settle(message.take, message.values, self.now + message.skew)
            if following is not None:
                self.messages.append(Message(following, message.reservation, message.skew))

    @precondition(lambda self: self.messages)
    @rule(index=pick)
    def lose(self, index: int) -> None:
        """A take that never arrived, or whose reply got lost."""
        message = self.messages.pop(index % len(self.messages))
        if message.reservation is not None:
            message.reservation.fail(message.take, self.now + message.skew)

    @precondition(lambda self: self.messages)
    @rule(index=pick)
    def time_out(self, index: int) -> None:
        """The process gives up waiting, but the take is still on its way."""
        message = self.messages[index % len(self.messages)]
        if message.reservation is not None:
            message.reservation.fail(message.take, self.now + message.skew)
            message.reservation = None

    @rule(seconds=st.sampled_from([0.01, 0.5, 1.5, 7.0, 31.0, 60.0, 200.0, 3_700.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self._see_limits()

    @rule(before=st.sampled_from([0.0, 0.2]))
    def wait_for_the_next_minute(self, before: float) -> None:
        self.now = max(self.now, (minute_at(self.now) + 1) * MINUTE - before)
        self._see_limits()

    @rule(before=st.sampled_from(BEFORE_A_QUARTER))
    def wait_for_the_next_quarter(self, before: float) -> None:
        self.now = max(self.now, (self.now // QUARTER + 1) * QUARTER - before)
        self._see_limits()

    @invariant()
    def no_limit_is_exceeded(self) -> None:
        for window, count in self.admitted.items():
            bound = self._bound(window)
            assert count <= bound, f"{count} admitted in {window}, at most {bound} allowed"

    def _bound(self, window: Window) -> float:
        return self.ceiling.values[window]


class CrashingFleet(Fleet):
    """Processes crash, stop in good order, and restart; limits change, and each process hears of it at its own time."""

    @rule(number=pick)
    def crash(self, number: int) -> None:
        process = self.processes[number % self.size]
        for message in self.messages:
            if message.reservation is process.reservation:
                message.reservation = None
        process.reservation = None

    @rule(number=pick, forget=st.booleans())
    def stop(self, number: int, forget: bool) -> None:
        self._release(number, forget=forget)

    @rule(number=pick, minute=limits_of_minutes, day=limits_of_days)
    def change(self, number: int, minute: int | None, day: int | None) -> None:
        process = self.processes[number % self.size]
        process.limits = Limits(minute, day)
        if process.reservation is not None:
            process.reservation.change(process.limits, self._time(number))
        self._see_limits()

    @rule(number=pick, calendar=st.sampled_from(CALENDARS))
    def move(self, number: int, calendar: Calendar) -> None:
        """The tenant gets another time zone, and each process hears of it at its own time."""
        process = self.processes[number % self.size]
        process.calendar = calendar
        if process.reservation is not None:
            process.reservation.change(process.limits, self._time(number), calendar)
        self._see_limits()


class LosingFleet(Fleet):
    """The counters are lost now and then: each loss lets through at most one more limit, or the value that was lost."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: Counter[Window] = Counter()

    @rule()
    def flush(self) -> None:
        self._lose(list(self.counters.values))

    @rule()
    def reset(self) -> None:
        """The tenant is reset: its counters of now are gone. Processes hear of it later."""
        calendar = self.processes[0].calendar
        minute = minute_at(self.now)
        self._lose(
            [Window("minute", minute), Window("quarter", quarter_of(minute)), Window("day", calendar(self.now).number)]
        )

    @rule(number=pick)
    def hear_of_a_reset(self, number: int) -> None:
        reservation = self._reservation(number)
        reservation.restart(self.now)
        admitted = self.processes[number % self.size].admitted
        for window in [window for window in admitted if window.unit == "day"]:
            del admitted[window]  # what is reserved of the minute stays, and so may be refunded

    def _lose(self, windows: list[Window]) -> None:
        lost: Counter[Window] = Counter()
        for window in windows:
            value = self.counters.values.pop(window, 0)
            # What was reserved of a quarter counted in each of its minutes, those to come included.
            first = window.number * MINUTES_PER_QUARTER
            minutes = [Window("minute", number) for number in range(first, first + MINUTES_PER_QUARTER)]
            lost.update(dict.fromkeys(minutes if window.unit == "quarter" else [window], value))
        for window, value in lost.items():
            self.lost[window] += value and max(value, self._limit(window))

    def _limit(self, window: Window) -> int:
        limits = self.processes[0].limits
        return (limits.per_day if window.unit == "day" else limits.per_minute) or 0

    @rule(number=pick)
    def stop(self, number: int) -> None:
        self._release(number)

    def _bound(self, window: Window) -> float:
        return super()._bound(window) + self.lost[window]


class LosingProcess(Fleet):
    """One process alone never exceeds a limit, even when the counters are lost."""

    size = 1

    @rule()
    def flush(self) -> None:
        self.counters.values.clear()


class FleetOfTwoStores(CrashingFleet):
    """A take's debits lie in two stores, or in two keys of one. Those of each may be made and answered, or made and not
    answered, or not made."""

    @precondition(lambda self: any(m.values is None for m in self.messages))
    @rule(index=pick, seed=st.integers(0, 1 << 30))
    def arrive_in_part(self, index: int, seed: int) -> None:
        waiting = [message for message in self.messages if message.values is None]
        message, random = waiting[index % len(waiting)], Random(seed)
        by_store = random.random() < 0.7
        fates: dict[object, str] = {}
        values: list[int | None] = []
        for debit in message.take.debits:
            store = "day" if debit.window.unit == "day" else "minute" if by_store else _key_of(debit.window)
            fate = fates.setdefault(store, random.choice(FATES))
            found = self.counters.debit((debit,)) if fate != "not made" else [None]
            values += found if fate == "answered" else [None]
        message.values = values


FATES = ("answered", "not answered", "not made")


def _key_of(window: Window) -> int:
    """A minute is in the key of its quarter."""
    return window.number if window.unit == "quarter" else quarter_of(window.number)


class FleetOnASetClock(FleetOfTwoStores):
    """The database server's clock is set forward and back, and each process hears of it before it does anything else.
    Its reservation follows when it is asked next, which is at once if requests spend what it has leased.

    A process stays in its windows when the clock was set back by a few seconds: what it admits then is of those.
    """

    set_back_by = until = 0.0

    def _reservation(self, number: int) -> Reservation:
        """One that is made while minutes come again knows that, as `Meters` tells it."""
        is_new = self.processes[number % self.size].reservation is None
        reservation = super()._reservation(number)
        if is_new and self.now < self.until:
            reservation.clock_moved(self.set_back_by, self.now)
        return reservation

    @rule(seconds=st.sampled_from([2.0, 20.0, 61.0, 600.0, 4_000.0]))
    def set_back(self, seconds: float) -> None:
        self.now -= seconds
        self.set_back_by, self.until = -seconds, self.now + seconds + HEARD + QUARTER
        self.moves.note(-seconds, self.now)
        for process in self.processes:
            if process.reservation is not None:
                process.reservation.hot_until = NEVER
        self._see_limits()

    @rule(number=pick, other=pick, seconds=st.sampled_from([20.0, 61.0]), limited=st.booleans())
    def begin_a_minute_again(self, number: int, other: int, seconds: float, limited: bool) -> None:
        """It was used up before the clock was set back, and another process reserves in the minute before it."""
        self.wait_for_the_next_minute(0.0)
        self.wait(10.0)
        self.serve(other, 50, 1, 1)
        self.set_back(seconds)
        self.take_along(number, 1, False, True)
        self.wait_for_the_next_minute(0.0)
        if seconds > MINUTE and limited:
            self.wait_for_the_next_minute(0.0)
        self.wait(6.0)
        self.spend_on_the_hot_path(number, 500, 3.0)

    def _windows(self, process: Process) -> tuple[Window, Window]:
        return super()._windows(process) if process.reservation is None else process.reservation.windows

    def _see_limits(self) -> None:
        super()._see_limits()
        for process in self.processes:
            minute, day = super()._windows(process)
            self.ceiling.see(minute, process.limits.per_minute)
            self.ceiling.see(day, process.limits.per_day)


class SkewedFleet(CrashingFleet):
    """Each process is wrong about the server's time by up to `SKEW` / 2. So they are in different minutes at times."""

    skews = (-0.45, 0.45, 0.0)

    @rule(number=pick, other=pick, seed=st.integers(0, 1 << 30))
    def meet_at_an_edge(self, number: int, other: int, seed: int) -> None:
        """What walks seldom find: a take is on its way while some processes are in the next minute already."""
        random = Random(seed)
        edge = random.choice([MINUTE, QUARTER])
        end = (self.now // edge + 1) * edge
        if random.random() < 0.7:
            number, other = self.skews.index(min(self.skews)), self.skews.index(max(self.skews))
        steps: list[Callable[[], object]] = [
            lambda: self.stop(number, True) if random.random() < 0.5 else None,
            lambda: self._wait_until(end - random.choice([30.0, 2.5, 1.7])),
            lambda: self.take_along(number, 1, False, random.random() < 0.3),
            lambda: self._wait_until(end + random.choice([-0.4, -0.2, 0.2, 0.4])),
            lambda: self.serve(other, 50, 1, 1),
            lambda: self._change_at_an_edge(number, random),
            self._let_through,
            lambda: self.serve(other, 50, 1, 1),
            lambda: self._wait_until(end + 1),
            lambda: self.spend_on_the_hot_path(number, 500, 3.0),
            lambda: self.serve(number, 50, 1, 1),
        ]
        for step in steps:
            if random.random() < 0.93:
                step()

    def _wait_until(self, now: float) -> None:
        self.now = max(self.now, now)
        self._see_limits()

    def _let_through(self) -> None:
        while any(message.values is None for message in self.messages):
            self.arrive(0)
        while self.messages:
            self.reply(0) if self.messages[0].values is not None else self.arrive(0)

    def _change_at_an_edge(self, number: int, random: Random) -> None:
        kind = random.choice(["spend", "stop", "cut", "nothing"])
        if kind == "spend":
            self.spend_on_the_hot_path(number, random.choice([1, 3]), 3.0)
        if kind == "stop":
            self.stop(number, True)
        if kind == "cut" and (limit := self.processes[number % self.size].limits.per_minute):
            self.change(number, max(1, limit - 1), None)
            self.give_back(number)


class SkewedPair(SkewedFleet):
    """The two that differ most."""

    size = 2


class FleetOfOtherCounters(SkewedFleet):
    """Its counters change to others, which have nothing, at the edge of a minute or in the middle of one. Then they
    begin with what all processes report. A process does not know at times which ones count."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[int] = []
        """The first minute of each version but the first."""
        self.forgetful = False
        self.old: dict[object, Counters] = {0: self.counters}
        self.departed: list[Reservation] = []
        self.version_of = self._version_of

    def _version_of(self, minute: int) -> object:
        return None if self.forgetful else sum(change <= minute for change in self.changes)

    def _counters_of(self, take: Take) -> Counters:
        """Those that the take was planned in. If they were not known, no answer is used."""
        counters = Counters() if take.version is None else self.old.setdefault(take.version, Counters())
        counters.days = self.counters.values
        return counters

    def _may_change(self) -> bool:
        return not self.forgetful and (not self.changes or self.changes[-1] <= minute_at(self.now - 1))

    @precondition(lambda self: self._may_change())
    @rule(minutes=st.integers(1, 3))
    def change_counters(self, minutes: int) -> None:
        if self._may_change():
            self.changes.append(minute_at(self.now + 1) + minutes)

    @precondition(lambda self: self._may_change())
    @rule()
    def hand_over(self) -> None:
        """All processes are in one minute, and report what they were granted of it."""
        minute = minute_at(self.now)
        if not self._may_change() or len({minute_at(self.now + skew) for skew in self.skews}) > 1:
            return
        reservations = [process.reservation for process in self.processes if process.reservation is not None]
        granted = sum(reservation.hand_over(self.now) for reservation in [*reservations, *self.departed])
        self.changes.append(minute)
        self.old[len(self.changes)] = Counters()
        self.old[len(self.changes)].values[Window("minute", minute)] = granted

    def _release(self, number: int, *, forget: bool = True) -> None:
        if forget:
            self.departed.append(self._reservation(number))
        super()._release(number, forget=forget)

    def crash(self, number: int) -> None:
        """A process that is killed reports nothing, and nothing is handed over (`fleet_of_stores.py`)."""

    @rule(forgetful=st.booleans())
    def lose_the_log(self, forgetful: bool) -> None:
        self.forgetful = forgetful


class SlidingFleet(Fleet):
    """Minutes slide: at no time is more admitted than the previous minute leaves."""

    slides = True

    def _admit(self, number: int, cost: int) -> None:
        super()._admit(number, cost)
        limit = self.processes[0].limits.per_minute
        if limit is not None:
            current = minute_at(self.now)
            weight = 1 - (self.now - current * MINUTE) / MINUTE
            previous = self.admitted[Window("minute", current - 1)]
            weighed = previous * weight + self.admitted[Window("minute", current)]
            assert weighed <= limit + 1e-6, f"{weighed} of {limit}"

    @rule(number=pick)
    def stop(self, number: int) -> None:
        self._release(number)

    @rule(number=pick)
    def crash(self, number: int) -> None:
        process = self.processes[number % self.size]
        for message in self.messages:
            if message.reservation is process.reservation:
                message.reservation = None
        process.reservation = None


SETTINGS = settings(max_examples=effort(15, 100), stateful_step_count=60, deadline=None)

TestFleet = Fleet.TestCase
TestFleet.settings = SETTINGS
TestCrashingFleet = CrashingFleet.TestCase
TestCrashingFleet.settings = SETTINGS
TestLosingFleet = LosingFleet.TestCase
TestLosingFleet.settings = SETTINGS
TestSlidingFleet = SlidingFleet.TestCase
TestSlidingFleet.settings = SETTINGS
TestFleetOfTwoStores = FleetOfTwoStores.TestCase
TestFleetOfTwoStores.settings = SETTINGS
TestFleetOnASetClock = FleetOnASetClock.TestCase
TestFleetOnASetClock.settings = SETTINGS
TestSkewedFleet = SkewedFleet.TestCase
TestSkewedFleet.settings = SETTINGS
TestFleetOfOtherCounters = FleetOfOtherCounters.TestCase
TestFleetOfOtherCounters.settings = SETTINGS
TestLosingProcess = LosingProcess.TestCase
TestLosingProcess.settings = SETTINGS


WALKS = effort(150, 4_000)
STEPS = 80


def walk(fleet: Fleet, random: Random) -> None:
    """Drive the rules of `fleet` at random, mostly those that spend and those that let messages through."""

    def number() -> int:
        return random.randrange(fleet.size)

    def messages(answered: bool) -> bool:
        return any((message.values is not None) is answered for message in fleet.messages)

    def maybe(ready: Callable[[], object], step: Callable[[int], None]) -> None:
        if ready():
            step(random.randrange(6))

    usual: list[tuple[int, Callable[[], None]]] = [
        (
            8,
            lambda: fleet.serve(
                number(), random.choice([1, 2, 5, 50]), random.choice([1, 1, 3]), random.choice([1, 3])
            ),
        ),
        (6, lambda: fleet.ask(number(), 1, random.choice([1, 3]))),
        (4, lambda: fleet.spend_on_the_hot_path(number(), random.choice([1, 5, 500]), random.choice([0.5, 3.0, 90.0]))),
        (1, lambda: fleet.refill(number(), 2)),
        (2, lambda: fleet.give_back(number())),
        (6, lambda: maybe(lambda: messages(False), lambda index: _arrive(fleet, index, random))),
        (5, lambda: maybe(lambda: messages(True), fleet.reply)),
        (1, lambda: maybe(lambda: fleet.messages, fleet.lose)),
        (1, lambda: maybe(lambda: fleet.messages, fleet.time_out)),
        (3, lambda: _set_clock(fleet, random)),
        (3, lambda: fleet.wait(random.choice([0.01, 1.5, 1.5, 7.0, 7.0, 60.0, 60.0, 3_700.0]))),
        (1, lambda: fleet.wait_for_the_next_minute(random.choice([0.0, 0.2]))),
        (3, lambda: fleet.wait_for_the_next_quarter(random.choice(BEFORE_A_QUARTER))),
        (3, lambda: fleet.take_along(number(), random.choice([1, 3]), random.random() < 0.5, random.random() < 0.5)),
        (1, lambda: fleet.refund(number(), random.choice([1, 3, 500]), random.choice([0.0, 0.0, 61.0, "today", None]))),
    ]
    usual += _own_steps(fleet, random)
    fleet.begin(*_limits(random), random.choice(STARTS), random.choice(CALENDARS), random.choice(POLICIES))
    steps = random.choices([step for _, step in usual], [weight for weight, _ in usual], k=STEPS)
    for step in steps:
        step()
        fleet.no_limit_is_exceeded()


def _limits(random: Random) -> tuple[int | None, int | None]:
    return random.choice([1, 10, 10, 40, 40, 100, 400, None]), random.choice([None, None, 3, 30, 200])


def _own_steps(fleet: Fleet, random: Random) -> list[tuple[int, Callable[[], None]]]:
    """The rules that only some fleets have, and how often they are driven."""

    def number() -> int:
        return random.randrange(fleet.size)

    steps: list[tuple[int, Callable[[], None]]] = []
    if isinstance(fleet, CrashingFleet):
        steps += [
            (1, lambda: fleet.crash(number())),
            (1, lambda: fleet.stop(number(), random.random() < 0.7)),
            (1, lambda: fleet.change(number(), *_limits(random))),
            (1, lambda: _change_all(fleet, *_limits(random))),
            (1, lambda: fleet.move(number(), random.choice(CALENDARS))),
        ]
    if isinstance(fleet, SkewedFleet):
        steps += [(3, lambda: fleet.meet_at_an_edge(number(), number(), random.randrange(1 << 30)))]
    if isinstance(fleet, FleetOnASetClock):
        steps += [
            (
                2,
                lambda: fleet.begin_a_minute_again(
                    number(), number(), random.choice([20.0, 61.0]), random.random() < 0.5
                ),
            )
        ]
    if isinstance(fleet, FleetOfOtherCounters):
        steps += [
            (1, lambda: fleet.change_counters(random.choice([1, 1, 2]))),
            (1, fleet.hand_over),
            (1, lambda: fleet.lose_the_log(random.random() < 0.5)),
        ]
    if isinstance(fleet, LosingFleet | SlidingFleet):
        steps += [(1, lambda: fleet.stop(number()))]
    if isinstance(fleet, SlidingFleet):
        steps += [(1, lambda: fleet.crash(number()))]
    if isinstance(fleet, LosingFleet):
        steps += [(1, fleet.reset), (1, lambda: fleet.hear_of_a_reset(number()))]
    if isinstance(fleet, LosingFleet | LosingProcess):
        steps += [(1, fleet.flush)]
    return steps


def _arrive(fleet: Fleet, index: int, random: Random) -> None:
    if isinstance(fleet, FleetOfTwoStores) and random.random() < 0.5:
        fleet.arrive_in_part(index, random.randrange(1 << 30))
    else:
        fleet.arrive(index)


def _set_clock(fleet: Fleet, random: Random) -> None:
    if isinstance(fleet, FleetOnASetClock):
        fleet.set_back(random.choice([2.0, 20.0, 61.0, 600.0, 4_000.0]))


def _change_all(fleet: CrashingFleet, minute: int | None, day: int | None) -> None:
    for number in range(fleet.size):
        fleet.change(number, minute, day)


KINDS = [
    Fleet,
    CrashingFleet,
    SkewedFleet,
    SkewedPair,
    FleetOfTwoStores,
    FleetOnASetClock,
    FleetOfOtherCounters,
    LosingFleet,
    LosingProcess,
    SlidingFleet,
]


@pytest.mark.parametrize("kind", KINDS)
def test_no_limit_is_exceeded_on_long_walks(kind: type[Fleet]) -> None:
    for seed in range(WALKS):
        walk(kind(), Random(f"{kind.__name__}/{seed}"))
