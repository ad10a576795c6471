"""Load over HTTP: by `wrk` if it is installed, else by connections of our own.

Both send the same bytes: keep-alive GETs for a hundred tenants in turn, with the headers of a browser, each connection
sending its next request once it has the answer to the last.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.bench.inprocess import BUSY_TENANTS
from benchmarks.bench.stats import percentile
from benchmarks.bench.traffic import OTHER_HEADERS, host_of

PERCENTILES = (50, 90, 99)
LONGEST = 5.0
"""Seconds without an answer after which load is not tried for longer."""

_WRK_SCRIPT = """
local requests, at = {}, 0
for number = 0, %(tenants)d - 1 do
  local headers = {%(headers)s}
  headers["Host"] = "tenant-" .. number .. ".%(domain)s"
  requests[number] = wrk.format("GET", "/", headers)
end
request = function()
  at = (at + 1) %% %(tenants)d
  return requests[at]
end
done = function(summary, latency, _)
  local e = summary.errors
  io.write(string.format('BENCH {"requests":%%d,"seconds":%%f,"p50":%%f,"p90":%%f,"p99":%%f,"errors":%%d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(90) / 1e6,
    latency:percentile(99) / 1e6, e.connect + e.read + e.write + e.status + e.timeout))
end
"""


class LoadError(Exception):
    """The load could not be made, or was not answered as it should be."""


def run(port: int, seconds: float, connections: int, core: int | None) -> dict[str, Any]:
    """`requests_per_second`, and `p50`, `p90` and `p99` in seconds. Raises `LoadError` if an answer was not 200.

    If no request is answered within `seconds`, on a machine that does other things, it is tried for longer.
    """
    found = _wrk(port, seconds, connections, core) if shutil.which("wrk") else _own(port, seconds, connections)
    if found["errors"]:
        raise LoadError(f"{found['errors']} of {found['requests']} requests failed")
    if not found["requests"]:
        if seconds > LONGEST:
            raise LoadError(f"no request was answered within {seconds:.1f} s")
        return run(port, 4 * seconds, connections, core)
    return {
        "requests_per_second": found["requests"] / found["seconds"],
        **{f"p{share}": found[f"p{share}"] for share in PERCENTILES},
    }


def _wrk(port: int, seconds: float, connections: int, core: int | None) -> dict[str, Any]:
    headers = ", ".join(f'["{name.decode()}"] = {json.dumps(value.decode())}' for name, value in OTHER_HEADERS)
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "requests.lua"
        domain = host_of(0).partition(".")[2]
        script.write_text(_WRK_SCRIPT % {"tenants": BUSY_TENANTS, "headers": headers, "domain": domain})
        # wrk takes whole seconds only, and ends at the first SIGINT with its report.
        command = ["wrk", "-t1", f"-c{connections}", "-d60s", "-s", str(script), f"http://127.0.0.1:{port}/"]
        # The function makes one system call in the child and nothing else.
        pin = None if core is None else lambda: os.sched_setaffinity(0, {core})
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=pin) as wrk:  # noqa: PLW1509
            time.sleep(seconds)
            wrk.send_signal(2)
            output = wrk.communicate(timeout=30)[0].decode()
    line = next((line for line in output.splitlines() if line.startswith("BENCH ")), None)
    if line is None:
        raise LoadError(f"wrk says: {output}")
    found: dict[str, Any] = json.loads(line[len("BENCH ") :])
    return found


def _own(port: int, seconds: float, connections: int) -> dict[str, Any]:
    return asyncio.run(_connections(port, seconds, connections))


async def _connections(port: int, seconds: float, connections: int) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    head = b"".join(b"%s: %s\r\n" % header for header in OTHER_HEADERS)
    requests = [
        b"GET / HTTP/1.1\r\nhost: %s\r\n%s\r\n" % (host_of(number).encode(), head) for number in range(BUSY_TENANTS)
    ]
    latencies: list[float] = []
    errors = 0
    started = time.perf_counter()

    async def visit(number: int) -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        is_first = True  # which is sent if connecting has taken all the time
        while (sent := time.perf_counter()) < started + seconds or is_first:
            is_first = False
            writer.write(requests[number % BUSY_TENANTS])
            number += connections
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            latencies.append(time.perf_counter() - sent)
            errors += not answer.startswith(b"HTTP/1.1 200")
        writer.close()

    await asyncio.gather(*(loop.create_task(visit(number)) for number in range(connections)))
    took = time.perf_counter() - started
    shares = {f"p{share}": percentile(latencies, share) for share in PERCENTILES}
    return {"requests": len(latencies), "seconds": took, "errors": errors, **shares}
