"""`clean` of a million keys: the memory that it takes at its peak, and what it costs.

Each run is a process of its own, and its peak is what the operating system says. If the memory is constant, the peak of
a million keys is that of a thousand. How long one SCAN and one UNLINK hold the server is what INFO commandstats says.

    python -m benchmarks.clean_keys
    python -m benchmarks.clean_keys --keys 50000

The exit status is 1 if the peak grows by more than `MAX_GROWTH` megabytes, or a key is left.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis
from rich.console import Console
from rich.table import Table

from tenantcache.devservers import RedisServer

FEW = 1_000
BATCH = 5_000
MAX_GROWTH = 10.0
PROGRAM = "from tenantcache.cli.main import main; main()"


@dataclass(frozen=True)
class Run:
    keys: int
    name: str
    result: dict[str, Any]
    peak: float
    seconds: float
    holds: dict[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    arguments = parser.parse_args()
    runs, left = [], 0
    for keys in (FEW, arguments.keys):
        with RedisServer() as server, redis.Redis.from_url(server.url, socket_timeout=60) as client:
            fill(client, keys)
            runs.append(run(server, client, keys, "dry run", []))
            runs.append(run(server, client, keys, "--yes", ["--yes"]))
            left += client.dbsize()
    report(runs)
    growth = max(one.peak for one in runs if one.keys != FEW) - max(one.peak for one in runs if one.keys == FEW)
    print(f"the peak grows by {growth:.1f} MB, {left} keys are left")
    return int(growth > MAX_GROWTH or left > 0)


def fill(client: redis.Redis, keys: int) -> None:
    for start in range(0, keys, BATCH):
        client.mset({f"temp:{number:032}": number for number in range(start, min(start + BATCH, keys))})


def run(server: RedisServer, client: redis.Redis, keys: int, name: str, options: Sequence[str]) -> Run:
    client.config_resetstat()
    command = ["clean", "temp:*", "--redis-url", server.url, "--json", "--max-commands", str(4 * keys), *options]
    with tempfile.TemporaryFile() as out:
        began = time.monotonic()
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, *command], stdout=out, stderr=subprocess.DEVNULL)
        _, _, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = 0
        out.seek(0)
        result = json.load(out)
    stats = client.info("commandstats")
    holds = {
        command: stats[f"cmdstat_{command}"]["usec_per_call"]
        for command in ("scan", "unlink")
        if f"cmdstat_{command}" in stats
    }
    return Run(keys, name, result, usage.ru_maxrss / 1024, seconds, holds)


def report(runs: Sequence[Run]) -> None:
    table = Table("keys", "run", "removed", "billed commands", "peak MB", "seconds", "one SCAN", "one UNLINK")
    for one in runs:
        table.add_row(
            f"{one.keys:,}",
            one.name,
            f"{one.result['removed']:,}",
            f"{one.result['billed_commands']:,}",
            f"{one.peak:.1f}",
            f"{one.seconds:.1f}",
            *(f"{one.holds[command]:.0f} us" if command in one.holds else "-" for command in ("scan", "unlink")),
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    sys.exit(main())
