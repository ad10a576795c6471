"""Where an application has called us: found by looking at the stack, so only for a report."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

_PASSED_OVER = tuple(str(path) + os.sep for path in (Path(__file__).parents[1], Path(asyncio.__file__).parent))


def call_site() -> str | None:
    """`file:line` of the nearest caller in this task that is neither of this package nor of asyncio; None without one.

    Below a task's own coroutine is what runs the event loop.
    """
    task = asyncio.current_task()
    outermost = None if task is None else getattr(task.get_coro(), "cr_frame", None)
    frame = sys._getframe(1)
    while frame.f_code.co_filename.startswith(_PASSED_OVER):
        if frame is outermost or frame.f_back is None:
            return None
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
