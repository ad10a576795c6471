"""`python -m benchmarks.bench`: measure all parts, show a table, write docs/benchmarks.md, the plots and the README."""

from __future__ import annotations

import argparse
import json
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import uvloop
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.bench import coldstart, commands, http, inprocess, machine, plots, report, scale, staleness
from benchmarks.bench.contenders import CONTENDERS, LEFT_OUT, OURS
from benchmarks.bench.plan import FULL, SHORT, Plan
from benchmarks.bench.stores import Stores
from benchmarks.pages import fill

ROOT = Path(__file__).parents[2]

# What counts and does not time comes last.
PARTS = ("cost", "http", "scale", "staleness", "coldstart", "commands")
TITLES = {
    "cost": "cost per request in process",
    "http": "requests/s over HTTP",
    "scale": "100 to 1,000,000 tenants",
    "staleness": "an update under load",
    "coldstart": "cold start of four workers",
    "commands": "billed Redis commands",
}


class Run:
    """One run of the parts that were asked for. `results` grows part by part."""

    def __init__(self, plan: Plan, parts: list[str], seed: int, progress: Progress) -> None:
        self.plan = plan
        self.parts = parts
        self.random = Random(seed)
        self.progress = progress
        self.failed: list[str] = []
        self.results: dict[str, Any] = {
            "machine": machine.describe(),
            "contenders": {c.name: {"job": c.job, "on_redis": c.on_redis, "set_up": c.set_up} for c in CONTENDERS},
            "left_out": LEFT_OUT,
        }

    def run(self) -> None:
        started = time.monotonic()
        with Stores(max(self.plan.zipf_tenants, self.plan.cold_tenants, inprocess.BUSY_TENANTS)) as stores:
            for part in self.parts:
                try:
                    getattr(self, f"_{part}")(stores)
                except Exception:
                    # The other parts have taken minutes: they are shown and kept.
                    self.progress.console.print(f"{TITLES[part]} failed:\n{traceback.format_exc()}", markup=False)
                    self.failed.append(part)
        self.results["seconds"] = round(time.monotonic() - started)

    @contextmanager
    def _bar(self, part: str, steps: int) -> Iterator[Callable[[], None]]:
        task = self.progress.add_task(TITLES[part], total=steps)
        yield lambda: self.progress.advance(task)
        self.progress.update(task, completed=steps)

    def _cost(self, stores: Stores) -> None:
        with self._bar("cost", self.plan.cost_rounds) as tick:
            self.results["cost"] = uvloop.run(inprocess.measure(stores, CONTENDERS, self.plan, self.random, tick))

    def _http(self, stores: Stores) -> None:
        with self._bar("http", self.plan.http_rounds + 1) as tick:
            self.results["http"] = http.measure(stores, CONTENDERS, self.plan, self.random, tick)

    def _scale(self, _stores: Stores) -> None:
        with self._bar("scale", len(self.plan.scale_sizes) + 1) as tick:
            self.results["scale"] = scale.measure(self.plan, self.random, tick)

    def _staleness(self, _stores: Stores) -> None:
        if self.plan.staleness:
            with self._bar("staleness", 1):
                self.results["staleness"] = staleness.measure()

    def _coldstart(self, stores: Stores) -> None:
        with self._bar("coldstart", len(coldstart.VARIANTS)) as tick:
            self.results["coldstart"] = coldstart.measure(stores, self.plan, tick)

    def _commands(self, stores: Stores) -> None:
        with self._bar("commands", 5) as tick:
            on_redis = [contender for contender in CONTENDERS if contender.on_redis]
            found: dict[str, Any] = {"alternatives": uvloop.run(commands.of_alternatives(stores, on_redis, self.plan))}
            tick()
            found[OURS] = commands.of_ours(stores, self.plan, tick) | {
                "per_denied": uvloop.run(commands.denied_by_ours(stores, self.plan))
            }
            tick()
            if self.plan.simulate:  # not beside the others: four processes on two cores need what there is
                found["simulated_minute"] = commands.simulated(1 / 60)
                found["simulated"] = commands.simulated(1)
            tick()
            self.results["commands"] = found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="see that everything runs; the figures mean nothing")
    parser.add_argument("--only", help=f"parts to measure, comma-separated: {', '.join(PARTS)}")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the order of the contenders")
    parser.add_argument("--into", type=Path, help="a directory for everything, in place of the documents")
    parser.add_argument("--render", action="store_true", help="measure nothing; write the documents from the results")
    options = parser.parse_args()
    parts = options.only.split(",") if options.only else list(PARTS)
    if unknown := set(parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    results_file = (options.into or ROOT / "docs" / "bench") / "results.json"
    console = Console()
    failed: list[str] = []
    if options.render:
        results = json.loads(results_file.read_text(encoding="utf-8"))
    else:
        columns = (TextColumn("{task.description:32}"), BarColumn(40), TimeElapsedColumn())
        with Progress(*columns, console=console) as progress:
            run = Run(SHORT if options.short else FULL, parts, options.seed, progress)
            run.run()
        results, failed = run.results, run.failed
    complete = all(part in results for part in PARTS)
    console.print(Markdown(report.document(results)))
    for fault in (faults := report.faults(results)):
        console.print(f"FAILED: {fault}", markup=False)
    if options.into is None and not complete:
        kept = results_file.with_name("incomplete.json")
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        console.print(f"Not all parts were measured: the documents stay as they are, and the figures are in {kept}.")
        return 1 if failed or faults else 0
    _write(results, options.into, results_file)
    return 1 if failed or faults else 0


def _write(results: dict[str, Any], into: Path | None, results_file: Path) -> None:
    results_file.parent.mkdir(parents=True, exist_ok=True)
    results_file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    plots.draw(results, results_file.parent)
    if into is not None:
        (into / "benchmarks.md").write_text(report.document(results) + "\n", encoding="utf-8")
        return
    fill(ROOT / "docs" / "benchmarks.md", "bench", report.document(results))
    fill(ROOT / "README.md", "bench", report.summary_table(results))


if __name__ == "__main__":
    raise SystemExit(main())
