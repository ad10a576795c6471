"""The table: on the terminal, in the documents, as JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.consistency.faults import FAULTS
from benchmarks.consistency.judge import Verdict
from benchmarks.consistency.scene import Row
from benchmarks.pages import table

CALM = next(iter(FAULTS))
P99_BOUND = 0.010
TABLE_WIDTH = 100
HEADINGS = ("fault", "p50", "p99", "longest", "at most", "commits", "answers", "503", "lost")
"""Times in milliseconds. What they mean stands in `judge.py` and in docs/consistency.md."""


def faults_of(row: Row, bound: float) -> list[str]:
    """What is wrong with a row, a line each; [] if every promise was kept."""
    found = _faults_of(row.verdict, bound, is_calm=row.fault == CALM)
    if row.values is not None:
        found += [f"values: {fault}" for fault in _faults_of(row.values, bound, is_calm=row.fault == CALM)]
    if not row.agreed:
        found.append("the workers did not come to agree once the writers were quiet")
    return found


def _faults_of(verdict: Verdict, bound: float, *, is_calm: bool) -> list[str]:
    found = []
    if verdict.longest >= bound:
        found.append(f"an answer was {verdict.longest:.2f} s out of date; {bound:g} s are promised")
    if not verdict.latenesses or not verdict.checked:
        found.append("nothing was measured: no worker answered right after a commit")
    if is_calm:
        if verdict.percentile(99) >= P99_BOUND:
            found.append(
                f"p99 is {verdict.percentile(99) * 1e3:.1f} ms; less than {P99_BOUND * 1e3:.0f} ms are promised"
            )
        if verdict.unavailable or verdict.unanswered:
            found.append(f"{verdict.unavailable + verdict.unanswered} requests failed, and nothing was wrong")
    if verdict.wrong_count:
        found += [f"{verdict.wrong_count} answers were never true, such as:", *verdict.wrong]
    if verdict.backwards_count:
        found += [f"{verdict.backwards_count} answers were older than one before, such as:", *verdict.backwards]
    return found


def _cells(fault: str, commits: int, verdict: Verdict) -> list[str]:
    return [
        fault,
        _ms(verdict.percentile(50)),
        _ms(verdict.percentile(99)),
        _ms(verdict.longest),
        _ms(verdict.longest_upper),
        f"{commits:,}",
        f"{verdict.checked:,}",
        f"{verdict.unavailable:,}",
        f"{verdict.unanswered:,}",
    ]


def _ms(seconds: float) -> str:
    milliseconds = seconds * 1e3
    return f"{milliseconds:,.0f}" if milliseconds >= 100 else f"{milliseconds:.1f}"


def beyond(row: Row, bound: float) -> str:
    """One sentence: what `stale_if_error` let through."""
    verdict = row.verdict
    if not verdict.beyond:
        return f"No answer was {bound:g} s out of date or more."
    return (
        f"{len(verdict.beyond):,} of {verdict.checked:,} answers were {bound:g} s out of date or more, over "
        f"{row.beyond_span:.1f} s. The oldest was {verdict.longest:.1f} s out of date. "
        f"{verdict.unavailable:,} requests got 503."
    )


def show(rows: Sequence[Row], title: str) -> None:
    _show([_cells(row.fault, row.commits, row.verdict) for row in rows], title)
    _show(_cells_of_values(rows), "values and tags")


def _cells_of_values(rows: Sequence[Row]) -> list[list[str]]:
    return [_cells(row.fault, row.value_commits, row.values) for row in rows if row.values is not None]


def _show(rows: Sequence[Sequence[str]], title: str) -> None:
    shown = Table(*HEADINGS, title=title, box=box.SIMPLE)
    shown.columns[0].no_wrap = True
    for column in shown.columns[1:]:
        column.justify = "right"
    for cells in rows:
        shown.add_row(*cells)
    console = Console()
    # A log has 80 columns for rich; names that are cut off are worse than lines that are.
    console.print(shown, width=max(console.width, TABLE_WIDTH), crop=False)


def markdown(rows: Sequence[Row], served_stale: Row | None, workers: int, bound: float) -> str:
    lines = [
        f"{workers} uvicorn workers with a real Postgres and a real Redis behind a proxy, `max_staleness` {bound:g} s, "
        "`stale_if_error` 0. Times are in milliseconds:",
        "",
        table(HEADINGS, [_cells(row.fault, row.commits, row.verdict) for row in rows]),
    ]
    if of_values := _cells_of_values(rows):
        lines += ["", "Values and tags of an application, in the same run:", "", table(HEADINGS, of_values)]
    if served_stale is not None:
        lines += ["", f"With the default `stale_if_error`, {served_stale.fault}: {beyond(served_stale, bound)}"]
    return "\n".join(lines)


def as_json(rows: Sequence[Row], served_stale: Row | None, bound: float) -> str:
    return json.dumps(
        {
            "python": platform.python_version(),
            "max_staleness": bound,
            "rows": [_row_json(row) for row in rows],
            "stale_if_error": None if served_stale is None else _row_json(served_stale),
        },
        indent=1,
    )


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "fault": row.fault,
        "seconds": round(row.seconds, 1),
        "commits": row.commits,
        **_verdict_json(row.verdict),
        "beyond_span": round(row.beyond_span, 2),
        "agreed": row.agreed,
        "values": None if row.values is None else {"commits": row.value_commits, **_verdict_json(row.values)},
    }


def _verdict_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "pairs": len(verdict.latenesses),
        "p50": round(verdict.percentile(50), 5),
        "p99": round(verdict.percentile(99), 5),
        "longest": round(verdict.longest, 5),
        "longest_at_most": round(verdict.longest_upper, 5),
        "checked": verdict.checked,
        "unavailable": verdict.unavailable,
        "unanswered": verdict.unanswered,
        "never_true": verdict.wrong_count,
        "backwards": verdict.backwards_count,
        "beyond_bound": len(verdict.beyond),
    }
