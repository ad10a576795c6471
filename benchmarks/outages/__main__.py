"""Takes the pictures of docs/outages.md and docs/dashboard.md again: `python -m benchmarks.outages`.

    python -m benchmarks.outages --keep DIRECTORY     keep what the run has recorded
    python -m benchmarks.outages --draw DIRECTORY     draw that again, without a run
    python -m benchmarks.outages --short ...          five minutes, to see that it runs; the pictures mean little

A run takes 32 minutes: alerts wait before they fire, and curves take time to fill. Chromium is the system's own, or the
one that $CHROMIUM names; `prometheus` is Debian's package.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from benchmarks.outages.alertchart import draw_alerts
from benchmarks.outages.pages import draw_pages
from benchmarks.outages.recording import Recording
from benchmarks.outages.run import IMAGES, LONG, SHORT, open_browser, run


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--draw", type=Path)
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory: Path = options.draw or options.keep or Path(temporary)
        if options.draw is None:
            await run(SHORT if options.short else LONG, directory)
        recording = Recording.load(directory)
        draw_alerts(recording, IMAGES / "outages-alerts.png")
        async with open_browser() as browser:
            await draw_pages(browser, recording, directory, IMAGES)


asyncio.run(main())
