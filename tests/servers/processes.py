"""Whether processes are gone."""

from __future__ import annotations

import time
from collections.abc import Iterable

import psutil


def wait_until_gone(pids: Iterable[int], seconds: float = 10) -> None:
    """Wait for the processes to end; fail with those that are still there after `seconds`."""
    deadline = time.monotonic() + seconds
    while alive := [pid for pid in pids if is_alive(pid)]:
        assert time.monotonic() < deadline, f"still running: {alive}"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs. A zombie that was not reaped yet does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def descendants(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]
