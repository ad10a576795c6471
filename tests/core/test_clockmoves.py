"""A reservation follows a clock that was set as soon as it is asked, as if it had been told at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from tenantcache.ratelimit.core.clockmoves import KEPT, ClockMoves
from tenantcache.ratelimit.core.ledger import Take
from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.ratelimit.core.windows import DAY, MINUTE, Window
from tenantcache.tenant import Limits

START = 20_000.0 * DAY + 2 * MINUTE


def granting(take: Take, counters: Counter[Window] | None = None) -> list[int]:
    """What `counters` are at after it; those of which nothing was taken before if they are not given."""
    counters = Counter() if counters is None else counters
    counters.update({debit.window: debit.amount for debit in take.debits})
    return [counters[debit.window] for debit in take.debits]


def taking(
    moves: ClockMoves, *, is_asked_again: bool, counters: Counter[Window] | None = None
) -> tuple[Reservation, Take]:
    """It holds tokens, has leased them, and perhaps has a take in flight; the take that it made last."""
    reservation = Reservation(Limits(600, 10_000), START, moves=moves)
    take = reservation.plan(START, 1, 1)
    assert take is not None
    assert reservation.settle(take, granting(take, counters), START) is None
    if is_asked_again:
        take = reservation.plan(START + 1, 500, 1)
        assert take is not None
    reservation.lend(START + MINUTE)
    reservation.left -= 1
    return reservation, take


def state_of(reservation: Reservation) -> tuple[object, ...]:
    return (
        *(reservation.until, reservation.windows, reservation.minute, reservation.low, reservation.day),
        *(reservation.granted, reservation.released, reservation.is_taking),
    )


Action = Callable[[Reservation, float, Take], object]

ACTIONS: dict[str, Action] = {
    "decides": lambda r, now, take: r.decide(now, 1),
    "is asked for its quotas": lambda r, now, take: r.quotas(now),
    "plans": lambda r, now, take: r.plan(now, 1, 1),
    "plans along": lambda r, now, take: r.plan_along(now, 1),
    "gives back": lambda r, now, take: r.surplus(now),
    "releases": lambda r, now, take: r.release(now),
    "is counted": lambda r, now, take: r.hand_over(now),
    "rests": lambda r, now, take: r.rest(now, lambda resting: resting),
    "is looked at": lambda r, now, take: r.idle(now),
    "is refunded": lambda r, now, take: r.refund(1, now, START),
    "is restarted": lambda r, now, take: r.restart(now),
    "is changed": lambda r, now, take: r.change(Limits(5, 10_000), now),
}
SETTLES: dict[str, Action] = {"settles": lambda r, now, take: r.settle(take, granting(take), now)}


@pytest.mark.parametrize("seconds", [-90.0, -20.0, 20.0, 90.0, 1_000.0])
@pytest.mark.parametrize(
    ("does", "is_asked_again"),
    [(does, False) for does in ACTIONS] + [(does, True) for does in ACTIONS | SETTLES],
)
def test_it_does_what_one_does_that_was_told_at_once(does: str, is_asked_again: bool, seconds: float) -> None:
    moves, now = ClockMoves(), START + 5 + seconds
    (told, take), (follows, _) = (taking(of, is_asked_again=is_asked_again) for of in (ClockMoves(), moves))
    told.clock_moved(seconds, now)
    moves.note(seconds, now)
    do = (ACTIONS | SETTLES)[does]
    assert do(follows, now, take) == do(told, now, take)
    told.quotas(now)
    follows.quotas(now)
    assert state_of(follows) == state_of(told)


def test_nothing_is_leased_before_it_has_followed() -> None:
    """The middleware looks at `until` before it asks for a lease."""
    moves = ClockMoves()
    reservation, _ = taking(moves, is_asked_again=False)
    assert reservation.until == START + MINUTE
    moves.note(-90.0, START - 85)
    assert reservation.until == 0.0
    assert reservation.decide(START - 85, 1) is None
    assert reservation.until == START - MINUTE


def test_one_whose_take_is_of_a_clock_that_was_set_since_does_not_rest() -> None:
    """Its answer would be believed."""
    moves = ClockMoves()
    reservation = Reservation(Limits(600, 10_000), START, moves=moves)
    assert reservation.plan_along(START, 3, day=True) is not None
    moves.note(20.0, START)
    assert reservation.rest(START, lambda resting: resting) is None


def test_one_that_is_made_later_knows_the_time() -> None:
    moves = ClockMoves()
    moves.note(-90.0, START)
    assert taking(moves, is_asked_again=False)[0].until == START + MINUTE


def test_moves_there_and_back_are_more_than_their_sum() -> None:
    moves = ClockMoves()
    reservation, _ = taking(moves, is_asked_again=False)
    assert reservation.minute + reservation.low > 0
    moves.note(90.0, START + 95)
    moves.note(-90.0, START + 5)
    reservation.quotas(START + 5)
    assert reservation.windows[0].number == START // MINUTE
    assert (reservation.minute, reservation.low, reservation.granted) == (0, 0, 0)


def held_of(reservation: Reservation) -> dict[tuple[str, Window], int]:
    """What it may spend, and has been granted, of each of its windows."""
    minute, day = reservation.windows
    return {
        ("held", minute): reservation.minute + reservation.low,
        ("held", day): reservation.day,
        ("granted", minute): reservation.granted,
    }


@given(
    moves=st.lists(
        st.tuples(
            st.sampled_from([0.0, 1.0, 30.0, 58.0, 119.0, 900.0]),
            st.sampled_from([-DAY, -90.0, -61.0, -20.0, -4.0, -2.0, 2.0, 4.0, 20.0, 61.0, 90.0, DAY]),
        ),
        min_size=1,
        max_size=6,
    ),
    kept=st.integers(0, 3),
    is_asked_again=st.booleans(),
)
@example(moves=[(0.0, 90.0), (0.0, -90.0)], kept=0, is_asked_again=False)
@example(moves=[(0.0, -90.0), (0.0, 90.0)], kept=0, is_asked_again=False)
def test_one_that_missed_moves_holds_no_more_than_one_that_was_told_of_each(
    moves: list[tuple[float, float]], kept: int, is_asked_again: bool
) -> None:
    """It does what that one does if they are kept. No window is kept that a clock was set back before (`BACK`)."""
    noted = ClockMoves()
    counters = Counter[Window](), Counter[Window]()
    (told, take), (follows, _) = (
        taking(moves_of, is_asked_again=is_asked_again, counters=of)
        for moves_of, of in zip((ClockMoves(), noted), counters, strict=True)
    )
    now = START + 5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tenantcache.ratelimit.core.clockmoves.KEPT", kept)
        patch.setattr("tenantcache.ratelimit.core.holding.BACK", 0.0)
        for seconds, moved in moves:
            now += seconds + moved
            told.clock_moved(moved, now)
            noted.note(moved, now)
        if is_asked_again:
            told.settle(take, granting(take, counters[0]), now)
            follows.settle(take, granting(take, counters[1]), now)
        told.quotas(now)
        follows.quotas(now)
    if len(moves) <= kept:
        assert state_of(follows) == state_of(told)
    most = held_of(told)
    assert all(tokens <= most.get(what, 0) for what, tokens in held_of(follows).items())


def test_what_is_kept_of_moves_is_bounded() -> None:
    moves = ClockMoves()
    for _ in range(5 * KEPT):
        moves.note(-1.0, START)
    assert len(moves.since(0)) == KEPT + 3
    assert len(moves.since(4 * KEPT)) == KEPT
    assert moves.since(moves.count) == []
