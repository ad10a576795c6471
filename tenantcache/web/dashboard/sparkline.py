"""Curves and bars as SVG, made here: a page needs no script for them, and its policy allows no inline style."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from markupsafe import Markup

WIDTH, HEIGHT = 240.0, 40.0
"""Units of the drawing. The page stretches it."""


def sparkline(values: Sequence[float], label: str) -> Markup:
    """A curve over 0, the newest value at the right. `label` tells a screen reader what it shows."""
    highest = max(values, default=0.0) or 1.0
    step = WIDTH / max(1, len(values) - 1)
    points = [
        f"{place * step:.1f},{HEIGHT - 1 - value / highest * (HEIGHT - 4):.1f}" for place, value in enumerate(values)
    ]
    if len(points) < 2:
        points = [f"0,{HEIGHT - 1}", f"{WIDTH},{HEIGHT - 1}"]
    line = " ".join(points)
    return Markup(
        f'<svg class="spark" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" preserveAspectRatio="none" role="img"'
        f' aria-label="{escape(label)}">'
        f'<polygon points="0,{HEIGHT:g} {line} {WIDTH:g},{HEIGHT:g}"/>'
        f'<polyline points="{line}" vector-effect="non-scaling-stroke"/></svg>'
    )


def bar(share: float, kind: str = "") -> Markup:
    """A bar that is filled to `share`, 0.0 to 1.0. It says nothing that the text beside it does not say."""
    filled = min(1.0, max(0.0, share)) * 100
    return Markup(
        f'<svg class="bar {escape(kind)}" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="all" width="100" height="4"/><rect class="part" width="{filled:.1f}" height="4"/></svg>'
    )
