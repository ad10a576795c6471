"""(b) Requests a second and latency over HTTP, through uvicorn.

* One worker a contender, all of them up for the whole part; a round loads each of them once, in shuffled order.
* The worker is pinned to one core; the load, Redis and Postgres have the others. On one core nothing is pinned.
* The first round begins when all of them are warm: each serves only then. What a start costs is measured in (e).
* Ratios are taken within a round, to what bare Starlette reached in that same round.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from random import Random
from typing import Any, Self

from benchmarks.bench import load
from benchmarks.bench.contenders import BARE, Contender
from benchmarks.bench.plan import Plan
from benchmarks.bench.stats import summary
from benchmarks.bench.stores import Env, Stores
from tenantcache.devservers import free_port, is_taken, spawn

RAMP_SECONDS = 0.3
"""Before each batch: no contender begins with cold caches, or in a minute without tokens."""
START_TIMEOUT = 60.0


class Worker:
    """One contender's server; started at once, and waited for by `wait`."""

    def __init__(self, contender: Contender, env: Env, core: int | None) -> None:
        self.name = contender.name
        self.port = free_port()
        options = {"name": contender.name, "env": env.as_json(), "core": core, "port": self.port}
        self._process = spawn([sys.executable, "-m", "benchmarks.bench.serve", json.dumps(options)])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not is_taken(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise load.LoadError(f"the server of {self.name} did not start; its messages are above")
            time.sleep(0.02)


def cores() -> tuple[int | None, int | None]:
    """The core for the worker and one for the load; None if there is nothing to choose."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    own = sorted(os.sched_getaffinity(0))
    return (own[0], own[1]) if len(own) > 1 else (None, None)


@contextmanager
def _kept_off(core: int, stores: Stores) -> Iterator[None]:
    """Redis and Postgres (those of its processes that begin now) run on the other cores."""
    all_cores = os.sched_getaffinity(0)
    for pid in (stores.redis.pid, stores.postgres.pid):
        os.sched_setaffinity(pid, all_cores - {core})
    try:
        yield
    finally:
        for pid in (stores.redis.pid, stores.postgres.pid):
            os.sched_setaffinity(pid, all_cores)


def measure(
    stores: Stores, contenders: Sequence[Contender], plan: Plan, random: Random, tick: Callable[[], None]
) -> dict[str, Any]:
    """By contender: `requests_per_second`, `p50`, `p90`, `p99` (seconds), and `over_bare` as a ratio."""
    worker_core, load_core = cores() if plan.pins_cores else (None, None)
    runs: dict[str, list[dict[str, Any]]] = {contender.name: [] for contender in contenders}
    stores.meter.flush()
    with ExitStack() as stack:
        if worker_core is not None:
            stack.enter_context(_kept_off(worker_core, stores))
        workers = {c.name: stack.enter_context(Worker(c, stores.env(), worker_core)) for c in contenders}
        for worker in workers.values():
            worker.wait()
        for worker in workers.values():
            load.run(worker.port, plan.http_seconds, plan.http_connections, load_core)
        for _ in range(plan.http_rounds):
            for name in random.sample(list(workers), len(workers)):
                port = workers[name].port
                load.run(port, min(RAMP_SECONDS, plan.http_seconds), plan.http_connections, load_core)
                runs[name].append(load.run(port, plan.http_seconds, plan.http_connections, load_core))
            tick()
    rates = {name: [run["requests_per_second"] for run in found] for name, found in runs.items()}
    return {
        name: {
            **{key: summary([run[key] for run in found]) for key in found[0]},
            "over_bare": summary([rate / bare for rate, bare in zip(rates[name], rates[BARE], strict=True)]),
        }
        for name, found in runs.items()
    }
