"""`python -m benchmarks.over_admission`: six minutes, mostly waiting; writes its tables into docs/over-admission.md."""

from __future__ import annotations

import argparse
import sys

from benchmarks.over_admission import report
from benchmarks.over_admission.fleet import Fleet
from benchmarks.over_admission.plan import TENANTS
from benchmarks.over_admission.scenes import MINUTES, STEPS, WORKERS, play


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-write", action="store_true", help="leave the documents as they are")
    options = parser.parse_args()
    with Fleet(WORKERS, TENANTS) as fleet:
        run = play(fleet, STEPS, MINUTES, lambda text: print(text, file=sys.stderr, flush=True))
        logs = [worker.log for worker in fleet.workers]
    print(report.markdown(run, TENANTS))
    if not options.no_write:
        report.write(run, TENANTS)
    faults = report.faults(run, TENANTS)
    for fault in faults:
        print(f"BROKEN: {fault}", file=sys.stderr)
    if faults:
        print(*logs, sep="\n", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
