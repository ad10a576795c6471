"""No interleaving of takes, spends, window changes, crashes, returns and limit changes exceeds a limit.

The model's processes hold real reservations. Their takes reach the counters late, the replies come later still and in
any order, or never. The model alone counts what was admitted, by the window in which it was admitted.

Each fleet is explored twice: by Hypothesis, which shrinks what it finds, and by long random walks with fixed seeds,
which are deep enough to catch every single rule of the reservation being left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tenantcache.core.reservation import Reservation, Take
from tenantcache.core.tenant import Limits
from tenantcache.core.windows import DAY, MINUTE, Debit, Window, minute_at, utc_day

MIDNIGHT = 20_000 * DAY
U32 = 2**32 - 1

limits_of_minutes = st.sampled_from([10, 40, 3, 400, 1, None])
limits_of_days = st.sampled_from([None, 30, 200, 3])
pick = st.integers(0, 5)


class Counters:
    """The counters of one tenant: minutes saturate as unsigned 32-bit fields, days are plain integers."""

    def __init__(self) -> None:
        self.values: Counter[Window] = Counter()

    def debit(self, debits: tuple[Debit, ...]) -> list[int]:
        replies = []
        for window, amount in debits:
            value = self.values[window] + amount
            self.values[window] = min(U32, max(0, value)) if window.policy == "minute" else value
            replies.append(self.values[window])
        return replies


@dataclass
class Process:
    limits: Limits
    reservation: Reservation | None = None


@dataclass
class Message:
    """A take on its way: to the counters while `values` is None, and back."""

    take: Take
    reservation: Reservation | None
    values: list[int] | None = None


@dataclass
class Ceiling:
    """The highest limit in force in each window; absent means that it was unlimited at some time."""

    values: dict[Window, float] = field(default_factory=dict)

    def see(self, window: Window, limit: int | None) -> None:
        self.values[window] = max(self.values.get(window, 0), float("inf") if limit is None else limit)


class Fleet(RuleBasedStateMachine):
    """Several processes, one tenant."""

    size = 3

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
        start=st.sampled_from([30.0, 58 * 60.0 + 5, 23 * 3600 + 59 * 60.0 + 20]),
    )
    def begin(self, minute: int | None, day: int | None, start: float) -> None:
        self.now = MIDNIGHT + start
        self.processes = [Process(Limits(minute, day)) for _ in range(self.size)]
        self._see_limits()

    def _see_limits(self) -> None:
        for process in self.processes:
            self.ceiling.see(Window("minute", minute_at(self.now)), process.limits.per_minute)
            self.ceiling.see(Window("day", utc_day(self.now).number), process.limits.per_day)

    def _reservation(self, number: int) -> Reservation:
        process = self.processes[number % self.size]
        if process.reservation is None:
            process.reservation = Reservation(process.limits, self.now)
        return process.reservation

    def _send(self, reservation: Reservation | None, take: Take | None) -> None:
        if take is not None:
            self.messages.append(Message(take, reservation))

    def _admit(self, cost: int) -> None:
        self.admitted[Window("minute", minute_at(self.now))] += cost
        self.admitted[Window("day", utc_day(self.now).number)] += cost

    @rule(number=pick, cost=st.integers(1, 5), fleet=st.integers(1, 4))
    def ask(self, number: int, cost: int, fleet: int) -> None:
        reservation = self._reservation(number)
        decision = reservation.decide(self.now, cost)
        if decision is None:
            self._send(reservation, reservation.plan(self.now, cost, fleet))
        elif decision.allowed:
            self._admit(cost)

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
            self._admit(cost)

    @rule(number=pick, times=st.sampled_from([1, 5, 50, 500]))
    def spend_on_the_hot_path(self, number: int, times: int) -> None:
        r = self._reservation(number)
        for _ in range(times):
            if not (self.now < r.until and r.minute >= 1 and r.day >= 1):
                break
            r.minute -= 1
            r.day -= 1
            self._admit(1)

    @rule(number=pick, fleet=st.integers(1, 4))
    def refill(self, number: int, fleet: int) -> None:
        reservation = self._reservation(number)
        self._send(reservation, reservation.plan(self.now, 0, fleet))

    @rule(number=pick)
    def give_back(self, number: int) -> None:
        reservation = self._reservation(number)
        self._send(reservation, reservation.surplus(self.now))

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

    @rule(seconds=st.sampled_from([0.01, 0.5, 1.5, 7.0, 31.0, 60.0, 200.0]))
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


class LosingFleet(Fleet):
    """The counters are lost now and then: each loss lets through at most one more limit, or the value that was lost."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: Counter[Window] = Counter()

    @rule()
    def flush(self) -> None:
        for window, value in self.counters.values.items():
            self.lost[window] += value and max(value, self._limit(window))
        self.counters.values.clear()

    def _limit(self, window: Window) -> int:
        limits = self.processes[0].limits
        return (limits.per_minute if window.policy == "minute" else limits.per_day) or 0

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


SETTINGS = settings(max_examples=100, stateful_step_count=60, deadline=None)

TestFleet = Fleet.TestCase
TestFleet.settings = SETTINGS
TestCrashingFleet = CrashingFleet.TestCase
TestCrashingFleet.settings = SETTINGS
TestLosingFleet = LosingFleet.TestCase
TestLosingFleet.settings = SETTINGS
TestLosingProcess = LosingProcess.TestCase
TestLosingProcess.settings = SETTINGS


WALKS = 1_000
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
        (2, lambda: fleet.spend_on_the_hot_path(number(), random.choice([1, 5, 500]))),
        (1, lambda: fleet.refill(number(), 2)),
        (2, lambda: fleet.give_back(number())),
        (6, lambda: maybe(lambda: messages(False), fleet.arrive)),
        (5, lambda: maybe(lambda: messages(True), fleet.reply)),
        (1, lambda: maybe(lambda: fleet.messages, fleet.lose)),
        (1, lambda: maybe(lambda: fleet.messages, fleet.time_out)),
        (3, lambda: fleet.wait(random.choice([0.01, 1.5, 7.0, 60.0]))),
        (1, lambda: fleet.wait_for_the_next_minute(random.choice([0.0, 0.2]))),
    ]
    if isinstance(fleet, CrashingFleet):
        usual += [
            (1, lambda: fleet.crash(number())),
            (1, lambda: fleet.stop(number(), random.random() < 0.7)),
            (1, lambda: fleet.change(number(), *limits())),
            (1, lambda: _change_all(fleet, *limits())),
        ]
    if isinstance(fleet, LosingFleet):
        usual += [(1, lambda: fleet.stop(number()))]
    if isinstance(fleet, LosingFleet | LosingProcess):
        usual += [(1, fleet.flush)]
    fleet.begin(*limits(), random.choice([30.0, 58 * 60.0 + 5, 23 * 3600 + 59 * 60.0 + 20]))
    steps = random.choices([step for _, step in usual], [weight for weight, _ in usual], k=STEPS)
    for step in steps:
        step()
        fleet.no_limit_is_exceeded()


def _change_all(fleet: CrashingFleet, minute: int | None, day: int | None) -> None:
    for number in range(fleet.size):
        fleet.change(number, minute, day)


@pytest.mark.parametrize("kind", [Fleet, CrashingFleet, LosingFleet, LosingProcess])
def test_no_limit_is_exceeded_on_long_walks(kind: type[Fleet]) -> None:
    for seed in range(WALKS):
        walk(kind(), Random(f"{kind.__name__}/{seed}"))
