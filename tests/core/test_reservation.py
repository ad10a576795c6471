"""One reservation against scripted counters: what it asks for, what it admits, what it gives back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tenantcache.ratelimit.core.decision import Decision
from tenantcache.ratelimit.core.lease import Lease
from tenantcache.ratelimit.core.ledger import Take
from tenantcache.ratelimit.core.reservation import TRANSITIONS, Event, Reservation, State
from tenantcache.ratelimit.core.spending import Spent
from tenantcache.ratelimit.core.windows import DAY, UNLIMITED, Debit, Window
from tenantcache.tenant import Limits

MIDNIGHT = float(20_000 * DAY)
NOON = MIDNIGHT + 12 * 3600
NEXT_MIDNIGHT = MIDNIGHT + DAY
MINUTE = int(NOON) // 60


class Counters:
    """Counters that answer at once, and remember what they were asked."""

    def __init__(self) -> None:
        self.values: Counter[Window] = Counter()
        self.takes: list[tuple[Debit, ...]] = []

    def send(self, take: Take) -> list[int]:
        self.takes.append(take.debits)
        for window, amount in take.debits:
            self.values[window] = max(0, self.values[window] + amount)
        return [self.values[window] for window, _ in take.debits]

    def serve(self, r: Reservation, now: float, cost: int = 1, processes: int = 1) -> Decision:
        """Decide as a shell does: take when that is needed."""
        decision = r.decide(now, cost)
        if decision is None:
            take = r.plan(now, cost, processes)
            assert take is not None
            while take is not None:
                take = r.settle(take, self.send(take), now)
            decision = r.decide(now, cost)
        assert decision is not None
        return decision

    def exhaust(self, r: Reservation, now: float, processes: int = 1) -> int:
        """Spend until refused; return how many were admitted."""
        for admitted in range(1_000_000):
            if not self.serve(r, now, processes=processes).allowed:
                return admitted
        raise AssertionError("a limit never ended")


@pytest.fixture
def counters() -> Counters:
    return Counters()


def minute(number: int) -> Window:
    return Window("minute", MINUTE + number)


TODAY = Window("day", 20_000)
QUARTER = Window("quarter", MINUTE // 15)


def test_nothing_is_spendable_before_a_take() -> None:
    r = Reservation(Limits(10, 10), NOON)
    assert (r.minute, r.day) == (0, 0)
    assert r.decide(NOON, 1) is None


def test_what_a_lease_has_spent_is_collected_once_and_the_lease_goes_on() -> None:
    lease = Lease()
    lease.begin(5, NOON + 3)
    lease.left -= 2
    assert (lease.collect(), lease.collect()) == (2, 0)
    assert (lease.left, lease.hot_until) == (3, NOON + 3)
    lease.left -= 1
    assert lease.collect() == 1
    lease.end()
    assert (lease.left, lease.collect()) == (0, 0)
    assert lease.hot_until < NOON


def holding(counters: Counters) -> Reservation:
    """With 5 tokens of a minute, none of them below the low-water mark, and 8 of a day."""
    r = Reservation(Limits(None, 8), NOON)
    for limits, cost in ((Limits(None, 8), 8), (Limits(5, 8), 5)):
        r.change(limits, NOON)
        take = r.plan(NOON, cost, 1)
        assert take is not None
        r.settle(take, counters.send(take), NOON)
    assert (r.minute, r.low, r.day) == (5, 0, 8)
    return r


def test_what_is_leased_is_part_of_what_is_held(counters: Counters) -> None:
    r = holding(counters)
    r.lend(NOON + 3)
    assert (r.left, r.hot_until) == (5, NOON + 3)
    r.left -= 2
    assert (r.minute, r.day) == (3, 6)
    assert r.drain() == [Spent(20_000, 2)]
    assert (r.left, r.hot_until) == (3, NOON + 3), "looking does not end a lease"
    r.lend(NOON + 4)
    assert (r.left, r.hot_until, r.minute, r.day) == (3, NOON + 4, 3, 6)


@pytest.mark.parametrize("change", ["refund", "spend", "change", "restart", "release", "clock"])
def test_whatever_changes_tokens_ends_the_lease(counters: Counters, change: str) -> None:
    r = holding(counters)
    r.lend(NOON + 3)
    r.left -= 1
    changes: dict[str, Callable[[], object]] = {
        "refund": lambda: r.refund(1, NOON, NOON),
        "spend": lambda: r.spend(NOON, 1),
        "change": lambda: r.change(Limits(6, 8), NOON),
        "restart": lambda: r.restart(NOON),
        "release": lambda: r.release(NOON),
        "clock": lambda: r.clock_moved(0.5, NOON),
    }
    changes[change]()
    assert r.left == 0
    assert r.hot_until < NOON
    left = {"refund": (5, 8), "spend": (3, 6), "change": (4, 7), "restart": (0, 0), "release": (0, 0), "clock": (4, 7)}
    assert (r.minute, r.day) == left[change]


def test_looking_at_the_counters_ends_the_lease(counters: Counters) -> None:
    r = Reservation(Limits(600, None), NOON)
    counters.serve(r, NOON)
    r.lend(NOON + 3)
    r.observe({minute(0): 50}, NOON + 1)
    assert r.hot_until < NOON


def test_every_state_can_be_left_and_reached_but_the_last() -> None:
    assert set(TRANSITIONS) == set(State)
    assert all(Event.RELEASED in ways for state, ways in TRANSITIONS.items() if state is not State.RELEASED)
    assert set(TRANSITIONS[State.RELEASED].values()) == {State.RELEASED}
    reached = {state for ways in TRANSITIONS.values() for state in ways.values()}
    assert reached == set(State)


def test_one_process_uses_all_of_a_limit_and_no_more(counters: Counters) -> None:
    assert counters.exhaust(Reservation(Limits(600, None), NOON), NOON) == 600


def test_four_processes_share_a_limit_to_the_last_token(counters: Counters) -> None:
    fleet = [Reservation(Limits(601, None), NOON) for _ in range(4)]
    assert sum(counters.exhaust(r, NOON, processes=4) for r in fleet) == 601


def test_what_others_took_is_not_granted(counters: Counters) -> None:
    counters.values[minute(0)] = 598
    r = Reservation(Limits(600, None), NOON)
    assert counters.exhaust(r, NOON) == 2


def test_over_asking_grants_nothing_beyond_the_limit(counters: Counters) -> None:
    counters.values[minute(0)] = 1_000
    r = Reservation(Limits(600, None), NOON)
    assert not counters.serve(r, NOON).allowed
    assert r.minute + r.low == 0


def test_a_denial_lasts_to_the_end_of_the_window_without_another_take(counters: Counters) -> None:
    r = Reservation(Limits(5, None), NOON)
    counters.exhaust(r, NOON + 10)
    sent = len(counters.takes)
    decision = counters.serve(r, NOON + 59)
    assert (decision.allowed, decision.violated, decision.retry_after) == (False, ("minute",), 1.0)
    assert len(counters.takes) == sent
    assert r.plan(NOON + 59, 1, 1) is None
    assert counters.serve(r, NOON + 60).allowed


def test_a_day_that_is_used_up_denies_to_midnight_and_debits_no_minute(counters: Counters) -> None:
    r = Reservation(Limits(100, 3), NOON)
    assert counters.exhaust(r, NOON) == 3
    sent = len(counters.takes)
    decision = counters.serve(r, NOON + 60)
    assert (decision.violated, decision.retry_after) == (("day",), 12 * 3600 - 60)
    assert len(counters.takes) == sent
    assert counters.serve(r, MIDNIGHT + DAY).allowed


def test_both_limits_used_up_retry_when_the_later_one_ends(counters: Counters) -> None:
    r = Reservation(Limits(3, 3), NOON)
    counters.exhaust(r, NOON)
    counters.serve(r, NOON)
    decision = r.decide(NOON, 1)
    assert decision is not None
    assert (decision.allowed, decision.retry_after) == (False, 12 * 3600)


def test_a_cost_above_a_limit_is_refused_forever_without_a_take(counters: Counters) -> None:
    r = Reservation(Limits(5, 100), NOON)
    decision = counters.serve(r, NOON, cost=6)
    assert (decision.allowed, decision.violated, decision.retry_after) == (False, ("minute",), None)
    assert counters.takes == []
    assert counters.serve(r, NOON, cost=5).allowed


def test_tokens_too_few_for_one_request_serve_a_cheaper_one(counters: Counters) -> None:
    counters.values[minute(0)] = 7
    r = Reservation(Limits(10, None), NOON)
    assert not counters.serve(r, NOON, cost=4).allowed
    assert counters.serve(r, NOON, cost=3).allowed
    assert not counters.serve(r, NOON, cost=1).allowed


def test_a_refusal_by_the_day_keeps_the_tokens_of_the_minute(counters: Counters) -> None:
    counters.values[TODAY] = 100
    r = Reservation(Limits(40, 100), NOON)
    assert not counters.serve(r, NOON).allowed
    assert r.minute + r.low == counters.values[minute(0)] + counters.values[QUARTER] > 0
    r.change(Limits(40, 200), NOON)
    assert counters.serve(r, NOON).allowed


def test_a_line_of_requests_takes_what_its_head_can_have(counters: Counters) -> None:
    counters.values[TODAY] = 98
    r = Reservation(Limits(10, 100), NOON)
    take = r.plan(NOON, 4, 1)
    assert take is not None
    r.settle(take, counters.send(take), NOON)
    assert r.day == 2
    assert counters.exhaust(r, NOON) == 2


def test_tokens_end_with_their_minute(counters: Counters) -> None:
    r = Reservation(Limits(5, None), NOON)
    counters.serve(r, NOON, processes=4)
    assert r.spend(NOON, r.minute - 3)
    assert r.minute == 3
    assert not r.spend(NOON + 60, 1)


def test_the_tokens_of_a_day_end_at_midnight(counters: Counters) -> None:
    r = Reservation(Limits(None, 1_000), NOON)
    assert counters.serve(r, NOON).allowed
    assert r.day > 0
    assert not r.spend(MIDNIGHT + DAY, 1)
    assert counters.exhaust(r, MIDNIGHT + DAY) == 1_000


def test_only_one_take_is_in_flight() -> None:
    r = Reservation(Limits(600, None), NOON)
    take = r.plan(NOON, 1, 4)
    assert take is not None
    assert r.plan(NOON, 1, 4) is None
    r.fail(take, NOON)
    assert r.plan(NOON, 1, 4) is not None


def test_a_failed_take_grants_nothing(counters: Counters) -> None:
    r = Reservation(Limits(5, None), NOON)
    take = r.plan(NOON, 1, 1)
    assert take is not None
    counters.send(take)
    r.fail(take, NOON)
    assert r.minute + r.low == 0
    assert counters.exhaust(r, NOON) == 5 - take.debits[0].amount


def test_passing_the_low_water_mark_asks_for_a_refill(counters: Counters) -> None:
    r = Reservation(Limits(6_000, None), NOON)
    for step in range(200):
        assert counters.serve(r, NOON + step / 100, processes=4).allowed
    low, sent = r.low, len(counters.takes)
    assert low > 0
    assert r.spend(NOON + 2, r.minute)
    assert counters.serve(r, NOON + 2, processes=4).allowed
    assert r.refill
    assert len(counters.takes) == sent
    take = r.plan(NOON + 2, 0, 4)
    assert take is not None
    r.settle(take, counters.send(take), NOON + 2)
    assert r.minute + r.low == low - 1 + take.debits[0].amount


def test_no_refill_when_what_is_held_outlasts_the_minute(counters: Counters) -> None:
    r = Reservation(Limits(6_000, None), NOON)
    counters.serve(r, NOON, processes=4)
    assert r.plan(NOON + 59.99, 0, 4) is None


def test_a_lost_counter_is_debited_again_before_anything_is_granted(counters: Counters) -> None:
    r = Reservation(Limits(100, None), NOON)
    assert counters.serve(r, NOON).allowed
    held = counters.values[minute(0)] + counters.values[QUARTER]
    assert r.spend(NOON, r.minute + r.low)
    counters.values.clear()
    take = r.plan(NOON, 1, 1)
    assert take is not None
    repair = r.settle(take, counters.send(take), NOON)
    assert r.minute + r.low == 0
    assert repair is not None
    assert r.plan(NOON, 1, 1) is None
    assert r.settle(repair, counters.send(repair), NOON) is None
    assert counters.values[minute(0)] == held + r.minute + r.low
    assert r.minute + r.low > 0


def test_one_process_keeps_its_limits_when_the_counters_are_lost_again_and_again(counters: Counters) -> None:
    r = Reservation(Limits(100, 150), NOON)
    admitted = Counter[int]()
    for step in range(400):
        now = NOON + step / 2
        if step % 7 == 0:
            counters.values.clear()
        admitted[int(now // 60)] += counters.serve(r, now).allowed
    assert max(admitted.values()) <= 100
    assert sum(admitted.values()) == 150


def test_a_counter_that_never_keeps_anything_is_asked_twice_and_then_denies() -> None:
    r = Reservation(Limits(100, None), NOON)
    first = r.plan(NOON, 1, 1)
    assert first is not None
    again = r.settle(first, [0] * len(first.debits), NOON)
    assert again is not None
    assert r.settle(again, [0] * len(again.debits), NOON) is None
    decision = r.decide(NOON, 1)
    assert decision is not None
    assert (decision.allowed, decision.retry_after) == (False, 60.0)


def test_a_repair_that_is_lost_too_is_not_repaired_again(counters: Counters) -> None:
    r = Reservation(Limits(100, None), NOON)
    assert counters.serve(r, NOON).allowed
    assert r.spend(NOON, r.minute + r.low)
    take = r.plan(NOON, 1, 1)
    assert take is not None
    repair = r.settle(take, [debit.amount for debit in take.debits], NOON)
    assert repair is not None
    assert r.settle(repair, [0] * len(repair.debits), NOON) is None
    assert r.minute + r.low == 0
    decision = r.decide(NOON, 1)
    assert decision is not None
    assert not decision.allowed


def test_a_lost_day_that_others_gave_back_to_is_lifted_above_zero(counters: Counters) -> None:
    r = Reservation(Limits(None, 1_000), NOON)
    assert counters.serve(r, NOON).allowed
    held = counters.values[TODAY]
    assert r.spend(NOON, r.day)
    take = r.plan(NOON, 1, 1)
    assert take is not None
    asked = take.debits[0].amount
    repair = r.settle(take, [asked - 300], NOON)
    assert repair is not None
    (debit,) = repair.debits
    assert asked - 300 + debit.amount >= held
    assert r.settle(repair, [asked - 300 + debit.amount], NOON) is None


def test_release_gives_everything_back_once(counters: Counters) -> None:
    r = Reservation(Limits(600, 1_000), NOON)
    counters.serve(r, NOON, processes=4)
    take = r.release(NOON)
    assert take is not None
    counters.send(take)
    assert {window: value for window, value in counters.values.items() if value} == {minute(0): 1, TODAY: 1}
    assert r.release(NOON) is None
    assert not r.spend(NOON, 1)
    assert not r.spend(NOON + 60, 1)
    assert r.decide(NOON, 1) is None
    assert r.plan(NOON, 1, 1) is None
    assert r.surplus(NOON) is None
    assert (r.minute, r.day, r.until) == (0, 0, 0.0)


def test_a_take_in_flight_at_release_comes_back_too(counters: Counters) -> None:
    r = Reservation(Limits(600, 1_000), NOON)
    take = r.plan(NOON, 1, 4)
    assert take is not None
    assert r.release(NOON) is None
    back = r.settle(take, counters.send(take), NOON)
    assert back is not None
    counters.send(back)
    assert sum(counters.values.values()) == 0
    assert not r.spend(NOON, 1)


def test_a_raised_limit_ends_a_denial_at_once(counters: Counters) -> None:
    r = Reservation(Limits(10, 20), NOON)
    assert counters.exhaust(r, NOON) == 10
    r.change(Limits(15, 20), NOON)
    assert counters.exhaust(r, NOON) == 5
    r.change(Limits(None, 20), NOON)
    assert counters.exhaust(r, NOON) == 5
    r.change(Limits(None, 23), NOON)
    assert counters.exhaust(r, NOON) == 3


def test_a_lowered_limit_drops_the_tokens_above_it(counters: Counters) -> None:
    r = Reservation(Limits(600, 1_000), NOON)
    take = r.plan(NOON, 100, 1)
    assert take is not None
    assert r.settle(take, counters.send(take), NOON) is None
    assert r.spend(NOON, 1)
    assert r.minute + r.low > 20
    r.change(Limits(20, 1_000), NOON)
    assert counters.exhaust(r, NOON) == 19


def test_a_lowered_day_drops_the_tokens_above_it(counters: Counters) -> None:
    r = Reservation(Limits(None, 1_000), NOON)
    counters.serve(r, NOON)
    r.change(Limits(None, 5), NOON)
    assert counters.exhaust(r, NOON) == 4


def test_an_advance_reservation_of_a_lowered_limit_is_not_spent_and_goes_back(counters: Counters) -> None:
    fleet = [Reservation(Limits(600, None), NOON) for _ in range(4)]
    for r in fleet:
        counters.serve(r, NOON, processes=4)
    assert counters.values[QUARTER] == 4 * 4
    for r in fleet:
        r.change(Limits(30, None), NOON + 58)
        take = r.surplus(NOON + 59)
        assert take is not None
        counters.send(take)
        assert not r.spend(NOON + 60, 1)
    assert counters.values[QUARTER] == 0


def test_a_limit_removed_and_set_again_starts_from_the_counter(counters: Counters) -> None:
    r = Reservation(Limits(10, None), NOON)
    counters.exhaust(r, NOON)
    r.change(Limits(None, None), NOON)
    assert (r.minute, r.until) == (UNLIMITED, NEXT_MIDNIGHT)
    assert r.spend(NOON, 1_000)
    r.change(Limits(10, None), NOON)
    assert not counters.serve(r, NOON).allowed


def test_tokens_go_back_when_the_demand_has_gone(counters: Counters) -> None:
    r = Reservation(Limits(600, None), NOON)
    for step in range(40):
        assert counters.serve(r, NOON + step / 10, processes=4).allowed
    assert r.watched
    assert r.surplus(NOON + 4) is None
    held = r.minute + r.low
    take = r.surplus(NOON + 7)
    assert take is not None
    level = (minute(0), Window("quarter", int(NOON) // 900))
    before = sum(counters.values[window] for window in level)
    r.settle(take, counters.send(take), NOON + 7)
    assert before - sum(counters.values[window] for window in level) == held - (r.minute + r.low) > 0
    assert not r.watched
    while r.decide(NOON + 8, 1) is not None:
        pass
    take = r.plan(NOON + 8, 1, 4)
    assert take is not None
    assert r.settle(take, counters.send(take), NOON + 8) is None, "what was given back does not look lost"


@pytest.mark.parametrize("limits", [Limits(100, 1000), Limits(1000, 100), Limits(None, 100), Limits(100, 100)])
def test_the_overshoot_of_a_dear_request_is_there_for_others(counters: Counters, limits: Limits) -> None:
    """It was refused for want of more: two seconds later the counters are as if it had not come."""
    r, other = Reservation(limits, NOON), Reservation(limits, NOON)
    assert [counters.serve(other, NOON, processes=2).allowed for _ in range(60)] == [True] * 60
    if (take := other.release(NOON)) is not None:
        counters.send(take)
    assert not counters.serve(r, NOON, cost=50, processes=2).allowed
    for second in (1, 2):
        if (take := r.surplus(NOON + second)) is not None:
            r.settle(take, counters.send(take), NOON + second)
    third = Reservation(limits, NOON + 3)
    left = counters.exhaust(third, NOON + 3)
    assert left >= 35, "40, and as much may stay where it is held as is reserved there for later minutes"
    assert counters.exhaust(r, NOON + 3) + left in (39, 40)


def test_dear_requests_of_several_processes_leave_what_is_left_to_cheap_ones(counters: Counters) -> None:
    """Each has asked for more than there is; no token is buried under what they have asked for."""
    limits = Limits(100, 100)
    first = Reservation(limits, NOON)
    assert [counters.serve(first, NOON).allowed for _ in range(60)] == [True] * 60
    take = first.release(NOON)
    assert take is not None
    counters.send(take)
    fleet = [Reservation(limits, NOON) for _ in range(4)]
    for second in range(12):
        for r in fleet:
            assert not counters.serve(r, NOON + second, cost=50, processes=4).allowed
            if (take := r.surplus(NOON + second)) is not None:
                r.settle(take, counters.send(take), NOON + second)
    assert sum(counters.exhaust(r, NOON + 12, processes=4) for r in fleet) >= 36


@pytest.mark.parametrize("limits", [Limits(100, None), Limits(None, 100)])
def test_a_dear_request_that_is_refused_again_and_again_asks_ever_less_often(
    counters: Counters, limits: Limits
) -> None:
    """After 2 s, 4 s and so on, and each time what it took goes back."""
    r = Reservation(limits, NOON)
    assert [counters.serve(r, NOON).allowed for _ in range(60)] == [True] * 60
    before = len(counters.takes)
    for tick in range(450):  # 45 s
        now = NOON + tick / 10
        refused = counters.serve(r, now, cost=50)
        assert (refused.allowed, len(refused.violated)) == (False, 1)
        if tick % 10 == 0 and (take := r.surplus(now)) is not None:
            r.settle(take, counters.send(take), now)
    assert 4 <= len(counters.takes) - before <= 2 * 5
    assert counters.serve(r, NOON + 45, cost=30).allowed, "a cheaper one fits"
    assert counters.serve(r, NOON + DAY, cost=50).allowed


def test_tokens_stay_while_the_demand_goes_on(counters: Counters) -> None:
    r = Reservation(Limits(6_000, None), NOON)
    for step in range(590):
        assert counters.serve(r, NOON + step / 10, processes=4).allowed
        if step % 10 == 9:
            assert r.surplus(NOON + step / 10) is None


def test_quotas_tell_what_is_left_here_and_in_the_counters(counters: Counters) -> None:
    counters.values[minute(0)] = 100
    r = Reservation(Limits(600, 1_000), NOON)
    counters.serve(r, NOON + 20, processes=4)
    (of_minute, of_day) = r.quotas(NOON + 21)
    assert of_minute == ("minute", 600, 499, 39.0)
    assert of_day == ("day", 1_000, 999, 12 * 3600 - 21.0)


def test_quotas_name_only_what_is_limited() -> None:
    assert Reservation(Limits(None, None), NOON).quotas(NOON) == ()
    assert [line.name for line in Reservation(Limits(None, 5), NOON).quotas(NOON)] == ["day"]


def test_a_clock_set_back_does_not_grant_a_minute_twice(counters: Counters) -> None:
    r = Reservation(Limits(5, None), NOON)
    assert counters.exhaust(r, NOON + 60) == 5
    assert not r.spend(NOON + 59.9, 1)
    assert counters.exhaust(r, NOON + 60) == 0


def test_a_clock_set_far_back_enters_the_minute_anew(counters: Counters) -> None:
    r = Reservation(Limits(5, None), NOON)
    assert counters.exhaust(r, NOON) == 5
    assert counters.exhaust(r, NOON + 660) == 5
    r.clock_moved(-600.0, NOON + 60)
    assert r.quotas(NOON + 60)[0].remaining == 5
    assert counters.exhaust(r, NOON + 60) == 5
    assert counters.exhaust(r, NOON) == 0, "its counter has what was spent of it"


@pytest.mark.parametrize("slides", [False, True])
def test_what_is_on_its_way_when_the_clock_is_set_back_is_not_granted(counters: Counters, slides: bool) -> None:
    """Neither to the earlier minute, nor to those that follow it."""
    r = Reservation(Limits(600, 100_000), NOON, slides=slides)
    r.spend(NOON + 600, 1)
    take = r.plan(NOON + 600, 5, 1)
    assert take is not None
    r.clock_moved(-600.0, NOON)
    assert r.settle(take, counters.send(take), NOON) is None
    for later in range(4):
        assert not r.spend(NOON + 60 * later, 1)
    again = r.plan(NOON + 180, 5, 1)
    assert again is not None
    r.settle(again, counters.send(again), NOON + 180)
    assert r.spend(NOON + 180, 5)


def test_a_limit_that_was_cut_is_settled_after_the_same_seconds(counters: Counters) -> None:
    r = Reservation(Limits(600, None), NOON + 600)
    r.change(Limits(10, None), NOON + 600)
    assert counters.exhaust(r, NOON) == 10
    refused = r.decide(NOON, 1)
    assert refused is not None
    assert refused.retry_after == 5.0


def test_unlimited_tenants_need_no_take() -> None:
    r = Reservation(Limits(None, None), NOON)
    assert r.until == NEXT_MIDNIGHT
    assert r.spend(NOON, 1_000_000)
    assert r.plan(NOON, 1, 4) is None
    assert r.spend(NEXT_MIDNIGHT, 1)
    assert r.until == NEXT_MIDNIGHT + DAY


@pytest.mark.parametrize("limits", [Limits(None, None), Limits(100, None), Limits(None, 100), Limits(100, 100)])
def test_what_was_admitted_is_drained_once_under_its_day(counters: Counters, limits: Limits) -> None:
    r, today = Reservation(limits, NOON), 20_000
    assert r.drain() == []
    for _ in range(7):
        assert counters.serve(r, NOON).allowed
    assert r.drain() == [Spent(today, 7)]
    assert r.drain() == []
    for now in (NEXT_MIDNIGHT - 1, NEXT_MIDNIGHT, NEXT_MIDNIGHT + 1):
        assert counters.serve(r, now).allowed
    assert r.drain() == [Spent(today, 1), Spent(today + 1, 2)]
    assert counters.serve(r, NEXT_MIDNIGHT + 2).allowed
    r.release(NEXT_MIDNIGHT + 2)
    assert r.drain() == [Spent(today + 1, 1)]
    assert r.drain() == []


def test_what_was_admitted_is_drained_whatever_happens_to_the_limit(counters: Counters) -> None:
    r, today = Reservation(Limits(100, 1000), NOON), 20_000
    for number, limits in enumerate((Limits(100, 500), Limits(100, None), Limits(None, None), Limits(7, 900))):
        for _ in range(number + 1):
            assert counters.serve(r, NOON).allowed
        r.change(limits, NOON)
    assert sum(spent.tokens for spent in r.drain()) == 1 + 2 + 3 + 4
    r.note_unbacked(3)
    r.note_unbacked(2)
    assert r.drain() == [Spent(today, 5)]


def test_what_is_handed_over_is_what_was_granted_and_overshoot_stays_behind(counters: Counters) -> None:
    """The fleet goes on in other counters, which begin with what every process says."""
    counters.values[minute(0)] = 95
    r = Reservation(Limits(100, None), NOON)
    assert counters.exhaust(r, NOON) == 5
    assert counters.values[minute(0)] > 100
    assert not counters.serve(r, NOON).allowed
    counters.values[minute(0)] = 60  # what all have said
    assert r.hand_over(NOON) == 5
    assert counters.exhaust(r, NOON) == 40


def test_what_is_held_when_a_minute_is_handed_over_is_told_and_spent(counters: Counters) -> None:
    r = Reservation(Limits(100, None), NOON)
    assert counters.serve(r, NOON).allowed
    held = r.minute + r.low
    assert held > 0
    assert r.hand_over(NOON) == 1 + held
    assert [r.spend(NOON, 1) for _ in range(held + 1)].count(True) == held


def test_a_released_reservation_hands_over_what_it_has_spent(counters: Counters) -> None:
    r = Reservation(Limits(100, None), NOON)
    for _ in range(3):
        assert counters.serve(r, NOON).allowed
    assert r.release(NOON) is not None
    assert r.hand_over(NOON + 1) == 3
    assert r.hand_over(NOON + 60) == 0
    assert Reservation(Limits(), NOON).hand_over(NOON) == 0


def test_a_minute_whose_counter_is_lost_for_the_second_time_is_used_up() -> None:
    """Each loss may admit more: so with several processes no more than twice the limit is admitted."""
    counters = Counters()
    fleet = [Reservation(Limits(600, None), NOON) for _ in range(4)]
    admitted = 0
    for second in range(60):
        for _ in range(10):
            admitted += [counters.serve(r, NOON + second, processes=4).allowed for r in fleet].count(True)
        counters.values.clear()
    assert 600 <= admitted <= 1200


def test_days_are_repaired_each_time(counters: Counters) -> None:
    r = Reservation(Limits(None, 50), NOON)
    admitted = 0
    for _ in range(40):
        admitted += counters.serve(r, NOON).allowed
        counters.values.clear()
    assert admitted == 40
