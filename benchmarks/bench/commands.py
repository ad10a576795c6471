"""(c) Billed Redis commands per request, counted by the Redis server, and what they cost a month.

* An alternative bills the same for every request: it is asked for 100 tenants in turn until every key is there, and
  then counted.
* tenantcache bills by the minute and the hour. It is counted over a real minute from a cold start on four processes,
  with what its orderly stop gives back apart, and its own meter beside the server's. Whole hours come from
  `benchmarks.simulate_limits`, which runs the real reservations in virtual time, and are marked as simulated. They hold
  for limits; lookups cost a GET a process and tenant and a SET a tenant and hour more. The first minute is simulated
  as well, so that the two can be held against each other.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.bench import fleet
from benchmarks.bench.contenders import OURS, Contender, by_name
from benchmarks.bench.inprocess import BUSY_TENANTS
from benchmarks.bench.plan import Plan
from benchmarks.bench.stores import Env, Stores
from benchmarks.bench.traffic import call, call_many, scope_of

DENIED_LIMIT = 3

COUNTING = ("bitfield", "expire")
"""What limits send; what comes back at the stop is of these as well."""


async def of_alternatives(stores: Stores, contenders: Sequence[Contender], plan: Plan) -> dict[str, Any]:
    """Commands per admitted and per denied request, by contender that asks Redis for each."""
    found: dict[str, Any] = {}
    templates = [scope_of(number) for number in range(BUSY_TENANTS)]
    for contender in contenders:
        stores.meter.flush()
        async with contender.open(stores.env()) as app:
            await call_many(app, templates, 2 * BUSY_TENANTS, 4)
            stores.meter.reset()
            answers = await call_many(app, templates, plan.settled_requests, 4)
            by_command = stores.meter.by_command()
        found[contender.name] = {
            "per_request": sum(by_command.values()) / plan.settled_requests,
            "by_command": by_command,
            "statuses": {str(status): count for status, count in answers.items()},
            "per_denied": await denied(stores, contender, plan.denied_requests),
        }
    return found


async def denied(stores: Stores, contender: Contender, requests: int) -> float:
    """Commands for each request that is refused, after the first one that was."""
    stores.meter.flush()
    env = Env(stores.postgres.url, stores.redis.url, DENIED_LIMIT, 1_000, "denied")
    async with contender.open(env) as app:
        for _ in range(DENIED_LIMIT + 1):
            status = await call(app, scope_of(1))
        assert status == 429, f"{contender.name} did not refuse: {status}"
        stores.meter.reset()
        statuses = await call_many(app, [scope_of(1)], requests, 1)
        commands = stores.meter.total()
    # A minute may have ended meanwhile; the few that the next one admits cost what admitted ones cost.
    assert statuses.get(429, 0) >= requests - 2 * DENIED_LIMIT, statuses
    return commands / requests


def of_ours(stores: Stores, plan: Plan, tick: Callable[[], None]) -> dict[str, Any]:
    """tenantcache on four processes: `busy` (100 tenants) and `zipf`, counted by the server and by its own meter."""
    found = {}
    for name, tenants, pattern, limits in (
        ("busy", BUSY_TENANTS, "uniform", (1_200, 100_000_000)),
        ("zipf", plan.zipf_tenants, "zipf", (600, 100_000)),
    ):
        stores.meter.flush()
        members = fleet.run(
            stores.env(per_minute=limits[0], per_day=limits[1]),
            processes=plan.processes,
            seconds=plan.fleet_seconds,
            rate=plan.fleet_rate,
            tenants=tenants,
            pattern=pattern,
        )
        by_command = stores.meter.by_command()
        statuses = fleet.statuses(members)
        requests, commands = sum(statuses.values()), sum(by_command.values())
        own_meter = fleet.total(members, "billed")
        at_stop = own_meter - fleet.total(members, "stats", "redis", "billed_commands")
        of_limits = sum(by_command.get(name, 0) for name in COUNTING) - at_stop
        found[name] = {
            "tenants": tenants,
            "seconds": plan.fleet_seconds,
            "requests": requests,
            "statuses": statuses,
            "commands": commands,
            "by_command": by_command,
            "at_stop": at_stop,
            "per_request": (commands - at_stop) / requests,
            "per_request_for_limits": of_limits / requests,
            "own_meter": own_meter,
        }
        tick()
    return found


async def denied_by_ours(stores: Stores, plan: Plan) -> float:
    return await denied(stores, by_name(OURS), plan.denied_requests)


def simulated(hours: float) -> list[dict[str, Any]]:
    """`benchmarks.simulate_limits` for so many virtual hours: `load`, `hour`, `requests`, `commands`, `per_request`."""
    command = [sys.executable, "-m", "benchmarks.simulate_limits", "busy", "zipf", "--hours", str(hours)]
    output = subprocess.run(command, capture_output=True, text=True, timeout=3_600, check=True).stdout
    pattern = r"^(.+?) +hour (\d+): +([\d,]+) requests +([\d,]+) commands ([\d.]+)/request$"
    rows = [
        {
            "load": load,
            "hour": int(hour),
            "requests": int(requests.replace(",", "")),
            "commands": int(commands.replace(",", "")),
            "per_request": float(ratio),
        }
        for load, hour, requests, commands, ratio in re.findall(pattern, output, re.MULTILINE)
    ]
    if not rows:
        raise RuntimeError(f"benchmarks.simulate_limits printed no figures:\n{output}")
    return rows
