"""Some processes at once, with what each of them saw."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from benchmarks.bench.stores import Env


def run(
    env: Env,
    *,
    processes: int,
    seconds: float,
    tenants: int,
    pattern: str,
    rate: float | None = None,
    settings: dict[str, Any] | None = None,
    at_once: int = 8,
    awaits_warm_up: bool = False,
) -> list[dict[str, Any]]:
    """Let them all start in the same moment; `rate` is the whole fleet's. What `member` prints, by process."""
    started = []
    try:
        for seed in range(processes):
            options = {
                "env": env.as_json(),
                "settings": settings or {},
                "seconds": seconds,
                "tenants": tenants,
                "pattern": pattern,
                "rate": rate and rate / processes,
                "at_once": at_once,
                "awaits_warm_up": awaits_warm_up,
                "seed": seed,
            }
            started.append(_start_member(options))
        for process in started:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "ready":
                raise RuntimeError("a process of the fleet did not start; its messages are above")
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [json.loads(process.communicate(timeout=seconds + 60)[0]) for process in started]
    finally:
        _end(started)


def _end(started: list[subprocess.Popen[str]]) -> None:
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def _start_member(options: dict[str, Any]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.bench.member", json.dumps(options)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def total(found: list[dict[str, Any]], *path: str) -> int:
    """The sum over all processes of the number at `path`."""
    amount = 0
    for one in found:
        value: Any = one
        for key in path:
            value = value[key]
        amount += value
    return amount


def statuses(found: list[dict[str, Any]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for one in found:
        for status, count in one["statuses"].items():
            counts[status] = counts.get(status, 0) + count
    return counts


def faults(what: str, answers: dict[str, int]) -> list[str]:
    """What is wrong with the answers of ours, as lines to print: one for each status that tells of a failure."""
    requests = sum(answers.values())
    return [
        f"{what}: {count:,} of {requests:,} requests were answered {status}"
        for status, count in sorted(answers.items())
        if not "200" <= status < "500"
    ]
