"""What a run found, as lines to print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from benchmarks.simulate_limits.fleet import DAY, MINUTE, Fleet

MINUTES_PER_HOUR = 60


def of_load(name: str, fleet: Fleet, restart: tuple[int, int], commands: Counter[int], seconds: float) -> Iterator[str]:
    """`commands` by the minute, those of the starts not among them; `restart` is what a stop and a start cost."""
    requests, counters = fleet.traffic.requests, fleet.counters
    for hour in range(max(requests) // MINUTES_PER_HOUR + 1):
        yield f"{name:38} hour {hour + 1}: {_ratio(hour, MINUTES_PER_HOUR, requests, commands)}"
    yield f"{'':38} first minute: {_ratio(0, 1, requests, commands)}"
    latest = max(requests)
    if latest:
        yield f"{'':38} after it: {_ratio_of(requests.total() - requests[0], commands.total() - commands[0])}"
        later = [minute for minute in requests if minute >= (latest + 1) // 2]
        yield f"{'':38} second half: {_ratio_of(_sum(requests, later), _sum(commands, later))}"
    yield (
        f"{'':38} a process's stop {restart[0]} commands, its start {restart[1]}; "
        f"operations: {counters.operations.total() / counters.commands.total():.0f} a command, "
        f"{counters.most_operations:,} at most"
    )
    yield (
        f"{'':38} waited for a take {fleet.traffic.waits / requests.total():.5f}, "
        f"over-admitted {over_admitted(fleet)}, {_windows(fleet)}, {seconds:.0f} s"
    )


def _ratio(first: int, length: int, requests: Counter[int], commands: Counter[int]) -> str:
    minutes = range(first * length, (first + 1) * length)
    return _ratio_of(_sum(requests, minutes), _sum(commands, minutes))


def _sum(counts: Counter[int], minutes: range | list[int]) -> int:
    return sum(counts[minute] for minute in minutes)


def _ratio_of(requests: int, commands: int) -> str:
    return f"{requests:9,} requests {commands:8,} commands {commands / max(1, requests):.4f}/request"


def over_admitted(fleet: Fleet) -> int:
    """Requests above the limits, of a minute or of a day."""
    days: Counter[tuple[int, int]] = Counter()
    over = 0
    for (tenant, minute), count in fleet.traffic.admitted.items():
        over += max(0, count - (fleet.tenants[tenant].limits.per_minute or count))
        days[tenant, minute * MINUTE // DAY] += count
    return over + sum(
        max(0, count - (fleet.tenants[tenant].limits.per_day or count)) for (tenant, _), count in days.items()
    )


def shares(fleet: Fleet) -> list[float]:
    """What was admitted of the limit, in each minute of a tenant whose demand reached it."""
    found = []
    for (tenant, minute), demand in fleet.traffic.demand.items():
        limit = fleet.tenants[tenant].limits.per_minute
        if limit is not None and demand >= limit:
            found.append(fleet.traffic.admitted[tenant, minute] / limit)
    return found


def _windows(fleet: Fleet) -> str:
    used = shares(fleet)
    lost = sum(
        demand - fleet.traffic.admitted[key]
        for key, demand in fleet.traffic.demand.items()
        if demand <= (fleet.tenants[key[0]].limits.per_minute or demand)
    )
    return (
        f"refused below a limit {lost}, windows at a limit {len(used)}, "
        f"used {sum(used) / max(1, len(used)):.4f} of it in the mean and {min(used, default=1):.4f} at least"
    )


def of_use(pattern: str, factor: int, fleet: Fleet) -> str:
    """One tenant's windows whose demand reached the limit."""
    limit, used = fleet.tenants[0].limits.per_minute, shares(fleet)
    commands = fleet.counters.commands.total() / len(fleet.traffic.demand)
    full = sum(share == 1 for share in used) / max(1, len(used))
    return (
        f"{pattern:24} demand {factor} x {limit:6}: {len(used):4} windows, mean {sum(used) / max(1, len(used)):.4f}, "
        f"least {min(used, default=1):.4f}, full {full:.3f}, below 0.9: {sum(share < 0.9 for share in used)}, "
        f"over {over_admitted(fleet)}, {commands:.1f} commands/minute"
    )
