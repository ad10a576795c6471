"""A minute is given up before it is counted, and a count of which it is not known what was counted is void."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import pytest

from tenantcache.ratelimit.core.agreement import StoreChoice
from tenantcache.ratelimit.core.failover import Failover
from tenantcache.ratelimit.core.minutestanding import MinuteStanding
from tenantcache.ratelimit.core.redishealth import RedisEvent
from tenantcache.ratelimit.counterstore import CounterChoices
from tenantcache.ratelimit.holder import Holder, Report

MINUTE = 30_000_000
LEAVING = StoreChoice(2, "postgres", MINUTE + 2, "redis", 0, "Redis is not running")


class Process:
    """It has tokens, and counts them in two steps, between which `meanwhile` happens."""

    def __init__(self, meanwhile: Callable[[Process], object]) -> None:
        self.now = MINUTE * 60 + 30.0
        self.failover = Failover(has_redis=True)
        self.failover.handover.through = MINUTE + 5
        self.failover.redis_failed(RedisEvent.SILENT, "it is not running", self.now)
        self.follow(LEAVING)
        self.holder = Holder(self.failover, cast(CounterChoices, None))
        self.seen: list[object] = []
        self._meanwhile = meanwhile

    def follow(self, choice: StoreChoice) -> None:
        self.failover.follow(choice, self.now + 5)

    async def give_up(self) -> Report | None:
        return await self.holder.give_up(self, lambda: self.now)

    @property
    def standing(self) -> MinuteStanding:
        return self.failover.standing_of(MINUTE)

    async def enter_windows(self) -> None:
        self.seen.append(self.standing)

    def hand_over(self, granted: dict[str, int]) -> Iterator[None]:
        self.seen.append(self.failover.version_of(MINUTE))
        return self._steps(granted)

    def _steps(self, granted: dict[str, int]) -> Iterator[None]:
        self.seen.append(self.standing)
        granted["acme"] = 3
        yield
        granted["globex"] = 4
        self._meanwhile(self)
        yield


async def test_nothing_is_taken_from_the_first_step_on() -> None:
    """What is reserved of the minute is entered before, while its counters are known."""
    process = Process(lambda process: None)
    assert await process.give_up() == Report(2, MINUTE, {"acme": 3, "globex": 4})
    assert process.seen == [MinuteStanding.IN_REDIS, (0, 1), MinuteStanding.GIVEN_UP]


@pytest.mark.parametrize(
    "meanwhile",
    [
        pytest.param(lambda process: setattr(process, "now", process.now + 30), id="a minute begins"),
        pytest.param(
            lambda process: process.follow(StoreChoice(2, "postgres", MINUTE, "redis", 0)), id="others hand it over"
        ),
        pytest.param(
            lambda process: process.follow(StoreChoice(1, "postgres", MINUTE + 2, "redis", 0)),
            id="the database is restored",
        ),
        pytest.param(
            lambda process: process.failover.clock_moved(-120.0, process.now), id="the minute has begun a second time"
        ),
    ],
)
async def test_a_count_is_void_if_it_is_not_known_what_was_counted(meanwhile: Callable[[Process], object]) -> None:
    assert await Process(meanwhile).give_up() is None


async def test_what_is_not_to_be_reported_any_more_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others have handed the minute over while windows were entered."""
    process = Process(lambda process: None)

    async def enter() -> None:
        process.follow(StoreChoice(2, "postgres", MINUTE, "redis", 0))

    monkeypatch.setattr(process, "enter_windows", enter)
    assert await process.give_up() is None
    assert not process.failover.handover.has_given_up(2)
