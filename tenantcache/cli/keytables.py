"""Shows a report of keys to a person. Keys and patterns are printed as they are, never as markup."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tenantcache.budget.core.expiry import Expiry
from tenantcache.budget.core.finding import Severity
from tenantcache.budget.core.keyreport import NO_TTL, Interval, KeyReport, PatternReport

MAX_PATTERN = 60
"""Characters."""

SHOWN_SHARE = 0.01
"""Smaller shares are left out of a line."""


def render_report(report: KeyReport, top: int) -> Iterator[RenderableType]:
    yield Text(headline(report), "bold")
    if not report.patterns:
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("pattern", overflow="fold", min_width=20)
    for name in ("keys", "between", "memory", "between"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("expires in", "type", "owner"):
        table.add_column(name, overflow="fold")
    for pattern in report.patterns[:top]:
        table.add_row(*_row(pattern))
    yield table
    if len(report.patterns) > top:
        yield Text(f"and {len(report.patterns) - top:,} more patterns (--top)", "dim")
    if report.largest:
        yield ""
        yield _largest(report)


def headline(report: KeyReport) -> str:
    sizes = [pattern.bytes for pattern in report.patterns if pattern.bytes is not None]
    memory = f", {human_bytes(sum(sizes))}" if sizes else ""
    seen = "all seen" if report.sampled >= report.keys else f"{report.sampled:,} of them seen"
    return f"{report.keys:,} keys{memory} ({seen}); {report.billed_commands:,} billed commands"


def _row(pattern: PatternReport) -> tuple[Text, ...]:
    known = pattern.bytes is not None and pattern.bytes_interval is not None
    return (
        Text(short(pattern.pattern)),
        Text(f"{pattern.keys:,}"),
        Text(_between(pattern.keys_interval), "dim"),
        Text(human_bytes(pattern.bytes) if known and pattern.bytes is not None else "?"),
        Text(" - ".join(map(human_bytes, pattern.bytes_interval)) if pattern.bytes_interval else "", "dim"),
        expires_in(pattern.ttl),
        Text(shares(pattern.types)),
        Text(pattern.owner or ""),
    )


def _between(interval: Interval) -> str:
    low, high = interval
    return "exact" if low == high else f"{low:,} - {high:,}"


def short(pattern: str) -> str:
    return pattern if len(pattern) <= MAX_PATTERN else f"{pattern[: MAX_PATTERN - 1]}…"


def expires_in(ttl: Mapping[str, float] | None) -> Text:
    """The shares of the steps, those without expiry in red."""
    if not ttl:
        return Text("?")
    never = ttl.get(NO_TTL, 0.0)
    others = {name: share for name, share in ttl.items() if name != NO_TTL}
    text = Text(f"never {percent(never)}" if never else "", "red")
    if never and others:
        text.append(", ")
    return text.append(shares(others), "default")


def shares(counted: Mapping[str, float] | None) -> str:
    kept = {name: share for name, share in (counted or {}).items() if share >= SHOWN_SHARE}
    return ", ".join(name if share == 1 else f"{name} {percent(share)}" for name, share in kept.items())


def percent(share: float) -> str:
    return f"{share:.0%}" if share >= SHOWN_SHARE else f"{share:.1%}"


STYLES = {Severity.OK: "green", Severity.WARN: "yellow", Severity.CRIT: "red"}


def render_expiry(report: KeyReport, found: Sequence[Expiry]) -> Iterator[RenderableType]:
    yield Text(headline(report), "bold")
    if not found:
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    table.add_column("pattern", overflow="fold", min_width=20)
    for name in ("keys", "never expire", "longest left", "guide"):
        table.add_column(name, justify="right", no_wrap=True)
    for expiry in found:
        table.add_row(
            Text(expiry.severity.value, STYLES[expiry.severity]),
            Text(short(expiry.pattern)),
            Text(f"{expiry.keys:,}"),
            Text("?" if expiry.without is None else percent(expiry.without) if expiry.without else "-"),
            Text("-" if expiry.longest is None else f"{expiry.longest:,} s"),
            Text("" if expiry.guide is None else " - ".join(f"{one:,}" for one in sorted(set(expiry.guide))) + " s"),
        )
    yield table
    # Below the table, because beside it there is no room in 80 columns.
    for expiry in found:
        if expiry.severity is not Severity.OK:
            yield Text.assemble(
                (expiry.severity.value, STYLES[expiry.severity]), f"  {short(expiry.pattern)}: ", expiry.says
            )


def _largest(report: KeyReport) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("largest of those asked", overflow="fold")
    table.add_column("memory", justify="right", no_wrap=True)
    table.add_column("type")
    table.add_column("expires")
    for key in report.largest[:10]:
        table.add_row(
            Text(key.key), human_bytes(key.bytes), Text(key.type), "never" if key.ttl is None else f"{key.ttl:,} s"
        )
    return table


def human_bytes(size: float) -> str:
    """Of 1,024 each, as Redis counts."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024:
            return f"{size:,.0f} {unit}" if unit == "B" or size >= 100 else f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TB"
