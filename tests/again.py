"""Run anew, one at a time, the few tests that failed among others: `python -m tests.again`, after a run of pytest.

Hundreds of tests start servers and processes of their own, on processors that others use as well. One that fails among
them and passes alone is still at fault: it depends on how fast a machine is. It is named, so that it is mended, but it
does not hold up a change that has nothing to do with it. More than a few failures do not come from a busy machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FAILED = Path(__file__).parents[1] / ".pytest_cache/v/cache/lastfailed"
AT_MOST = 3


def main() -> int:
    failed = sorted(json.loads(FAILED.read_text())) if FAILED.exists() else []
    if not failed or len(failed) > AT_MOST:
        print(f"{len(failed)} tests failed; between 1 and {AT_MOST} would be run again, one at a time")
        return 1
    status = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:xdist", *failed], check=False).returncode
    if status == 0:
        print(
            "Failed among others, passed alone: mend what depends on how fast a machine is:",
            *failed,
            sep="\n  ",
        )
    return status


if __name__ == "__main__":
    raise SystemExit(main())
