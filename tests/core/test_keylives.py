"""Which keys of a Redis are written and never read, over simulated traffic."""

from __future__ import annotations

import random

import pytest

from tenantcache.budget.core.keylives import LEAST, KeyLife, Unread, find_unread

NOW = 100_000


def asked(
    pattern: str, *, reads: float, ttl: int = 3_600, chosen: int = 50, spread: float = 0.1, started: int = 0
) -> list[KeyLife]:
    """Keys of a steady stream of writes since `started`, chosen at random now. Each is read `reads` times on average,
    evenly over its life."""
    draw = random.Random(7)
    found: list[KeyLife] = []
    while len(found) < chosen:
        life = int(ttl * draw.uniform(1 - spread, 1))
        written = draw.uniform(max(started, NOW - ttl), NOW)
        at, last = written, written
        while reads and (at := at + draw.expovariate(reads / life)) < NOW:
            last = at
        if written + life > NOW:
            found.append(KeyLife(pattern, int(NOW - last), int(written + life - NOW)))
    return found


@pytest.mark.parametrize("ttl", [60, 300, 3_600, 86_400])
@pytest.mark.parametrize("spread", [0.0, 0.1])
@pytest.mark.parametrize("pattern", ["p:value:acme:reset/{uuid}", "report:{time}", "session:{token}"])
def test_what_is_written_and_never_read_is_found(pattern: str, ttl: int, spread: float) -> None:
    [found] = find_unread(asked(pattern, reads=0, ttl=ttl, spread=spread))
    assert found.pattern == pattern
    assert found.judged == found.unread >= LEAST


@pytest.mark.parametrize("ttl", [60, 300, 3_600, 86_400])
@pytest.mark.parametrize("reads", [0.7, 1.0, 3.0, 100.0])
def test_what_is_read_now_and_then_is_ordinary(ttl: int, reads: float) -> None:
    assert find_unread(asked("user:{uuid}:profile", reads=reads, ttl=ttl)) == []


def test_ids_that_are_numbers_are_left_alone() -> None:
    assert find_unread(asked("order:{id}", reads=0)) == []


def test_a_redis_that_was_just_filled_is_not_judged() -> None:
    assert find_unread(asked("user:{uuid}", reads=0, started=NOW - 600)) == []


def test_keys_that_stay_are_not_judged() -> None:
    assert find_unread([KeyLife("user:{uuid}", 5_000, -1)] * 50) == []


def test_few_keys_are_not_judged() -> None:
    assert find_unread(asked("reset:{uuid}", reads=0, chosen=LEAST - 1)) == []


def test_of_two_patterns_each_is_judged_by_itself() -> None:
    lives = asked("reset:{uuid}", reads=0) + asked("user:{uuid}", reads=5, ttl=60)
    assert [one.pattern for one in find_unread(lives)] == ["reset:{uuid}"]


@pytest.mark.parametrize(("read", "expected"), [(0, True), (1, True), (2, False)])
def test_one_in_twenty_may_be_read(read: int, expected: bool) -> None:
    lives = [KeyLife("t:{uuid}", 900 if number >= read else 1, 100) for number in range(20)]
    assert find_unread(lives) == ([Unread("t:{uuid}", 20, 20 - read)] if expected else [])
