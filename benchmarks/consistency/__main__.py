"""`python -m benchmarks.consistency`: play every fault, show the table, and write it into the documents."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from benchmarks.consistency import report
from benchmarks.consistency.faults import FAULTS, STALE_IF_ERROR_FAULT
from benchmarks.consistency.fleet import Fleet
from benchmarks.consistency.scene import Row, Scene
from benchmarks.pages import fill

ROOT = Path(__file__).parents[2]
WORKERS = 4
VALUE_WRITERS = 2
MAX_STALENESS = 3.0
SHORT_TTLS = {"MEMORY_TTL": "10", "NEGATIVE_TTL": "2", "COPY_TTL": "6"}
"""Seconds. The run outlasts each of them many times, so answers come from entries of every age. Not shorter: a reader
that waits for an entry to be read again sees nothing meanwhile."""

STRICT = {"STALE_IF_ERROR": "0", "MEMORY_MAX_TENANTS": "24", "VALUES_MAX_ENTRIES": "8", **SHORT_TTLS}
"""The memory holds half of the hosts and of the values, so that Redis is asked not only for what has changed."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", help="play only the faults whose names hold this text")
    parser.add_argument("--no-write", action="store_true", help="leave the documents as they are")
    options = parser.parse_args()
    names = [name for name in FAULTS if not options.only or options.only in name]
    print(f"seed {options.seed}", flush=True)
    rows = uvloop.run(_play(names, STRICT, options.seed))
    stale_names = [name for name in names if name == STALE_IF_ERROR_FAULT]
    stale = uvloop.run(_play(stale_names, SHORT_TTLS, options.seed)) if stale_names else []
    report.show(rows, f"{WORKERS} workers, max_staleness {MAX_STALENESS:g} s, stale_if_error 0")
    for row in stale:
        print(f"With the default stale_if_error, {row.fault}: {report.beyond(row, MAX_STALENESS)}")
    if not options.no_write and len(names) == len(FAULTS):
        _write(rows, stale[0] if stale else None)
    return _report_broken(rows, stale)


async def _play(names: Sequence[str], settings: dict[str, str], seed: int) -> list[Row]:
    rows = []
    with Fleet(WORKERS, {"MAX_STALENESS": str(MAX_STALENESS), **settings}) as fleet:
        async with Scene.opened(fleet, MAX_STALENESS, seed, value_writers=VALUE_WRITERS) as scene:
            for name in names:
                row = await scene.play(name, FAULTS[name])
                rows.append(row)
                print(
                    f"{name}: longest {row.verdict.longest:.3f} s, {row.verdict.checked} answers, {row.seconds:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
    return rows


def _write(rows: Sequence[Row], stale: Row | None) -> None:
    text = report.markdown(rows, stale, WORKERS, MAX_STALENESS)
    for path in (ROOT / "docs" / "consistency.md", ROOT / "README.md"):
        fill(path, "consistency", text)
        print(f"written into {path.relative_to(ROOT)}")
    (Path(__file__).parent / "results.json").write_text(
        report.as_json(rows, stale, MAX_STALENESS) + "\n", encoding="utf-8"
    )


def _report_broken(rows: Sequence[Row], stale: Sequence[Row]) -> int:
    broken = [(row, fault) for row in rows for fault in report.faults_of(row, MAX_STALENESS)]
    # What is chosen to be stale may be stale, and nothing else.
    broken += [(row, fault) for row in stale for fault in report.faults_of(row, float("inf"))]
    for row, fault in broken:
        print(f"BROKEN, {row.fault}: {fault}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
