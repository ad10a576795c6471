"""Which patterns of keys are called one-time, over simulated traffic: ordinary applications are not."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable

import pytest

from tenantcache.values.core.reuse import JUDGED, WATCHED, Reuse, is_of_tokens

HOUR = 3600.0


class Traffic:
    """One process with a cache that evicts nothing. `ask` is a request for a key at an instant."""

    def __init__(self, life: float) -> None:
        self.life = life
        self.reuse = Reuse()
        self._ends: dict[Hashable, float] = {}
        self._hits: set[Hashable] = set()

    def ask(self, key: Hashable, now: float) -> None:
        if now < self._ends.get(key, 0.0):
            self._hits.add(key)
            return
        if key in self.reuse.watched:
            self.reuse.asked_again(key)
        self._hits.discard(key)
        self._ends[key] = now + self.life
        self.reuse.settle(now, self._hits.__contains__)
        self.reuse.watch(key, now + self.life)


def visits(users: int, seconds: float, pages: float, draw: random.Random) -> list[tuple[float, int]]:
    """Each user comes once in `seconds`, and asks for `pages` pages on average, half a minute apart."""
    asked = []
    for user in range(users):
        at = draw.uniform(0, seconds)
        while True:
            asked.append((at, user))
            if draw.random() >= 1 - 1 / pages:
                break
            at += draw.expovariate(1 / 30)
    return sorted(asked)


def test_tokens_that_are_used_once_are_found() -> None:
    traffic = Traffic(HOUR)
    for number in range(1_000):
        traffic.ask(number, number * 60.0)
    assert traffic.reuse.is_one_time


def test_times_in_keys_are_found() -> None:
    """A key for each second, which all callers of that second share: a hit is a hit."""
    traffic = Traffic(300)
    for second in range(2_000):
        traffic.ask(second, float(second))
    assert traffic.reuse.is_one_time
    shared = Traffic(300)
    for second in range(2_000):
        shared.ask(second // 10, float(second))
    assert not shared.reuse.is_one_time


@pytest.mark.parametrize("life", [300.0, 1800.0, HOUR, 24 * HOUR])
@pytest.mark.parametrize("pages", [1.5, 5.0])
def test_users_that_are_told_by_uuids_are_ordinary(life: float, pages: float) -> None:
    """Each comes once a day, and even of those who look at one page and leave there are two in three."""
    traffic = Traffic(life)
    for at, user in visits(1_000, 24 * HOUR, pages, random.Random(7)):
        traffic.ask(user, at)
        assert not traffic.reuse.is_one_time


def test_popular_and_rare_objects_are_ordinary() -> None:
    """Zipf: most keys are asked for once, and the others all the time."""
    draw, traffic = random.Random(7), Traffic(1800)
    weights = [1 / rank for rank in range(1, 5_001)]
    for number, key in enumerate(draw.choices(range(5_000), weights, k=20_000)):
        traffic.ask(key, number * 0.5)
        assert not traffic.reuse.is_one_time


def test_nothing_is_said_before_their_time_is_over() -> None:
    """A process that has just started has a hit for none of its first users."""
    traffic = Traffic(HOUR)
    for number in range(10_000):
        traffic.ask(number, number * 0.3)
    assert not traffic.reuse.is_one_time
    assert (traffic.reuse.unused, len(traffic.reuse.watched)) == (0, WATCHED)


def test_no_more_is_watched_than_the_bound() -> None:
    reuse = Reuse()
    assert [reuse.watch(number, 10.0) for number in range(WATCHED + 1)] == [True] * WATCHED + [False]
    reuse.settle(10.0, lambda key: False)
    assert (reuse.unused, len(reuse.watched)) == (WATCHED, 0)


@pytest.mark.parametrize(("used", "expected"), [(0, True), (1, True), (2, False)])
def test_one_of_thirty_may_be_used(used: int, expected: bool) -> None:
    reuse = Reuse()
    for number in range(JUDGED):
        reuse.watch(number, 10.0)
    ends: Callable[[Hashable], bool] = lambda key: isinstance(key, int) and key < used  # noqa: E731
    reuse.settle(9.0, ends)
    assert not reuse.is_one_time
    reuse.settle(10.0, ends)
    assert reuse.is_one_time is expected


def test_what_changes_is_judged_anew() -> None:
    reuse = Reuse()
    for number in range(1_000):
        reuse.watch(number, 0.0)
        reuse.settle(1.0, lambda key: False)
    for number in range(20):
        assert reuse.is_one_time is (number * 30 <= reuse.used + reuse.unused)
        reuse.watch(number, 0.0)
        reuse.settle(1.0, lambda key: True)
    assert not reuse.is_one_time


@pytest.mark.parametrize(
    "pattern", ["reset:{token}", "{uuid}", "user:{id}:{uuid}", "report:{time}", "day:{date}", "x:{hash}", "{ulid}/a"]
)
def test_patterns_that_may_be_of_tokens(pattern: str) -> None:
    assert is_of_tokens(pattern)


@pytest.mark.parametrize("pattern", ["settings", "order:{id}", "user{id}", "mail:{email}", "host:{host}", "ip:{ip}"])
def test_numbers_and_names_are_not_tokens(pattern: str) -> None:
    assert not is_of_tokens(pattern)
