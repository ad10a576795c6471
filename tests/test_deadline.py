"""Timeouts count the time in which the event loop ran: with a clock that jumps, as if the loop had stood still."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from tenantcache.errors import StoreError
from tenantcache.lookup.flights import Flights
from tenantcache.runtime.deadline import SharedDeadline, deadline

SECONDS = 4_000.0
A_QUARTER = SECONDS / 4 + 1
Wait = Callable[["asyncio.Future[str]"], Awaitable[str]]


class Clock:
    """The running loop's clock, some seconds ahead."""

    def __init__(self, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
        self._time, self._ahead = loop.time, 0.0
        monkeypatch.setattr(loop, "time", lambda: self._time() + self._ahead)

    async def jump(self, seconds: float) -> None:
        self._ahead += seconds
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Clock]:
    yield Clock(asyncio.get_running_loop(), monkeypatch)


async def by_itself(future: asyncio.Future[str]) -> str:
    async with deadline(SECONDS):
        return await asyncio.shield(future)


@pytest.fixture(params=["by itself", "shared"])
def wait(request: pytest.FixtureRequest) -> Wait:
    return by_itself if request.param == "by itself" else SharedDeadline(SECONDS).wait


async def begin(wait: Wait) -> tuple[asyncio.Future[str], asyncio.Task[str]]:
    future = asyncio.get_running_loop().create_future()

    async def waiting() -> str:
        return await wait(future)

    task = asyncio.create_task(waiting())
    await asyncio.sleep(0)
    return future, task


async def test_it_expires_after_that_time(clock: Clock, wait: Wait) -> None:
    _, task = await begin(wait)
    for _ in range(3):
        await clock.jump(A_QUARTER)
        assert not task.done()
    await clock.jump(A_QUARTER)
    with pytest.raises(TimeoutError):
        await task


async def test_a_loop_that_stood_still_has_its_answer_all_the_same(clock: Clock, wait: Wait) -> None:
    future, task = await begin(wait)
    await clock.jump(10 * SECONDS)
    future.set_result("answer")
    assert await task == "answer"


async def test_what_is_waited_for_fails_with_its_own_error(clock: Clock, wait: Wait) -> None:
    future, task = await begin(wait)
    future.set_exception(LookupError("broken"))
    with pytest.raises(LookupError, match="broken"):
        await task


async def test_one_who_is_cancelled_leaves_the_others_waiting(clock: Clock) -> None:
    shared = SharedDeadline(SECONDS)
    future, first = await begin(shared.wait)
    second = asyncio.create_task(shared.wait(future))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    future.set_result("answer")
    assert await second == "answer"
    assert first.cancelled()


async def test_those_who_come_later_have_time_of_their_own(clock: Clock) -> None:
    shared = SharedDeadline(SECONDS)
    _, early = await begin(shared.wait)
    for _ in range(3):
        await clock.jump(A_QUARTER)
    late_future, late = await begin(shared.wait)
    await clock.jump(A_QUARTER)
    with pytest.raises(TimeoutError):
        await early
    late_future.set_result("answer")
    assert await late == "answer"


async def test_one_whose_load_has_to_wait_for_others_has_twice_as_long(clock: Clock) -> None:
    async def hang(keys: Sequence[str], land: object) -> None:
        await asyncio.Event().wait()

    flights = Flights[str](hang, deadline=SECONDS, at_once=1, most=1, room=2)
    loading, waiting = (asyncio.create_task(flights.join(key)) for key in ("a", "b"))
    await asyncio.sleep(0)
    for _ in range(4):
        await clock.jump(A_QUARTER)
    with pytest.raises(StoreError, match="in time"):
        await loading
    for _ in range(4):
        assert not waiting.done()
        await clock.jump(A_QUARTER)
    with pytest.raises(StoreError, match="in time"):
        await waiting
    await flights.close()
