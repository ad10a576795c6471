"""(e) A cold start: four workers begin at once, with empty memories and an empty Redis, in front of 10,000 tenants.

Traffic is spread evenly over all tenants and goes as fast as the machine lets it: of all patterns the one that misses
most. Queries are those for tenants; a follower's own are counted apart, because they do not grow with traffic. The hit
rate is that of the whole fleet, by quarters of a second: the share of requests that caused no lookup.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.bench import fleet
from benchmarks.bench.member import SAMPLE
from benchmarks.bench.plan import Plan
from benchmarks.bench.stores import Stores

HIT_RATE = 0.99

ALONE = "without Redis"
AWAITED = "with warm-up, before traffic"
"""As where a readiness probe waits for `cache.warm_up`."""

VARIANTS: dict[str, tuple[dict[str, Any], float]] = {
    "with Redis": ({"warm_up": False}, 1.0),
    ALONE: ({"redis_url": None, "warm_up": False}, 1.0),
    "with warm-up": ({"warm_up": True}, 0.2),
    AWAITED: ({"warm_up": True}, 0.1),
}
"""Settings, and the share of the time that is needed."""


def measure(stores: Stores, plan: Plan, tick: Callable[[], None]) -> dict[str, Any]:
    found = {}
    for name, (settings, share) in VARIANTS.items():
        stores.meter.flush()
        apart = {"database_url": stores.other_database_url} if name == ALONE else {}
        members = fleet.run(
            stores.env(per_minute=600, per_day=100_000),
            processes=plan.processes,
            seconds=plan.cold_seconds * share,
            tenants=plan.cold_tenants,
            pattern="uniform",
            settings={"limits": "off", **settings, **apart},
            awaits_warm_up=name == AWAITED,
        )
        found[name] = _figures(members, stores.meter.by_command(), plan)
        tick()
    return found


def _figures(members: list[dict[str, Any]], commands: dict[str, int], plan: Plan) -> dict[str, Any]:
    touched = len(set().union(*(member["touched"] for member in members)))
    queries = fleet.total(members, "stats", "postgres", "queries")
    return {
        "workers": len(members),
        "tenants": plan.cold_tenants,
        "touched": touched,
        "requests": sum(fleet.statuses(members).values()),
        "statuses": fleet.statuses(members),
        "queries": queries,
        "queries_per_tenant": queries / plan.cold_tenants,
        "commands": sum(commands.values()),
        "commands_by_name": commands,
        "seconds_to_open": max(member["opened"] for member in members),
        "seconds_to_hit_rate": _seconds_to_hit_rate(members),
    }


def _seconds_to_hit_rate(members: list[dict[str, Any]]) -> float | None:
    """None if it was not reached. A quarter without requests counts as a miss."""
    length = min(len(member["samples"]) for member in members)
    before = (0, 0)
    for number in range(length):
        requests = sum(member["samples"][number][0] for member in members)
        loads = sum(member["samples"][number][1] for member in members)
        asked, loaded = requests - before[0], loads - before[1]
        if asked and loaded <= (1 - HIT_RATE) * asked:
            return (number + 1) * SAMPLE
        before = (requests, loads)
    return None
