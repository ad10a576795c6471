"""`analyze` on a million keys of a skewed mix: what it costs, and how often its intervals hold the truth.

Each seed has other random positions. The server starts anew for every tenth of them, from the same dump, with another
seed of its hash function. Beside it stands what other tools cost on the same keys, as counted by the server. How long
one SCAN holds the server is what INFO commandstats says.

    python -m benchmarks.analyze_keys
    python -m benchmarks.analyze_keys --scale 0.05 --seeds 5 --alone

The exit status is 1 if fewer than 95 of 100 intervals hold the truth, or a limit was passed.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import redis
from rich.console import Console
from rich.table import Table

from benchmarks.keymix import fill, true_bytes
from tenantcache.budget.core.keyreport import KeyReport
from tenantcache.budget.sampling import sample_keys
from tenantcache.devservers import RedisServer
from tenantcache.stores.anyredis import AnyRedis
from tests.servers.billing import BilledCommands

MAX_COMMANDS = 2_000
SEEDS_OF_A_START = 10
ENOUGH = 0.95
PATIENCE = 300.0


@dataclass
class Coverage:
    """Of one pattern: the intervals that held the truth, all of them, and how wide they were."""

    keys: list[bool] = field(default_factory=list)
    bytes: list[bool] = field(default_factory=list)
    keys_reach: list[float] = field(default_factory=list)
    bytes_reach: list[float] = field(default_factory=list)


@dataclass
class Tool:
    name: str
    commands: int
    seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="Millions of keys.")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--alone", action="store_true", help="Leave the other tools out.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tenantcache-keys-") as directory:
        options = {"dir": directory, "dbfilename": "keys.rdb"}
        with started(options) as server, client_of(server) as client:
            keys = fill(client, arguments.scale)
            client.execute_command("SAVE")
        with started(options) as server, client_of(server) as client:
            sizes = true_bytes(client, keys)
            tools = [] if arguments.alone else run_others(server, sum(map(len, keys.values())))
        truth = {pattern: (len(names), sizes[pattern]) for pattern, names in keys.items()}
        runs, coverage, holds = run_seeds(options, truth, arguments.seeds)
    report(truth, runs, coverage, [*tools, Tool("tenantcache analyze", *runs)], holds)
    held = [held for one in coverage.values() for held in (*one.keys, *one.bytes)]
    return int(sum(held) < ENOUGH * len(held) or runs[0] > MAX_COMMANDS)


def client_of(server: RedisServer) -> redis.Redis:
    return redis.Redis.from_url(server.url, socket_timeout=PATIENCE)


@contextmanager
def started(options: dict[str, str]) -> Iterator[RedisServer]:
    with RedisServer(options=options) as server, client_of(server) as client:
        deadline = time.monotonic() + PATIENCE
        while client.info("persistence")["loading"]:
            if time.monotonic() > deadline:
                raise TimeoutError("Redis did not load its dump")
            time.sleep(0.05)
        yield server


def run_seeds(
    options: dict[str, str], truth: dict[str, tuple[int, int]], seeds: int
) -> tuple[tuple[int, float], dict[str, Coverage], float]:
    """The most commands and seconds of one run, what the intervals held, and microseconds for a SCAN."""
    coverage = {pattern: Coverage() for pattern in truth}
    most, longest, held = 0, 0.0, []
    for first in range(0, seeds, SEEDS_OF_A_START):
        with started(options) as server, client_of(server) as client:
            billing = BilledCommands(server.url)
            for seed in range(first, min(first + SEEDS_OF_A_START, seeds)):
                billing.reset()
                began = time.monotonic()
                found = asyncio.run(analyze(server.url, seed))
                longest = max(longest, time.monotonic() - began)
                most = max(most, billing.total())
                held.append(client.info("commandstats")["cmdstat_scan"]["usec_per_call"])
                judge(found, truth, coverage)
                print(f"{seed + 1} of {seeds}: {longest:.1f} s", file=sys.stderr, flush=True)
            billing.close()
    return (most, longest), coverage, sum(held) / len(held)


async def analyze(url: str, seed: int) -> KeyReport:
    async with await AnyRedis.connect(url, "benchmark", max_commands=MAX_COMMANDS) as source:
        return await sample_keys(source, max_commands=MAX_COMMANDS, random=random.Random(seed))


def judge(found: KeyReport, truth: dict[str, tuple[int, int]], coverage: dict[str, Coverage]) -> None:
    """A pattern that was not seen has no interval; that is said by the number of intervals."""
    for pattern in found.patterns:
        if pattern.pattern not in truth:
            continue
        one, (keys, size) = coverage[pattern.pattern], truth[pattern.pattern]
        low, high = pattern.keys_interval
        one.keys.append(low <= keys <= high)
        one.keys_reach.append((high - low) / 2 / keys)
        if pattern.bytes_interval is not None:
            low, high = pattern.bytes_interval
            one.bytes.append(low <= size <= high)
            one.bytes_reach.append((high - low) / 2 / size)


def run_others(server: RedisServer, keys: int) -> list[Tool]:
    """redis-cli's own, and a program that asks every key."""
    tools = []
    for option in ("--bigkeys", "--memkeys", "--keystats"):
        billing = BilledCommands(server.url)
        billing.reset()
        began = time.monotonic()
        done = subprocess.run(
            ["redis-cli", "-p", str(server.port), option], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        if done.returncode == 0 and billing.total() > keys:
            tools.append(Tool(f"redis-cli {option}", billing.total(), time.monotonic() - began))
        billing.close()
    tools.append(scan_all(server))
    print(*tools, sep="\n", file=sys.stderr)
    return tools


def scan_all(server: RedisServer) -> Tool:
    billing = BilledCommands(server.url)
    billing.reset()
    began = time.monotonic()
    with redis.Redis.from_url(server.url, protocol=2, driver_info=None, socket_timeout=PATIENCE) as client:
        cursor = None
        while cursor != 0:
            cursor, names = client.scan(cursor or 0, count=1_000)
            pipeline = client.pipeline(transaction=False)
            for name in names:
                pipeline.type(name).ttl(name).memory_usage(name)
            pipeline.execute()
    total = billing.total()
    billing.close()
    return Tool("SCAN, and TYPE, TTL and MEMORY USAGE of each key", total, time.monotonic() - began)


def report(
    truth: dict[str, tuple[int, int]],
    runs: tuple[int, float],
    coverage: dict[str, Coverage],
    tools: list[Tool],
    hold: float,
) -> None:
    console = Console(width=120)
    table = Table("pattern", "keys", "held", "reach", "bytes", "held", "reach")
    for pattern, (keys, size) in truth.items():
        one = coverage[pattern]
        row = (f"{keys:,}", rate(one.keys), reach(one.keys_reach), f"{size:,}", rate(one.bytes), reach(one.bytes_reach))
        table.add_row(pattern, *row)
    console.print(table)
    for name in ("keys", "bytes"):
        held = [one for every in coverage.values() for one in getattr(every, name)]
        console.print(f"intervals of {name} that hold the truth: {sum(held):,} of {len(held):,} ({rate(held)})")
    costs = Table("tool", "billed commands", "seconds")
    for tool in tools:
        costs.add_row(tool.name, f"{tool.commands:,}", f"{tool.seconds:.1f}")
    console.print(costs)
    console.print(f"one SCAN of 1,000 keys holds the server for {hold:.0f} microseconds")


def rate(held: list[bool]) -> str:
    return f"{sum(held) / len(held):.1%} of {len(held)}" if held else "-"


def reach(values: list[float]) -> str:
    return f"± {math.fsum(values) / len(values):.1%}" if values else "-"


if __name__ == "__main__":
    sys.exit(main())
