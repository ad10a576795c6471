"""(f) An update under load: how long after a commit the last stale answer came, over four workers.

It is the undisturbed row of `make consistency`, which has the faults as well; docs/consistency.md says what counts.
"""

from __future__ import annotations

from typing import Any

import uvloop

from benchmarks.consistency.faults import FAULTS
from benchmarks.consistency.fleet import Fleet
from benchmarks.consistency.scene import Scene

WORKERS = 4
MAX_STALENESS = 3.0
CALM = next(iter(FAULTS))


def measure() -> dict[str, Any]:
    """Seconds by percentile, with how many answers and commits they come from."""
    return uvloop.run(_measure())


async def _measure() -> dict[str, Any]:
    with Fleet(WORKERS, {"MAX_STALENESS": str(MAX_STALENESS)}) as fleet:
        async with Scene.opened(fleet, MAX_STALENESS, seed=1) as scene:
            row = await scene.play(CALM, FAULTS[CALM])
    verdict = row.verdict
    return {
        "workers": WORKERS,
        "seconds": row.seconds,
        "commits": row.commits,
        "answers": verdict.checked,
        **{f"p{share}": verdict.percentile(share) for share in (50, 90, 99)},
        "longest": verdict.longest,
        "wrong": verdict.wrong_count,
    }
