"""A reservation follows a clock that was set as soon as it is asked, as if it had been told at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tenantcache.ratelimit.core.clockmoves import ClockMoves
from tenantcache.ratelimit.core.ledger import Take
from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.ratelimit.core.windows import DAY, MINUTE
from tenantcache.tenant import Limits

START = 20_000.0 * DAY + 2 * MINUTE


def granting(take: Take) -> list[int]:
    """Counters of which this process is the first to take anything."""
    return [debit.amount for debit in take.debits]


def taking(moves: ClockMoves, *, is_asked_again: bool) -> tuple[Reservation, Take]:
    """It holds tokens, has leased them, and perhaps has a take in flight; the take that it made last."""
    reservation = Reservation(Limits(600, 10_000), START, moves=moves)
    take = reservation.plan(START, 1, 1)
    assert take is not None
    assert reservation.settle(take, granting(take), START) is None
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
