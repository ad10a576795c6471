"""What the counters have granted here of the running minute, counted while requests go on.

Rules:

* The minute is given up before the first step (rule 2 of `core/handover.py`), and nothing is granted of it any more. So
  what was granted to a meter can only become less, and each one is counted at a time of its own.
* Those that were live then are counted even if they have left meanwhile. One that was at rest is counted when its turn
  comes, or when it leaves before that. One that was made meanwhile has been granted nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from tenantcache.ratelimit.meter import Meter
from tenantcache.ratelimit.meters import Meters

STEP = 200
"""Live meters a step: 2 ms."""


def count_granted(
    meters: Meters, left: Iterable[Meter], server_now: Callable[[], float], granted: dict[str, int]
) -> Iterator[None]:
    """Enter in `granted` the tokens of this minute that the counters have granted here, by owner, in the steps that are
    returned. `left`: meters that hold nothing any more, and may have spent something."""
    resting = meters.resting.count_granted(server_now(), granted)
    return _steps(resting, [*meters], [*left], server_now, granted)


def _steps(
    resting: Iterator[None],
    live: list[Meter],
    left: list[Meter],
    server_now: Callable[[], float],
    granted: dict[str, int],
) -> Iterator[None]:
    yield from resting
    for number, meter in enumerate(live, start=1):
        if tokens := meter.reservation.hand_over(server_now()):
            granted[meter.owner] = tokens
        if number % STEP == 0:
            yield
    for number, meter in enumerate(left, start=1):
        if tokens := meter.reservation.hand_over(server_now()):
            granted[meter.owner] = granted.get(meter.owner, 0) + tokens
        if number % STEP == 0:
            yield
