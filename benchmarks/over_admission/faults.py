"""Faults with a fleet of their own each: how much is admitted, and which tenants are refused below their limits."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from redis import Redis, RedisError

from benchmarks.over_admission.fleet import Fleet
from benchmarks.over_admission.plan import BELOW, TENANTS, TenantLoad
from benchmarks.over_admission.scenes import FLUSH_MINUTE, STEPS, WORKERS, Run, Step, play, start_redis, stop_redis

GAP = 3.0
"""Seconds within which two refusals belong together: twice the longest pause of a tenant that is asked for often."""


@dataclass(frozen=True)
class Fault:
    """`bound` is what may be admitted in each minute, in limits."""

    name: str
    steps: Sequence[Step]
    bound: Sequence[int]
    redis_is_up: bool = True

    @property
    def minutes(self) -> int:
        return len(self.bound)


@dataclass(frozen=True)
class Outcome:
    """Of the tenants at their limits `over` is what was admitted above the bound in a minute, and `most` the largest
    part of a limit that was admitted in one. Of the tenants below theirs `asked` and `refused` are counts of requests,
    and `longest` is the longest time in seconds for which one was refused."""

    fault: Fault
    over: int
    most: float
    asked: int
    refused: int
    longest: float


def pause_writes(fleet: Fleet) -> None:
    with Redis.from_url(fleet.redis.url) as redis:
        redis.execute_command("CLIENT", "PAUSE", "600000", "WRITE")


def stop_postgres(fleet: Fleet) -> None:
    fleet.postgres.stop()


def start_postgres(fleet: Fleet) -> None:
    fleet.postgres.start()


def send(number: int, which: signal.Signals) -> Callable[[Fleet], object]:
    return lambda fleet: os.kill(fleet.workers[number].pid, which)


def delete_keys_each_second(fleet: Fleet) -> None:
    """Until Redis ends with its fleet."""

    def work() -> None:
        try:
            with Redis.from_url(fleet.redis.url) as redis:
                while True:
                    time.sleep(1)
                    if keys := redis.keys("tenantcache:ratelimit:*"):
                        redis.delete(*keys)
        except (RedisError, OSError):
            return

    threading.Thread(target=work, daemon=True).start()


def delete_quarter(fleet: Fleet) -> None:
    """The counters of this quarter of an hour, of whole groups of tenants at once."""
    quarter = datetime.fromtimestamp(time.time() // 900 * 900, UTC)
    with Redis.from_url(fleet.redis.url) as redis:
        keys = redis.keys(f"tenantcache:ratelimit:*:{quarter:%Y%m%d:%H%M}")
        if not keys:
            raise AssertionError("there are no counters to delete")
        redis.delete(*keys)


FIVE_MINUTES = Fault("the five minutes above", STEPS, [1] * FLUSH_MINUTE + [2])

FAULTS = (
    Fault("Redis killed at 0:20, all processes alive", [Step(0, 20, stop_redis)], [1, 1]),
    Fault("writes paused at 0:20 (CLIENT PAUSE WRITE): PING answers", [Step(0, 20, pause_writes)], [1, 1]),
    Fault(
        "Redis killed at 0:10, back at 0:14, so that days are in Postgres; Postgres away from 2:20 to 3:20",
        [Step(0, 10, stop_redis), Step(0, 14, start_redis), Step(2, 20, stop_postgres), Step(3, 20, start_postgres)],
        [1, 1, 1, 1, 1],
    ),
    Fault(
        "a worker stopped (SIGSTOP) from 0:38 to 1:15, Redis killed at 0:40",
        [Step(0, 38, send(3, signal.SIGSTOP)), Step(0, 40, stop_redis), Step(1, 15, send(3, signal.SIGCONT))],
        [1, 1, 1],
    ),
    Fault("counters deleted once a second from 0:10 on", [Step(0, 10, delete_keys_each_second)], [2, 2, 1, 1]),
    Fault("the counters of a quarter of an hour deleted at 0:20", [Step(0, 20, delete_quarter)], [2, 1, 1]),
    Fault("Redis away from the start", [], [1, 1], redis_is_up=False),
)


def run_fault(fault: Fault, say: Callable[[str], None]) -> Outcome:
    with Fleet(WORKERS, TENANTS + BELOW, redis_is_up=fault.redis_is_up) as fleet:
        return judge(fault, play(fleet, fault.steps, fault.minutes, say))


def judge(fault: Fault, run: Run, at_limit: Sequence[TenantLoad] = TENANTS) -> Outcome:
    minutes = range(run.first, run.first + fault.minutes)
    start, end = run.first * 60.0, (run.first + fault.minutes) * 60.0
    below = [run.counts[tenant.name] for tenant in BELOW]
    return Outcome(
        fault,
        over=max(
            run.counts[tenant.name].over(times * tenant.limit, [minute])
            for tenant in at_limit
            for minute, times in zip(minutes, fault.bound, strict=True)
        ),
        most=max(run.counts[tenant.name].admitted[minute] / tenant.limit for tenant in at_limit for minute in minutes),
        asked=sum(one.offered[minute] for one in below for minute in minutes),
        refused=sum(one.refused_between(start, end) for one in below),
        longest=max(one.longest_refusal(start, end, GAP) for one in below),
    )


HEADINGS = ("what happens", "admitted in a minute", "over the bound", "refused below the limit", "for at most")


def row(outcome: Outcome) -> list[str]:
    return [
        outcome.fault.name,
        f"{outcome.most:.0%}",
        f"{outcome.over:,}",
        f"{outcome.refused:,} of {outcome.asked:,}",
        f"{outcome.longest:.1f} s",
    ]
