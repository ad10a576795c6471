"""Two processes and their copies in Redis, message by message: what is believed, read and written, and what is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tenantcache.budget.core.bands import Band
from tenantcache.values.core.valuekey import expiry_name, value_name
from tests.fakes import FakeClock
from tests.values.world import BOUND, TENANT, Database, FakeRedis, LoopTime, Process, QuickMessages


class Fleet:
    """`one` and `two`, which follow the log."""

    def __init__(self) -> None:
        self.clock, self.messages = FakeClock(), QuickMessages()
        self.database = Database(self.clock)
        self.redis = FakeRedis(self.messages)
        self.one, self.two = (Process(self.database, self.redis, self.messages, max_floors=100) for _ in range(2))
        self.loads = 0
        self.follow()

    def follow(self) -> None:
        """What was committed is published, and both apply it."""
        self.database.publish()
        for process in (self.one, self.two):
            process.send_pull()
            process.apply_pull()

    def pass_time(self, seconds: float) -> None:
        """Followed all the time."""
        self.clock.advance(seconds)
        self.follow()

    def commit(self, *names: str) -> None:
        self.database.write("a")
        self.database.tell(names or [value_name(TENANT, "a")])

    async def load(self) -> int:
        self.loads += 1
        return self.database.versions["a"]

    async def get(self, process: Process, **terms: Any) -> int | None:
        terms = terms or {"ttl": 60, "tags": ["t"]}
        return await process.values.get_or_load("a", self.load, tenant=TENANT, **terms)

    def ask(self, process: Process, **terms: Any) -> asyncio.Task[int | None]:
        return asyncio.create_task(self.get(process, **terms))


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    fleet = Fleet()
    yield fleet
    fleet.messages.release()
    for process in (fleet.one, fleet.two):
        await process.parts.close()


async def test_another_process_takes_what_one_has_loaded(fleet: Fleet) -> None:
    await fleet.get(fleet.one)
    await settle()
    fleet.commit("other")
    fleet.follow()
    assert [await fleet.get(fleet.two), fleet.loads, fleet.redis.writes] == [1, 1, 1]
    found = fleet.two.values.explain("a", tenant=TENANT)
    assert (found.tier, found.tags, found.watermark) == ("redis", ("t",), 1)


# What is not believed.


async def test_an_answer_that_comes_once_the_log_is_lost_is_not_believed(fleet: Fleet) -> None:
    """The change is in no floor, because no pull has told of it."""
    await fleet.get(fleet.one)
    await settle()
    fleet.messages.held = True
    asking = fleet.ask(fleet.two)
    await settle()
    fleet.clock.advance(BOUND + 0.1)
    fleet.commit()
    fleet.messages.release()
    assert await asking == 2


async def test_what_expired_by_a_tag_is_not_taken(fleet: Fleet) -> None:
    await fleet.get(fleet.one)
    await settle()
    fleet.commit(expiry_name(TENANT, "t"))
    fleet.follow()
    assert await fleet.get(fleet.two) == 2


async def test_what_is_stale_is_not_taken(fleet: Fleet) -> None:
    await fleet.get(fleet.one, fresh=60, stale=600)
    await settle()
    fleet.pass_time(61)
    fleet.commit("other")
    assert await fleet.get(fleet.two, fresh=60, stale=600) == 2


@pytest.mark.parametrize(("stored", "wanted"), [(60, 3600), (3600, 60)])
async def test_the_shorter_of_two_lifetimes_counts(fleet: Fleet, stored: float, wanted: float) -> None:
    await fleet.get(fleet.one, ttl=stored)
    await settle()
    fleet.pass_time(61)
    fleet.commit("other")
    assert await fleet.get(fleet.two, ttl=wanted) == 2


async def test_the_time_of_a_copy_runs_from_its_load(fleet: Fleet) -> None:
    await fleet.get(fleet.one, ttl=60)
    await settle()
    fleet.pass_time(40)
    assert [await fleet.get(fleet.two, ttl=60), fleet.loads] == [1, 1]
    fleet.pass_time(20)
    fleet.commit("other")
    assert await fleet.get(fleet.two, ttl=60) == 2


async def test_the_log_alone_vouches_for_a_copy(fleet: Fleet) -> None:
    """Its own load may be as long ago as the last pull."""
    await fleet.get(fleet.one)
    await settle()
    fleet.clock.advance(BOUND - 0.1)
    await fleet.get(fleet.two)
    fleet.commit()
    fleet.clock.advance(0.2)
    assert await fleet.get(fleet.two) == 2


# What is not read or written.


async def test_while_the_log_is_lost_redis_is_not_asked(fleet: Fleet) -> None:
    fleet.clock.advance(BOUND + 0.1)
    await fleet.get(fleet.two)
    assert fleet.redis.reads == 0


@pytest.mark.parametrize("seconds", [58, 61, 59.9])
async def test_what_is_loaded_again_is_not_looked_for_in_redis(fleet: Fleet, seconds: float) -> None:
    terms: dict[str, Any] = {"fresh": 60, "stale": 600, "soft_timeout": 5}
    await fleet.get(fleet.one, **terms)
    fleet.pass_time(seconds)
    await fleet.get(fleet.one, **terms)
    await settle()
    assert (fleet.loads, fleet.redis.reads) == (2, 1)


async def test_what_is_invalidated_while_it_is_loaded_again_is_looked_for_in_redis(fleet: Fleet) -> None:
    """The other process may have loaded it by then."""
    terms: dict[str, Any] = {"fresh": 60, "stale": 600, "soft_timeout": 0.5}
    time = LoopTime()
    await fleet.get(fleet.one, **terms)
    fleet.pass_time(61)
    gate = asyncio.Event()

    async def load() -> int:
        await gate.wait()
        return await fleet.load()

    asking = asyncio.create_task(fleet.one.values.get_or_load("a", load, tenant=TENANT, **terms))
    await settle()
    fleet.commit()
    fleet.follow()
    await fleet.get(fleet.two, **terms)
    await settle()
    assert not asking.done()
    time.advance(0.5)
    await settle()
    assert asking.done()
    assert await asking == 2
    gate.set()


async def test_that_there_is_none_is_not_shared(fleet: Fleet) -> None:
    async def load() -> None:
        return None

    await fleet.one.values.get_or_load("a", load, tenant=TENANT, ttl=60)
    await settle()
    assert fleet.redis.writes == 0


async def test_without_copies_nothing_is_read_or_written(fleet: Fleet) -> None:
    fleet.one.in_force.band = Band.NO_COPIES
    for _ in range(2):
        await fleet.get(fleet.one)
        await settle()
        fleet.commit()
        fleet.follow()
    assert (fleet.redis.reads, fleet.redis.writes) == (0, 0)


async def test_in_a_band_that_saves_commands_the_second_load_is_written(fleet: Fleet) -> None:
    fleet.one.in_force.band = Band.THRIFT
    for writes in (0, 1):
        await fleet.get(fleet.one)
        await settle()
        assert fleet.redis.writes == writes
        fleet.commit()
        fleet.follow()


# Sets and invalidations of one process that overlap.


@pytest.mark.parametrize("ends_first", ["set", "invalidation"])
async def test_an_invalidation_overtakes_what_is_being_set(fleet: Fleet, ends_first: str) -> None:
    """What is set was committed first, and is told of last."""
    version = fleet.database.write("a")
    fleet.messages.held = True
    fleet.one.run(fleet.one.values.set("a", version, tenant=TENANT, ttl=60))
    await settle()
    fleet.one.invalidate("a", "key")
    await settle()
    order = [0, 1] if ends_first == "set" else [1, 1]
    for place in order:  # each tells the log, and waits for its answer
        fleet.messages.deliver(place)
        await settle()
    assert len(fleet.messages.waiting) == 1
    fleet.messages.release()
    await asyncio.gather(*fleet.one.tasks)
    assert await fleet.get(fleet.one) == version + 1


async def test_copies_on_their_way_do_not_outlive_their_event_loop(fleet: Fleet) -> None:
    fleet.messages.held = True
    fleet.ask(fleet.one)
    await settle()
    while not fleet.one.parts.sharing.is_writing:
        fleet.messages.deliver(0)
        await settle()
    fleet.one.parts.forget()
    assert not fleet.one.parts.sharing.is_writing
