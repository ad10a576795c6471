"""Shows the place at which a test hangs. When its time is up, every task of its event loop says what it awaits.

pytest-timeout shows the stacks of the threads, and a coroutine that waits is on none of them.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Generator, Iterator
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer() -> Generator[None, Any, Any]:
    """Have the tasks shown before pytest-timeout, whose handler this wraps, ends the test."""
    armed = yield
    end_test = signal.getsignal(signal.SIGALRM)
    if callable(end_test):

        def show_tasks_and_end_test(number: int, frame: FrameType | None) -> None:
            show_tasks()
            end_test(number, frame)

        signal.signal(signal.SIGALRM, show_tasks_and_end_test)
    return armed


def show_tasks() -> None:
    """Write to stderr what each task of the running event loop awaits; nothing without one."""
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:
        return
    for task in sorted(tasks, key=lambda task: task.get_name()):
        print(f"{task.get_name()} waits:", *frames(task.get_coro()), sep="\n  ", file=sys.stderr)


def frames(waiting: object) -> Iterator[str]:
    """The places at which a coroutine and those that it awaits stand, outermost first."""
    while waiting is not None:
        match waiting:
            case CoroutineType():
                frame, inner = waiting.cr_frame, waiting.cr_await
            case AsyncGeneratorType():
                frame, inner = waiting.ag_frame, waiting.ag_await
            case GeneratorType():
                frame, inner = waiting.gi_frame, waiting.gi_yieldfrom
            case _:
                yield repr(waiting)
                return
        if frame is not None:
            yield f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"
        waiting = inner
