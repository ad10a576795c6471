"""No interleaving of takes, spends, window changes, crashes, returns, refunds, resets, and changes of limits and time
zones exceeds a limit; nor does one with sliding minutes exceed what the previous minute leaves.

The model's processes hold real reservations. Their takes reach the counters late, the replies come later still and in
any order, or never, or for some of a take's debits only: two stores share them, and either may fail before, during or
after. The model alone counts what was admitted, by the window in which it was admitted.

Each fleet is explored twice: by Hypothesis, which shrinks what it finds, and by long random walks with fixed seeds,
which are deep enough to catch every single rule of the reservation being left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tenantcache.ratelimit.core.ledger import Take
from tenantcache.ratelimit.core.policy import DEFAULT_POLICY
from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.ratelimit.core.windows import (
    DAY,
    MINUTE,
    MINUTES_PER_QUARTER,
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

limits_of_minutes = st.sampled_from([10, 40, 3, 400, 1, None])
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


class Counters:
    """The counters of one tenant: minutes saturate as unsigned 32-bit fields, days are plain integers."""

    def __init__(self) -> None:
        self.values: Counter[Window] = Counter()

    def debit(self, debits: tuple[Debit, ...]) -> list[int]:
        replies = []
        for window, amount in debits:
            value = self.values[window] + amount
            self.values[window] = min(U32, max(0, value)) if window.unit != "day" else value
            replies.append(self.values[window])
        return replies


@dataclass
class Process:
    limits: Limits
    calendar: Calendar = utc_day
    reservation: Reservation | None = None
    admitted: Counter[Window] = field(default_factory=Counter)
    """By the reservation that it holds."""


@dataclass
class Message:
    """A take on its way: to the counters while `values` is None, and back."""

    take: Take
    reservation: Reservation | None
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

    def __init__(self) -> None:
        super().__init__()
        self.now = float(MIDNIGHT)
        self.counters = Counters()
        self.admitted: Counter[Window] = Counter()
        self.ceiling = Ceiling()
        self.messages: list[Message] = []
        self.processes: list[Process] = []

    @initialize(
        minute=limits_of_minutes,
        day=limits_of_days,
        start=st.sampled_from(STARTS),
        calendar=st.sampled_from(CALENDARS),
    )
    def begin(self, minute: int | None, day: int | None, start: float, calendar: Calendar) -> None:
        self.now = MIDNIGHT + start
        self.processes = [Process(Limits(minute, day), calendar) for _ in range(self.size)]
        self._see_limits()

    def _see_limits(self) -> None:
        for process in self.processes:
            self.ceiling.see(Window("minute", minute_at(self.now)), process.limits.per_minute)
            self.ceiling.see(Window("day", process.calendar(self.now).number), process.limits.per_day)

    def _reservation(self, number: int) -> Reservation:
        process = self.processes[number % self.size]
        if process.reservation is None:
            process.reservation = Reservation(
                process.limits, self.now, DEFAULT_POLICY, process.calendar, slides=self.slides
            )
            process.admitted.clear()
        return process.reservation

    def _send(self, reservation: Reservation | None, take: Take | None) -> None:
        if take is not None:
            self.messages.append(Message(take, reservation))

    def _windows(self, process: Process) -> tuple[Window, Window]:
        return Window("minute", minute_at(self.now)), Window("day", process.calendar(self.now).number)

    def _admit(self, number: int, cost: int) -> None:
        process = self.processes[number % self.size]
        for window in self._windows(process):
            self.admitted[window] += cost
            process.admitted[window] += cost

    @rule(number=pick, cost=st.integers(1, 5), fleet=st.integers(1, 4))
    def ask(self, number: int, cost: int, fleet: int) -> None:
        reservation = self._reservation(number)
        decision = reservation.decide(self.now, cost)
        if decision is None:
            self._send(reservation, reservation.plan(self.now, cost, fleet))
        elif decision.allowed:
            self._admit(number, cost)

    @rule(number=pick, times=st.sampled_from([1, 5, 50, 500]), cost=st.integers(1, 3), fleet=st.sampled_from([1, 3]))
    def serve(self, number: int, times: int, cost: int, fleet: int) -> None:
        """A burst of requests, with replies that come at once."""
        reservation = self._reservation(number)
        for _ in range(times):
            decision = reservation.decide(self.now, cost)
            if decision is None:
                take = reservation.plan(self.now, cost, fleet)
                while take is not None:
                    take = reservation.settle(take, self.counters.debit(take.debits), self.now)
                decision = reservation.decide(self.now, cost)
            if decision is None or not decision.allowed:
                break
            self._admit(number, cost)

    @rule(number=pick, times=st.sampled_from([1, 5, 50, 500]), seconds=st.sampled_from([0.5, 3.0, 90.0]))
    def spend_on_the_hot_path(self, number: int, times: int, seconds: float) -> None:
        """As the middleware does. What is leased stays so while other things happen, and is spent by later calls."""
        r = self._reservation(number)
        for _ in range(times):
            if self.now >= r.hot_until and self.now < r.until:
                r.lend(min(r.until, self.now + seconds))
            if self.now >= r.hot_until or r.left < 1:
                break
            r.left -= 1
            self._admit(number, 1)

    @rule(number=pick, fleet=st.integers(1, 4))
    def refill(self, number: int, fleet: int) -> None:
        reservation = self._reservation(number)
        self._send(reservation, reservation.plan(self.now, 0, fleet))

    @rule(number=pick)
    def give_back(self, number: int) -> None:
        reservation = self._reservation(number)
        self._send(reservation, reservation.surplus(self.now))

    @rule(number=pick, cost=st.sampled_from([1, 3, 500]), ago=st.sampled_from([0.0, 0.0, 61.0, None]))
    def refund(self, number: int, cost: int, ago: float | None) -> None:
        """What comes back was spent by this process, in the window in which it comes back."""
        reservation, process = self._reservation(number), self.processes[number % self.size]
        if reservation.released:
            assert reservation.refund(cost, self.now, self.now) == 0
            return
        reservation.refund(0, self.now, self.now)  # enter the windows of now
        minute, day = reservation.minute, reservation.day
        reservation.refund(cost, self.now, None if ago is None else self.now - ago)
        back = list(zip(self._windows(process), (reservation.minute - minute, reservation.day - day), strict=True))
        for window, tokens in back:
            assert 0 <= tokens <= min(cost, process.admitted[window])
            self.admitted[window] -= tokens
            process.admitted[window] -= tokens
        assert back[0][1] == 0 or ago == 0.0, "what was admitted in another minute, or it is not known when"
        if ago is not None and process.calendar(self.now - ago) != process.calendar(self.now):
            assert back[1][1] == 0, "what was admitted yesterday"

    @precondition(lambda self: any(m.values is None for m in self.messages))
    @rule(index=pick)
    def arrive(self, index: int) -> None:
        waiting = [message for message in self.messages if message.values is None]
        message = waiting[index % len(waiting)]
        message.values = self.counters.debit(message.take.debits)

    @precondition(lambda self: any(m.values is not None for m in self.messages))
    @rule(index=pick)
    def reply(self, index: int) -> None:
        answered = [message for message in self.messages if message.values is not None]
        message = answered[index % len(answered)]
        self.messages.remove(message)
        if message.reservation is not None and message.values is not None:
            following = message.reservation.settle(message.take, message.values, self.now)
            self._send(message.reservation, following)

    @precondition(lambda self: self.messages)
    @rule(index=pick)
    def lose(self, index: int) -> None:
        """A take that never arrived, or whose reply got lost."""
        message = self.messages.pop(index % len(self.messages))
        if message.reservation is not None:
            message.reservation.fail(message.take, self.now)

    @precondition(lambda self: self.messages)
    @rule(index=pick)
    def time_out(self, index: int) -> None:
        """The process gives up waiting, but the take is still on its way."""
        message = self.messages[index % len(self.messages)]
        if message.reservation is not None:
            message.reservation.fail(message.take, self.now)
            message.reservation = None

    @rule(seconds=st.sampled_from([0.01, 0.5, 1.5, 7.0, 31.0, 60.0, 200.0, 3_700.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self._see_limits()

    @rule(before=st.sampled_from([0.0, 0.2]))
    def wait_for_the_next_minute(self, before: float) -> None:
        self.now = max(self.now, (minute_at(self.now) + 1) * MINUTE - before)
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
        reservation = self._reservation(number)
        self._send(None, reservation.release(self.now))
        assert reservation.release(self.now) is None
        assert not reservation.spend(self.now, 1)
        if forget:
            self.processes[number % self.size].reservation = None

    @rule(number=pick, minute=limits_of_minutes, day=limits_of_days)
    def change(self, number: int, minute: int | None, day: int | None) -> None:
        process = self.processes[number % self.size]
        process.limits = Limits(minute, day)
        if process.reservation is not None:
            process.reservation.change(process.limits, self.now)
        self._see_limits()

    @rule(number=pick, calendar=st.sampled_from(CALENDARS))
    def move(self, number: int, calendar: Calendar) -> None:
        """The tenant gets another time zone, and each process hears of it at its own time."""
        process = self.processes[number % self.size]
        process.calendar = calendar
        if process.reservation is not None:
            process.reservation.change(process.limits, self.now, calendar)
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
        process = self.processes[number % self.size]
        process.admitted.clear()

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
        reservation = self._reservation(number)
        self._send(None, reservation.release(self.now))
        self.processes[number % self.size].reservation = None

    def _bound(self, window: Window) -> float:
        return super()._bound(window) + self.lost[window]


class LosingProcess(Fleet):
    """One process alone never exceeds a limit, even when the counters are lost."""

    size = 1

    @rule()
    def flush(self) -> None:
        self.counters.values.clear()


class FleetOfTwoStores(CrashingFleet):
    """A take's debits lie in two stores, or in two keys of one: those of each may be made and answered, be made and not
    be answered, or not be made."""

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

    A process stays in its windows when the clock was set back by a few seconds: what it admits then is of those.
    """

    @rule(seconds=st.sampled_from([2.0, 20.0, 61.0, 600.0, 4_000.0]))
    def set_back(self, seconds: float) -> None:
        self.now -= seconds
        for process in self.processes:
            if process.reservation is not None:
                process.reservation.clock_moved(-seconds, self.now)
        self._see_limits()

    def _windows(self, process: Process) -> tuple[Window, Window]:
        return super()._windows(process) if process.reservation is None else process.reservation.windows

    def _see_limits(self) -> None:
        super()._see_limits()
        for process in self.processes:
            minute, day = self._windows(process)
            self.ceiling.see(minute, process.limits.per_minute)
            self.ceiling.see(day, process.limits.per_day)


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
        reservation = self._reservation(number)
        self._send(None, reservation.release(self.now))
        self.processes[number % self.size].reservation = None

    @rule(number=pick)
    def crash(self, number: int) -> None:
        process = self.processes[number % self.size]
        for message in self.messages:
            if message.reservation is process.reservation:
                message.reservation = None
        process.reservation = None


SETTINGS = settings(max_examples=effort(25, 100), stateful_step_count=60, deadline=None)

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
TestLosingProcess = LosingProcess.TestCase
TestLosingProcess.settings = SETTINGS


WALKS = effort(250, 1_000)
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

    def limits() -> tuple[int | None, int | None]:
        return random.choice([1, 3, 10, 10, 40, 400, None]), random.choice([None, None, 3, 30, 200])

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
        (1, lambda: fleet.refund(number(), random.choice([1, 3, 500]), random.choice([0.0, 0.0, 61.0, None]))),
    ]
    if isinstance(fleet, CrashingFleet):
        usual += [
            (1, lambda: fleet.crash(number())),
            (1, lambda: fleet.stop(number(), random.random() < 0.7)),
            (1, lambda: fleet.change(number(), *limits())),
            (1, lambda: _change_all(fleet, *limits())),
            (1, lambda: fleet.move(number(), random.choice(CALENDARS))),
        ]
    if isinstance(fleet, LosingFleet | SlidingFleet):
        usual += [(1, lambda: fleet.stop(number()))]
    if isinstance(fleet, SlidingFleet):
        usual += [(1, lambda: fleet.crash(number()))]
    if isinstance(fleet, LosingFleet):
        usual += [(1, fleet.reset), (1, lambda: fleet.hear_of_a_reset(number()))]
    if isinstance(fleet, LosingFleet | LosingProcess):
        usual += [(1, fleet.flush)]
    fleet.begin(*limits(), random.choice(STARTS), random.choice(CALENDARS))
    steps = random.choices([step for _, step in usual], [weight for weight, _ in usual], k=STEPS)
    for step in steps:
        step()
        fleet.no_limit_is_exceeded()


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


@pytest.mark.parametrize(
    "kind", [Fleet, CrashingFleet, FleetOfTwoStores, FleetOnASetClock, LosingFleet, LosingProcess, SlidingFleet]
)
def test_no_limit_is_exceeded_on_long_walks(kind: type[Fleet]) -> None:
    for seed in range(WALKS):
        walk(kind(), Random(f"{kind.__name__}/{seed}"))
