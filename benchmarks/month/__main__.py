"""A month in the life of four fleets, in virtual time; writes docs/bill.md and the README's table.

python -m benchmarks.month
python -m benchmarks.month --fleet hobby --fleet startup --no-write
python -m benchmarks.month --short
"""

from __future__ import annotations

import argparse
import gc
import sys

from benchmarks.month import report
from benchmarks.month.bill import WEIGHTS
from benchmarks.month.fleets import FLEETS
from benchmarks.month.run import PROCESSES, simulate
from tenantcache.settings.model import Settings

SHORT_HOURS = 0.5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fleet", action="append", choices=FLEETS, help="only that one; may be given again")
    parser.add_argument("--days", type=int, default=len(WEIGHTS), help=f"only the first ones of {', '.join(WEIGHTS)}")
    parser.add_argument("--hours", type=float, default=24.0, help="of each day, from midnight")
    parser.add_argument("--processes", type=int, nargs="*", default=PROCESSES, help="sizes to compare on a usual day")
    parser.add_argument("--one-plan", action="store_true", help="every tenant has 600 a minute and 100,000 a day")
    parser.add_argument("--warm-up", action=argparse.BooleanOptionalAction, help="fill memory at the start, or do not")
    parser.add_argument("--short", action="store_true", help="see that it runs: its figures mean nothing")
    parser.add_argument("--no-write", action="store_true", help="leave the documents as they are")
    options = parser.parse_args()
    gc.disable()  # reservations are many, and in no circles
    warm_up = bool(Settings.model_fields["warm_up"].default) if options.warm_up is None else options.warm_up
    months = [
        simulate(
            name,
            kinds=tuple(WEIGHTS)[: options.days],
            hours=SHORT_HOURS if options.short else options.hours,
            processes=() if options.short else options.processes,
            warm_up=warm_up,
            one_plan=options.one_plan,
            say=lambda text: print(text, file=sys.stderr, flush=True),
        )
        for name in options.fleet or (["hobby"] if options.short else FLEETS)
    ]
    print(report.headline(months), report.document(months), sep="\n\n")
    is_whole = not (options.fleet or options.short or options.one_plan) and options.days >= len(WEIGHTS)
    if is_whole and options.hours == 24 and not options.no_write:
        report.write(months)
    found = report.faults(months)
    for fault in found:
        print(f"BROKEN: {fault}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
