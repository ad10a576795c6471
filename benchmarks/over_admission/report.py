"""The tables: on the terminal, in docs/over-admission.md, and as JSON beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.over_admission.faults import HEADINGS as OUTCOME_HEADINGS
from benchmarks.over_admission.faults import Outcome, row
from benchmarks.over_admission.fleet import GENERATORS
from benchmarks.over_admission.plan import TenantLoad
from benchmarks.over_admission.scenes import FLUSH_MINUTE, WORKERS, Run
from benchmarks.pages import fill, table

HEADINGS = ("limit a minute", "offered a minute", "admitted, by minute", "most", "over", "use of the limit")
DOCUMENT = Path(__file__).parents[2] / "docs" / "over-admission.md"
RESULTS = Path(__file__).parent / "results.json"

HAPPENS = (
    "Redis counts; three workers are killed and start again; at 0:40 Redis is killed",
    "Postgres counts; at 1:10 Redis is there again, and empty; at 1:30 a worker is killed",
    "Postgres counts, until no process has reported Redis as unavailable for a minute",
    "Redis counts again",
    "Redis counts; at 4:20 it is flushed (FLUSHALL)",
)


def rows(run: Run, tenants: Sequence[TenantLoad], minutes: Sequence[int]) -> list[list[str]]:
    found = []
    for tenant in tenants:
        counts = run.counts[tenant.name]
        admitted = [counts.admitted[run.first + minute] for minute in minutes]
        found.append(
            [
                f"{tenant.limit:,}",
                f"{round(sum(counts.offered[run.first + minute] for minute in minutes) / len(minutes)):,}",
                ", ".join(f"{count:,}" for count in admitted),
                f"{max(admitted):,}",
                f"{counts.over(tenant.limit, [run.first + minute for minute in minutes]):,}",
                ", ".join(f"{count / tenant.limit:.0%}" for count in admitted),
            ]
        )
    return found


def markdown(run: Run, tenants: Sequence[TenantLoad], outcomes: Sequence[Outcome]) -> str:
    calm = range(FLUSH_MINUTE)
    lines = [
        f"{WORKERS} uvicorn workers and {GENERATORS} load generators, one Postgres, one Redis. Admitted requests are",
        "counted from the workers' own answers, by the minute of the database server's clock.",
        "",
        table(("minute", "what happens", "counted in, as the workers said at its end"), _minutes(run), left=3),
        "",
        f"Minutes 0 to {FLUSH_MINUTE - 1}:",
        "",
        table(HEADINGS, rows(run, tenants, calm), left=0),
        "",
        f"Minute {FLUSH_MINUTE}, with the FLUSHALL. The promised bound is one more limit in that minute:",
        "",
        table(HEADINGS, rows(run, tenants, [FLUSH_MINUTE]), left=0),
        "",
        _remainder(run, tenants),
        "",
        "Each fault below has a fleet of its own. For tenants at their limits the table shows the largest part of a",
        "limit that was admitted in a minute. It also shows what was above the bound. Other tenants stay below their",
        "limits, so each refusal of theirs is wrong. The table shows how many there were, and for how long at most.",
        "",
        table(OUTCOME_HEADINGS, [row(outcome) for outcome in outcomes]),
    ]
    return "\n".join(lines)


def _minutes(run: Run) -> list[list[str]]:
    stores = [run.stores[run.first + minute] for minute in range(len(HAPPENS))]
    return [
        [str(minute), happens, ", ".join(sorted({str(store) for store in stores[minute]}))]
        for minute, happens in enumerate(HAPPENS)
    ]


def _remainder(run: Run, tenants: Sequence[TenantLoad]) -> str:
    unsure = {tenant.limit: sum(run.counts[tenant.name].unsure.values()) for tenant in tenants}
    lost = {tenant.limit: sum(run.counts[tenant.name].lost.values()) for tenant in tenants}
    return (
        "Left out are requests that were admitted while a minute began, because they may belong to either ("
        + ", ".join(f"{count:,} at {limit:,}" for limit, count in unsure.items())
        + "). So are requests that a killed worker did not answer ("
        + ", ".join(f"{count:,} at {limit:,}" for limit, count in lost.items())
        + ")."
    )


def faults(run: Run, tenants: Sequence[TenantLoad], outcomes: Sequence[Outcome]) -> list[str]:
    """What broke a promise, a line each."""
    found = [f"{one.fault.name}: {one.over} over the bound" for one in outcomes if one.over]
    for tenant in tenants:
        counts = run.counts[tenant.name]
        calm = [run.first + minute for minute in range(FLUSH_MINUTE)]
        if over := counts.over(tenant.limit, calm):
            found.append(f"limit {tenant.limit}: {over} over in a minute")
        if over := counts.over(2 * tenant.limit, [run.first + FLUSH_MINUTE]):
            found.append(f"limit {tenant.limit}: {over} over the bound after the FLUSHALL")
        if max(counts.admitted[minute] for minute in calm) < 0.9 * tenant.limit:
            found.append(f"limit {tenant.limit}: it was never reached, which proves nothing")
    expected = ["postgres", "postgres", "redis", "redis"]
    for minute, store in enumerate(expected, start=1):
        if set(run.stores[run.first + minute]) != {store}:
            found.append(f"minute {minute} was counted in {run.stores[run.first + minute]} instead of {store}")
    return found


def write(run: Run, tenants: Sequence[TenantLoad], outcomes: Sequence[Outcome]) -> None:
    fill(DOCUMENT, "over-admission", markdown(run, tenants, outcomes))
    found = {tenant.name: {"limit": tenant.limit, **run.counts[tenant.name].as_json()} for tenant in tenants} | {
        "first_minute": run.first,
        "stores": run.stores,
        "faults": [row(outcome) for outcome in outcomes],
    }
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
