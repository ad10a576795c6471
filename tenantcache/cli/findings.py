"""How a diagnosis is shown to a person: what is wrong first and in full, what is fine in a line each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tenantcache.budget.core.diagnosis import CHECKLISTS, Diagnosis
from tenantcache.budget.core.finding import Checklist, Finding, Severity
from tenantcache.budget.core.keytext import visible
from tenantcache.cli.keytables import STYLES

SIGNS = {Severity.OK: "✓", Severity.WARN: "▲", Severity.CRIT: "●"}
NAMES = {Severity.OK: "fine", Severity.WARN: "to look at", Severity.CRIT: "critical"}
QUIET = "dim"
TEXT_WIDTH = 90
"""Letters in a line that are easy to read."""
TOLD_IN_FULL = frozenset({"who-spends", "plan", "suspension", "budget", "blind-spots", "thresholds"})
"""Findings that tell something even if nothing is wrong."""


def render(diagnosis: Diagnosis, lists: Checklist, billed: int) -> Iterator[RenderableType]:
    if lists in CHECKLISTS:
        yield _checklist(diagnosis, lists)
        yield ""
    for finding in diagnosis.findings:
        if finding.severity is not Severity.OK:
            yield _in_full(finding)
            yield ""
    yield _in_short([finding for finding in diagnosis.findings if finding.severity is Severity.OK])
    if diagnosis.unknown:
        yield ""
        yield _unknown(diagnosis.unknown)
    yield ""
    yield summary(diagnosis, billed)


def _checklist(diagnosis: Diagnosis, lists: Checklist) -> RenderableType:
    found = {finding.id: finding.severity for finding in diagnosis.findings}
    grid = Table.grid(padding=(0, 1))
    for item, ids in CHECKLISTS[lists].items():
        severities = [found[name] for name in ids if name in found]
        if severities:
            worst = max(severities, key=lambda severity: severity.rank)
            grid.add_row(Text(SIGNS[worst], STYLES[worst]), Text(item))
        else:
            grid.add_row(Text("?", QUIET), Text(item, QUIET))
    return Padding(grid, (0, 0, 0, 2))


def _in_full(finding: Finding) -> RenderableType:
    style = STYLES[finding.severity]
    sign, title = (SIGNS[finding.severity], style), (visible(finding.title), f"bold {style}")
    head = Text.assemble(sign, " ", title, "  ", (finding.id, QUIET))
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(width=4)
    grid.add_column(max_width=TEXT_WIDTH)
    for label, text in (("", finding.evidence), ("why", finding.why), ("fix", finding.fix), ("more", finding.link)):
        grid.add_row("", Text(label, QUIET), Text(visible(text), QUIET if label == "more" else ""))
    return Group(head, grid)


def _in_short(findings: Sequence[Finding]) -> RenderableType:
    """Two in a line, and below them those that tell something even so."""
    brief = [finding for finding in findings if finding.id not in TOLD_IN_FULL]
    sign = Text(SIGNS[Severity.OK], STYLES[Severity.OK])
    pairs = Table.grid(padding=(0, 1))
    half = (len(brief) + 1) // 2
    for left, right in zip_longest(brief[:half], brief[half:]):
        pairs.add_row(sign, Text(f"{visible(left.title)}  "), *([sign, Text(visible(right.title))] if right else []))
    told = Table.grid(padding=(0, 1))
    for finding in findings:
        if finding.id in TOLD_IN_FULL:
            text = Text.assemble(visible(finding.title), "\n", (visible(finding.evidence), QUIET))
            told.add_row(sign, text)
    return Group(pairs, told)


def _unknown(lines: Sequence[str]) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    for line in lines:
        grid.add_row(Text("?", QUIET), Text(visible(line), QUIET))
    return grid


def summary(diagnosis: Diagnosis, billed: int) -> Text:
    counts = {severity: 0 for severity in reversed(Severity)}
    for finding in diagnosis.findings:
        counts[finding.severity] += 1
    told = Text()
    for severity, count in counts.items():
        told.append(f"{count} {NAMES[severity]}", STYLES[severity] if count else QUIET)
        told.append(" ").append("·", QUIET).append(" ")
    told.append(f"{len(diagnosis.unknown)} not known · {billed:,} billed commands", QUIET)
    return told
