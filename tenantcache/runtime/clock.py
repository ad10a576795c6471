"""The one place that reads a clock.

Freshness needs a clock that runs while the machine is suspended. A laptop lid or a paused virtual machine must
not stretch a promise of three seconds to three hours. Linux has CLOCK_BOOTTIME for that; elsewhere the
monotonic clock is what there is (on macOS it runs on while asleep).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

Clock = Callable[[], float]
"""Seconds from some fixed point, never backwards."""


def _boot_time() -> Clock:
    clock_id = getattr(time, "CLOCK_BOOTTIME", None)
    if clock_id is None:
        return time.monotonic
    return partial(time.clock_gettime, clock_id)


now: Clock = _boot_time()
