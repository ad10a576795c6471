"""Tasks end when they are stopped, however they take it."""

from __future__ import annotations

import asyncio

import pytest

from tenantcache.runtime import tasks


async def test_a_task_that_swallows_its_cancellation_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "PATIENCE", 0.001)
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed == 3:
                    raise

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await tasks.stop(task)
    assert task.cancelled()
    assert swallowed == 3


async def test_what_has_ended_or_never_was_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    async def failing() -> None:
        raise ValueError("it was not asked for")

    task = asyncio.create_task(failing())
    await asyncio.wait([task])
    await tasks.stop(None, task)
    del task
    assert caplog.text == ""
