"""A reservation that has gone to rest, and was made anew, goes on as if it had been there all the time."""

from __future__ import annotations

from collections import Counter
from math import inf
from random import Random

import pytest

from tenantcache.ratelimit.core.ledger import Line, Take
from tenantcache.ratelimit.core.packing import Packed, Packing, asking, cautious, is_of, unpack_debits
from tenantcache.ratelimit.core.reservation import Reservation, one_version
from tenantcache.ratelimit.core.rest import Resting
from tenantcache.ratelimit.core.windows import MINUTE, Debit, Window, minute_at
from tenantcache.tenant import Limits
from tests.thorough import effort

START = 1_700_000_400.0
STEPS = 400
LIMITS = [Limits(600, 100_000), Limits(20, 100), Limits(None, 5_000), Limits(60, None), Limits()]
MAY_GO_ON_FOR = [0.0, 0.01, 0.3, 2.0, 20.0, 61.0, 200.0, 901.0, 4_000.0, 90_000.0]


def rest(reservation: Reservation, now: float) -> Resting | None:
    return reservation.rest(now, lambda resting: resting)


class Walk:
    """One reservation, its counters, and all that it has answered. `rests`: it goes to rest when it can."""

    def __init__(self, limits: Limits, *, rests: bool) -> None:
        self.version = 1
        self.reservation = Reservation(limits, START, version_of=self.version_of)
        self.counters: Counter[Window] = Counter()
        self.answers: list[object] = []
        self.rested = self.rested_taking = 0
        self._rests = rests
        self._packing = Packing()

    def version_of(self, _minute: int) -> object:
        return self.version

    def rest(self, now: float) -> None:
        self.reservation.clock_moved(0.0, now)  # both enter windows at the same times
        resting = rest(self.reservation, now) if self._rests else None
        if resting is not None:
            assert self.reservation.decide(now, 1) is None, "what has gone to rest admits nothing"
            record = self._packing.pack(Packed(7, 3, resting))
            unpacked = self._packing.unpack(record)
            assert unpacked == Packed(7, 3, resting)
            self.reservation = Reservation.resumed(unpacked.resting, self.version_of)
            self.rested += 1

    def rest_taking(self, take: Take, now: float, *, fails: bool) -> Take | None:
        """Go to rest while `take` is in flight, and be made anew; None if it has failed meanwhile."""
        packed = self._packing.pack_take(7, take) if self._rests else None
        resting = rest(self.reservation, now) if packed is not None else None
        if packed is not None and resting is not None:
            self.rested_taking += 1
            record = self._packing.pack(Packed(7, 3, resting))
            unpacked = self._packing.unpack(cautious(record) if fails else record)
            self.reservation = Reservation.resumed(unpacked.resting, self.version_of, is_taking=not fails)
            assert unpack_debits(packed) == (7, list(take.debits))
            return None if fails else self._packing.unpack_take(packed)
        if fails:
            self.reservation.fail(take, now)
        return None if fails else take

    def take(self, take: Take | None, now: float, *, fails: bool) -> None:
        while take is not None:
            self.answers.append(take)
            take = self.rest_taking(take, now, fails=fails)
            if take is None:
                return
            values = []
            for window, amount in take.debits:
                self.counters[window] = max(0, self.counters[window] + amount)
                values.append(self.counters[window])
            take = self.reservation.settle(take, values, now)

    def step(self, kind: str, now: float, number: int) -> None:
        reservation = self.reservation
        if kind == "requests":
            self.answers += [reservation.decide(now, 1) for _ in range(number)]
        elif kind == "lease":
            reservation.lend(inf)
            tokens = min(number, max(0, reservation.left))
            reservation.left -= tokens
        elif kind == "take":
            self.take(reservation.plan(now, number, 3), now, fails=False)
        elif kind == "failure":
            self.take(reservation.plan(now, number, 3), now, fails=True)
        elif kind == "along":
            self.take(reservation.plan_along(now, 3, ahead=number % 2 == 0, day=number % 3 == 0), now, fails=False)
        elif kind == "surplus":
            self.take(reservation.surplus(now), now, fails=False)
        elif kind == "clock":
            reservation.clock_moved(-1.5 if number % 2 else 1.5, now)
        elif kind == "version":
            self.version += 1
        elif kind == "drain":
            self.answers.append(reservation.drain())
        reservation = self.reservation  # another one, if it has rested
        self.answers += [reservation.until, reservation.granted, reservation.quotas(now), reservation.refill]


def walk(seed: int) -> tuple[Walk, Walk]:
    random = Random(seed)
    limits = random.choice(LIMITS)
    stays, rests = Walk(limits, rests=False), Walk(limits, rests=True)
    kinds = ["requests", "lease", "take", "failure", "along", "surplus", "drain", "drain", "clock", "version"]
    weights = [6, 3, 6, 1, 8, 3, 4, 4, 0.2, 0.2]
    now = START
    for _ in range(STEPS):
        now += random.choice(MAY_GO_ON_FOR)
        kind, number = random.choices(kinds, weights)[0], random.randrange(1, 12)
        for each in (stays, rests):
            each.rest(now)
            each.step(kind, now, number)
        assert stays.answers == rests.answers, f"after {kind} of {number}, seed {seed}"
        assert stays.counters == rests.counters
    return stays, rests


@pytest.mark.parametrize("seeds", [range(start, start + 20) for start in range(0, effort(20, 100), 20)], ids=str)
def test_all_answers_are_those_of_one_that_never_rested(seeds: range) -> None:
    rested = [walk(seed)[1] for seed in seeds]
    assert sum(each.rested for each in rested) > len(seeds) * STEPS / 10, "they rest often, or this shows little"
    assert sum(each.rested_taking for each in rested) > len(seeds) * STEPS / 20, "also while a take is in flight"


def at_rest(limits: Limits = LIMITS[0], now: float = START) -> Resting:
    """One with its first tokens."""
    walking = Walk(limits, rests=True)
    walking.take(walking.reservation.plan_along(now, 3, day=True), now, fails=False)
    resting = rest(walking.reservation, now)
    assert resting is not None
    return resting


def test_what_has_gone_to_rest_holds_nothing_and_gives_nothing_back() -> None:
    walking = Walk(LIMITS[0], rests=True)
    walking.take(walking.reservation.plan_along(START, 3, day=True), START, fails=False)
    gone = walking.reservation
    assert rest(gone, START) is not None
    assert (gone.minute, gone.day, gone.until) == (0, 0, 0.0)
    assert gone.release(START) is None
    assert rest(gone, START) is None


def test_one_whose_take_is_of_a_clock_that_was_set_since_does_not_rest() -> None:
    reservation = Reservation(LIMITS[0], START)
    assert reservation.plan(START, 1, 1) is not None
    reservation.clock_moved(-90.0, START)
    assert rest(reservation, START) is None


def test_a_take_that_claims_more_than_it_debits_is_not_packed() -> None:
    window = Window("minute", minute_at(START))
    packing = Packing()
    assert packing.pack_take(7, Take((Line(Debit(window, 2), 2),), version=1)) is not None
    assert packing.pack_take(7, Take((Line(Debit(window, 2), 3),), version=1)) is None
    assert packing.pack_take(7, Take((Line(Debit(window, -2), 0),), version=1)) is None
    assert packing.pack_take(7, Take((Line(Debit(window, 2), 2),), repairs=True, version=1)) is None


def test_one_that_was_not_drained_does_not_rest() -> None:
    walking = Walk(LIMITS[0], rests=True)
    walking.take(walking.reservation.plan(START, 1, 1), START, fails=False)
    assert walking.reservation.spend(START, 1)
    later = START + 2 * MINUTE
    assert rest(walking.reservation, later) is None
    walking.reservation.drain()
    assert rest(walking.reservation, later) is not None


def test_sliding_minutes_do_not_rest() -> None:
    assert Reservation(LIMITS[0], START, slides=True).rest(START, lambda resting: resting) is None


@pytest.mark.parametrize(("minutes", "granted"), [(0, 4), (1, 4), (14, 4), (15, 0), (30, 0)])
def test_what_counters_have_granted_of_a_minute_is_told_at_rest(minutes: int, granted: int) -> None:
    quarter = START - START % 900
    packing = Packing()
    record = packing.pack(Packed(7, 3, at_rest(now=quarter)))
    assert packing.granted_in(record, minute_at(quarter) + minutes, 1) == granted


def test_tokens_in_counters_of_another_version_are_not_granted_of_a_later_minute() -> None:
    packing = Packing()
    record = packing.pack(Packed(7, 3, at_rest()))
    minute = minute_at(START)
    assert packing.granted_in(record, minute, 2) == 4, "they may have been spent in it"
    assert packing.granted_in(record, minute + 1, 2) == 0
    assert packing.granted_in(record, minute + 1, None) == 4, "which version it will be of is not known"


def test_one_that_cannot_be_kept_goes_on_with_what_it_holds() -> None:
    walking = Walk(LIMITS[0], rests=True)
    walking.take(walking.reservation.plan_along(START, 3, day=True), START, fails=False)
    held = walking.reservation.minute, walking.reservation.day

    def fail(_resting: Resting) -> None:
        raise OverflowError

    with pytest.raises(OverflowError):
        walking.reservation.rest(START, fail)
    assert (walking.reservation.minute, walking.reservation.day) == held > (0, 0)


def test_a_record_of_which_a_take_was_planned_is_that_of_the_reservation_after_it() -> None:
    reservation, packing = Reservation(Limits(600, 100_000), START), Packing()
    before = reservation.rest(START, lambda resting: packing.pack(Packed(7, 0, resting)))
    assert before is not None
    reservation = Reservation.resumed(packing.unpack(before).resting, one_version)
    take = reservation.plan_along(START, 3, day=True)
    assert take is not None
    after = reservation.rest(START, lambda resting: packing.pack(Packed(7, 0, resting)))
    assert asking(before, take) == after != before
    minute = minute_at(START)
    assert [is_of(before, minute, 0), is_of(before, minute + 1, 0), is_of(before, minute, 1)] == [True, False, False]
