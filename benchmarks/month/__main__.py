"""A month in the life of four fleets, in virtual time; writes docs/bill.md and the README's table.

python -m benchmarks.month
python -m benchmarks.month --fleet hobby --fleet startup --no-write
python -m benchmarks.month --short
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.month import report
from benchmarks.month.fleets import FLEETS
from benchmarks.month.run import SHORTLY, Options, simulate
from tenantcache.settings.model import Settings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fleet", action="append", choices=FLEETS, help="only that one; may be given again")
    parser.add_argument("--one-plan", action="store_true", help="every tenant has 600 a minute and 100,000 a day")
    parser.add_argument("--warm-up", action=argparse.BooleanOptionalAction, help="fill memory at the start, or do not")
    parser.add_argument("--workers", type=int, help="of this machine's cores; all of them by default")
    parser.add_argument("--short", action="store_true", help="see that it runs: its figures mean nothing")
    parser.add_argument("--no-write", action="store_true", help="leave the documents as they are")
    options = parser.parse_args()
    names = options.fleet or (["hobby"] if options.short else list(FLEETS))
    how = Options(
        warm_up=bool(Settings.model_fields["warm_up"].default) if options.warm_up is None else options.warm_up,
        one_plan=options.one_plan,
        part=SHORTLY if options.short else 1.0,
    )
    months = simulate(names, how, workers=options.workers, say=lambda text: print(text, file=sys.stderr, flush=True))
    print(report.headline(months), report.document(months), sep="\n\n")
    if not (options.fleet or options.short or options.one_plan or options.no_write):
        report.write(months)
    found = report.faults(months)
    for fault in found:
        print(f"BROKEN: {fault}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
