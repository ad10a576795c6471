"""The circuit breaker's table, edge by edge."""

from __future__ import annotations

import pytest

from tenantcache.runtime.breaker import SUSPENDED_PAUSE, Breaker


def opened(at: float = 100.0) -> Breaker:
    """A breaker with pauses of 1, 2, 4, 4 ... seconds that opened at `at`."""
    breaker = Breaker(threshold=1, min_pause=1.0, max_pause=4.0)
    breaker.failed(at)
    return breaker


def test_closed_lets_everybody_through() -> None:
    breaker = Breaker()
    assert breaker.state == "closed"
    assert all(breaker.allows(now) for now in (0.0, 0.0, 1e9))


def test_opens_after_as_many_failures_in_a_row_as_the_threshold() -> None:
    breaker = Breaker(threshold=3)
    breaker.failed(1.0)
    breaker.failed(1.0)
    assert breaker.allows(1.0)
    breaker.failed(1.0)
    assert breaker.state == "open"
    assert not breaker.allows(1.0)


def test_a_success_in_between_starts_the_count_again() -> None:
    breaker = Breaker(threshold=2)
    breaker.failed(1.0)
    breaker.succeeded()
    breaker.failed(1.0)
    assert breaker.state == "closed"


def test_open_until_the_pause_is_over_then_one_probe() -> None:
    breaker = opened(at=100.0)
    assert not breaker.allows(100.999)
    assert breaker.allows(101.0)
    assert breaker.state == "probing"
    assert not breaker.allows(101.0), "a second caller must not probe as well"


def test_a_probe_that_is_never_heard_of_does_not_block_the_next() -> None:
    breaker = opened(at=100.0)
    assert breaker.allows(101.0)
    assert not breaker.allows(101.9)
    assert breaker.allows(102.0)


def test_a_probe_that_succeeds_closes_it() -> None:
    breaker = opened(at=100.0)
    breaker.allows(101.0)
    breaker.succeeded()
    assert breaker.state == "closed"
    assert breaker.allows(101.0)


def test_each_failed_probe_doubles_the_pause_up_to_the_longest() -> None:
    breaker = opened(at=0.0)
    now = 0.0
    for pause in (1.0, 2.0, 4.0, 4.0):
        assert not breaker.allows(now + pause - 0.001)
        now += pause
        assert breaker.allows(now)
        breaker.failed(now)


def test_success_forgets_how_long_the_pause_had_grown() -> None:
    breaker = opened(at=0.0)
    breaker.allows(1.0)
    breaker.failed(1.0)  # the pause is 2 s now
    breaker.allows(3.0)
    breaker.succeeded()
    breaker.failed(10.0)
    assert not breaker.allows(10.9)
    assert breaker.allows(11.0)


@pytest.mark.parametrize("failures_before", [0, 1])
def test_a_suspended_account_opens_it_at_once_and_for_long(failures_before: int) -> None:
    breaker = Breaker(threshold=3, min_pause=0.5)
    for _ in range(failures_before):
        breaker.failed(50.0)
    breaker.failed(50.0, suspended=True)
    assert not breaker.allows(50.0 + SUSPENDED_PAUSE - 0.001)
    assert breaker.allows(50.0 + SUSPENDED_PAUSE)


def test_a_probe_that_finds_the_account_still_suspended_waits_as_long_again() -> None:
    breaker = Breaker()
    breaker.failed(0.0, suspended=True)
    assert breaker.allows(60.0)
    breaker.failed(60.0, suspended=True)
    assert not breaker.allows(119.9)
    assert breaker.allows(120.0)
