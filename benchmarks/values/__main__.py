"""`python -m benchmarks.values`: measure values beside the alternatives; writes docs/values-benchmarks.md."""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.bench import machine
from benchmarks.bench.stores import Stores
from benchmarks.pages import fill
from benchmarks.values import measures, report
from benchmarks.values.contenders import CONTENDERS
from benchmarks.values.memories import MEMORIES, hit_rate

PAGE = Path(__file__).parents[2] / "docs" / "values-benchmarks.md"


@dataclass(frozen=True)
class Plan:
    rounds: int = 7
    hits: int = 3_000
    callers: int = 1_000
    updates: int = 5
    stale_seconds: float = 1.0
    entries: int = 5_000
    requests: int = 400_000
    keys: int = 20_000


SHORT = Plan(rounds=1, hits=50, callers=50, updates=1, stale_seconds=0.05, entries=100, requests=4_000, keys=1_000)


async def measure(stores: Stores, plan: Plan, bar: Progress) -> dict[str, Any]:
    found: dict[str, Any] = {"machine": machine.describe(), "contenders": {}}
    total = plan.rounds + 4 * len(CONTENDERS) + len(MEMORIES)
    task = bar.add_task("values", total=total)

    def tick() -> None:
        bar.advance(task)

    found["hits"] = await measures.hit_cost(stores, CONTENDERS, plan.rounds, plan.hits, tick)
    for contender in CONTENDERS:
        one: dict[str, Any] = {"holds": contender.holds, "tells": contender.tells}
        one["commands"] = await measures.commands(stores, contender)
        tick()
        one["stampede"] = await measures.stampede(stores, contender, plan.callers)
        tick()
        one["staleness"] = await measures.staleness(stores, contender, plan.updates, plan.stale_seconds)
        tick()
        one["bytes"] = await measures.memory(stores, contender, plan.entries)
        tick()
        found["contenders"][contender.name] = one
    traces = measures.traces(Random(1), plan.requests, plan.keys)
    found["hit_rates"] = {}
    for name, build in MEMORIES.items():
        size = plan.keys // 100
        found["hit_rates"][name] = {trace: hit_rate(build, keys, size) for trace, keys in traces.items()}
        tick()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="see that everything runs; the figures mean nothing")
    parser.add_argument("--into", type=Path, help="a file for the results as JSON, in place of the document")
    options = parser.parse_args()
    console = Console()
    columns = (TextColumn("{task.description:12}"), BarColumn(40), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar, Stores(10) as stores:
        found = asyncio.run(measure(stores, SHORT if options.short else Plan(), bar))
    console.print(Markdown(report.document(found)))
    if options.into is not None:
        options.into.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    elif not options.short:
        fill(PAGE, "bench", report.document(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
