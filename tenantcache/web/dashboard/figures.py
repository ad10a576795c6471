"""How numbers and times are written on a page. Times are UTC, as in logs."""

from __future__ import annotations

from datetime import UTC, datetime


def count(value: float) -> str:
    return f"{value:,.0f}"


def rate(per_second: float) -> str:
    """A rate by the second, with as many digits as say something."""
    if per_second == 0 or per_second >= 100:
        return f"{per_second:,.0f}"
    return f"{per_second:.1f}" if per_second >= 1 else f"{per_second:.2g}"


def share(part: float, whole: float) -> str:
    """A percentage that is 100 % or 0 % only if it is exactly that."""
    if not whole:
        return "–"
    percent = part / whole * 100
    if percent in (0, 100):
        return f"{percent:.0f} %"
    return f"{min(99.99, max(0.01, percent)):.{2 if percent > 99 or percent < 1 else 1}f} %"


def money(cost: float) -> str:
    return f"{cost:,.2f}" if cost >= 0.01 or cost == 0 else "under 0.01"


def span(seconds: float) -> str:
    """How long, roughly: 31 s, 40 min, 15 h, 3 days."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"


def clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"


def date(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%d %b %Y}"


def isotime(at: float) -> str:
    """For `<time datetime=...>`."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
