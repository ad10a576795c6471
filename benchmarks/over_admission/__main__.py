"""`python -m benchmarks.over_admission`: half an hour, mostly waiting; writes docs/over-admission.md."""

from __future__ import annotations

import argparse
import sys

from benchmarks.over_admission import faults, report
from benchmarks.over_admission.fleet import Fleet
from benchmarks.over_admission.plan import BELOW, TENANTS
from benchmarks.over_admission.scenes import MINUTES, STEPS, WORKERS, play


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-write", action="store_true", help="leave the documents as they are")
    parser.add_argument("--fault", type=int, help="only that one of the faults in faults.py, by its number from 0")
    options = parser.parse_args()
    if options.fault is not None:
        print(" | ".join(faults.row(faults.run_fault(faults.FAULTS[options.fault], say))))
        return 0
    with Fleet(WORKERS, TENANTS + BELOW) as fleet:
        run = play(fleet, STEPS, MINUTES, say)
        logs = [worker.log for worker in fleet.workers]
    outcomes = [faults.judge(faults.FIVE_MINUTES, run), *(faults.run_fault(one, say) for one in faults.FAULTS)]
    print(report.markdown(run, TENANTS, outcomes))
    if not options.no_write:
        report.write(run, TENANTS, outcomes)
    found = report.faults(run, TENANTS, outcomes)
    for fault in found:
        print(f"BROKEN: {fault}", file=sys.stderr)
    if found:
        print(*logs, sep="\n", file=sys.stderr)
    return 1 if found else 0


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
