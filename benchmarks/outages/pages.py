"""The dashboard and the log as pictures: HTML that Chromium draws."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from html import escape
from pathlib import Path

from playwright.async_api import Browser

from benchmarks.outages.recording import LogLine, Outage, Recording

STYLE = """
    * { box-sizing: border-box; margin: 0; }
    body { font: 15px/1.4 "DejaVu Sans", sans-serif; color: #14181f; background: #fff; padding: 20px; }
    h1 { font-size: 17px; margin: 0 0 12px; } h1 i { color: #b91c1c; font-style: normal; }
    .outage { border: 1px solid #dfe3e8; border-radius: 10px; padding: 16px; margin-bottom: 18px; background: #f7f8fa; }
    .outage:last-child { margin-bottom: 0; }
    .part { display: grid; grid-template-columns: 1fr 250px; gap: 14px; align-items: center; margin-bottom: 12px; }
    .part img { width: 100%; display: block; }
    .part p { font-size: 14px; color: #1f4b99; border-left: 3px solid #1f5fbf; padding-left: 10px; }
    .phase { display: grid; grid-template-columns: 1fr 240px; border-left: 8px solid #0b6e47; margin-bottom: 10px; }
    .phase.bad { border-left-color: #c0392b; }
    .phase > div { padding: 8px 12px; background: #f7f8fa; min-width: 0; }
    .phase.bad > div { background: #fdf2f1; }
    .phase p { font-size: 14px; color: #1f4b99; padding: 8px 12px; border-left: 3px solid #1f5fbf; }
    h2 { font-size: 15px; margin-bottom: 6px; }
    table { border-collapse: collapse; font: 12.5px/1.4 "DejaVu Sans Mono", monospace; }
    td { padding: 2px 10px 2px 0; vertical-align: top; }
    td:first-child { text-align: right; white-space: nowrap; color: #57606d; }
    .INFO { color: #0b6e47; } .WARNING { color: #a15c00; } .ERROR { color: #b3261e; font-weight: bold; }
"""

SAID = {
    "redis": {
        "notices": "What is wrong, what it means, and when it ends by itself.",
        "traffic": "Requests go on as before. Redis gets no more commands. Tenants are found in memory.",
        "events": "Each step, with its time and its reason. Both processes saw it.",
    },
    "postgres": {
        "notices": "Since when, and for how long known tenants are still served.",
        "traffic": "Requests go on. Postgres is tried again, in vain: these are the lookups outside memory.",
        "events": "The outage before is still told, and how it ended.",
    },
}

NOTES = {
    "start": "One line says what a healthy process stands on.",
    "redis stopped": "Tokens that are held go on being spent. All processes agree to count in Postgres, so no limit is"
    " exceeded.",
    "redis started": "Redis has to answer every process for a minute. Then limits go back to it, all at once.",
    "postgres stopped": "Known tenants are served as they were. That ends after five minutes: then the engine is lost,"
    " and requests get 503.",
    "postgres started": "Changes are followed again, and memory is fresh. Nothing was restarted.",
}


async def draw_pages(browser: Browser, recording: Recording, directory: Path, images: Path) -> None:
    await _shoot(browser, _dashboard(recording, directory), 1120, images / "outages-dashboard.png")
    await _shoot(browser, _log(recording), 1120, images / "outages-log.png")


async def _shoot(browser: Browser, body: str, width: int, path: Path) -> None:
    page = await browser.new_page(viewport={"width": width, "height": 600}, device_scale_factor=1.25)
    await page.set_content(f"<!doctype html><meta charset=utf-8><style>{STYLE}</style>{body}")
    await page.screenshot(path=path, full_page=True)
    await page.close()


def _dashboard(recording: Recording, directory: Path) -> str:
    return "".join(_dashboard_in(recording, outage, directory) for outage in recording.outages)


def _dashboard_in(recording: Recording, outage: Outage, directory: Path) -> str:
    seconds = recording.shots[outage.store] - outage.begin
    head = f"<h1>The dashboard, {seconds:.0f} seconds after <i>{outage.store.capitalize()} was stopped</i></h1>"
    parts = [
        f'<div class="part"><img src="data:image/png;base64,{_picture(directory / f"{outage.store}-{name}.png")}">'
        f"<p>{escape(text)}</p></div>"
        for name, text in SAID[outage.store].items()
    ]
    return f'<div class="outage">{head}{"".join(parts)}</div>'


def _picture(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _log(recording: Recording) -> str:
    """That of one process."""
    process = min(line.process for line in recording.log)
    lines = [line for line in recording.log if line.process == process]
    phases = list(_phases(recording))
    ends = [begin for _, begin in phases[1:]] + [recording.end]
    head = "<h1>The log of one process. Times are since each of the headings.</h1>"
    return head + "".join(
        _phase(name, begin, [line for line in lines if begin <= line.at < end])
        for (name, begin), end in zip(phases, ends, strict=True)
    )


def _phases(recording: Recording) -> Iterator[tuple[str, float]]:
    yield "start", recording.begin - 60
    for outage in recording.outages:
        yield f"{outage.store} stopped", outage.begin
        yield f"{outage.store} started", outage.end


def _phase(name: str, begin: float, lines: list[LogLine]) -> str:
    store, _, what = name.partition(" ")
    title = f"{store.capitalize()} is {what}" if what else "The application starts"
    rows = "".join(
        f'<tr><td>{_after(line.at - begin) if what else ""}</td><td class="{line.level}">{line.level}</td>'
        f"<td>{escape(line.text)}</td></tr>"
        for line in lines
    )
    kind = "phase bad" if what == "stopped" else "phase"
    return f'<div class="{kind}"><div><h2>{title}</h2><table>{rows}</table></div><p>{escape(NOTES[name])}</p></div>'


def _after(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
