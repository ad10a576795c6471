"""What happens to the fleet, and in which minutes. Minute 0 is the first whole one."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis import Redis

from benchmarks.over_admission.fleet import Fleet, Worker
from benchmarks.over_admission.judge import Counts

WORKERS = 4


@dataclass
class Run:
    """What came of it. `stores` is what counted limits at the end of each minute, by minute, as all workers said."""

    first: int
    counts: Mapping[str, Counts]
    stores: dict[int, list[str | None]] = field(default_factory=dict)
    flushed_after: float = 0.0
    """Seconds into its minute."""


@dataclass(frozen=True)
class Step:
    """`work` at `second` of `minute`."""

    minute: int
    second: float
    work: Callable[[Fleet], object]


def kill(number: int) -> Callable[[Fleet], object]:
    """SIGKILL a worker, and start it again."""

    def work(fleet: Fleet) -> None:
        fleet.workers[number].stop(signal.SIGKILL)
        fleet.workers[number].start()

    return work


def flush(fleet: Fleet) -> None:
    with Redis.from_url(fleet.redis.url) as redis:
        redis.flushall()


def stop_redis(fleet: Fleet) -> None:
    fleet.redis.stop(signal.SIGKILL)


def start_redis(fleet: Fleet) -> None:
    fleet.redis.start()


FLUSH_MINUTE = 4
STEPS = (
    Step(0, 5, kill(0)),
    Step(0, 15, kill(1)),
    Step(0, 25, kill(0)),
    Step(0, 40, stop_redis),
    # Found gone at 0:42.5 at the latest, announced, and left with minute 1.
    Step(1, 10, start_redis),
    Step(1, 30, kill(2)),
    # Redis is last reported as unavailable at about 1:11; one minute of quiet, 5 s of notice: back with minute 3.
    Step(FLUSH_MINUTE, 20, flush),
)
"""Five minutes. By minute: 0 Redis and its end, 1 and 2 Postgres, 3 Redis again, 4 Redis that is flushed."""
MINUTES = 5
LEAD = 5.0
"""Seconds of load before the first whole minute."""


def play(fleet: Fleet, steps: Sequence[Step], minutes: int, say: Callable[[str], None] = lambda _: None) -> Run:
    """Wait for a minute's edge (up to a minute), and take the steps while the load goes on."""
    first = int((time.time() + LEAD) // 60) + 1
    _sleep_until(first * 60 - LEAD)
    run = Run(first, {})
    generators = fleet.start_load((first + minutes) * 60.0)
    agenda = [(first * 60 + step.minute * 60 + step.second, step.work) for step in steps]
    agenda += [((first + minute) * 60 + 58.0, _note_stores(run, first + minute, say)) for minute in range(minutes)]
    for when, work in sorted(agenda, key=lambda item: item[0]):
        _sleep_until(when)
        work(fleet)
    run.counts = fleet.collect(generators)
    return run


def _note_stores(run: Run, minute: int, say: Callable[[str], None]) -> Callable[[Fleet], object]:
    def work(fleet: Fleet) -> None:
        found: list[dict[str, Any]] = [_counters_of(worker) for worker in fleet.workers]
        run.stores[minute] = [one["store"] for one in found]
        say(f"minute {minute - run.first}: {run.stores[minute]}, {found[0]}")

    return work


def _counters_of(worker: Worker) -> dict[str, Any]:
    """What a worker says of its counters; nothing if it is stopped."""
    try:
        found: dict[str, Any] = worker.stats()["limits"]["counters"]
        return found
    except OSError:
        return {"store": None}


def _sleep_until(when: float) -> None:
    time.sleep(max(0.0, when - time.time()))
