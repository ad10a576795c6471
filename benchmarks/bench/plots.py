"""The plots, as SVG and PNG: one idea each, to be put on a slide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams["svg.hashsalt"] = "tenantcache"  # the same figures make the same file

from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.ticker import FuncFormatter, NullLocator  # noqa: E402
from matplotlib.typing import RcKeyType  # noqa: E402

from benchmarks.bench.contenders import OURS  # noqa: E402
from benchmarks.bench.report import commands_per_request  # noqa: E402

OURS_COLOUR, PLAIN_COLOUR, OTHERS_COLOUR, TEXT = "#2563eb", "#94a3b8", "#f59e0b", "#1f2937"
STYLE: dict[RcKeyType, str | int | bool] = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#cbd5e1",
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "svg.fonttype": "path",
}
Bar = tuple[str, float, float, float]
"""Name, value, and the quartiles around it."""


def draw(results: dict[str, Any], directory: Path) -> None:
    """Write a plot for each part that was measured."""
    with plt.rc_context(STYLE):
        for part, plot in PLOTS.items():
            if part in results:
                plot(results, directory)


def _cost(results: dict[str, Any], directory: Path) -> None:
    bars = [_bar(name, found["added"]) for name, found in results["cost"].items() if _is_shown(results, name, "floor")]
    _bars(
        directory / "cost",
        "Added CPU per request: tenant lookup and two limits",
        "microseconds over bare Starlette, log scale: less is better",
        # If a machine is noisy, the difference to bare Starlette can come out at nothing, which has no logarithm.
        sorted(((name, max(0.1, value), max(0.1, low), max(0.1, high)) for name, value, low, high in bars), key=_value),
        lambda value: f"{value:.1f} µs" if value < 10 else f"{value:.0f} µs",
        log=True,
    )


def _http(results: dict[str, Any], directory: Path) -> None:
    found = results["http"]
    names = [name for name in found if _is_shown(results, name, "nothing", "floor")]
    bars = [_bar(name, found[name]["requests_per_second"]) for name in names]
    _bars(
        directory / "http",
        "Requests per second of one uvicorn worker",
        "requests/s over HTTP: more is better",
        sorted(bars, key=lambda bar: -bar[1]),
        lambda value: f"{value:,.0f}",
    )


def _commands(results: dict[str, Any], directory: Path) -> None:
    names = [name for name, found in results["contenders"].items() if found["job"] == "both" and "," not in name]
    bars = []
    for name in names:
        value = commands_per_request(results, name)
        if value is not None:
            bars.append((name, value, value, value))
    _bars(
        directory / "commands",
        "Billed Redis commands per request",
        "commands a request as metered providers count, log scale: less is better",
        sorted(bars, key=lambda bar: bar[1]),
        lambda value: f"{value:.3f}" if value < 1 else f"{value:.3g}",
        log=True,
    )


def _bars(
    path: Path, title: str, label: str, bars: Sequence[Bar], show: Callable[[float], str], *, log: bool = False
) -> None:
    figure, axes = plt.subplots(figsize=(9, 0.5 * len(bars) + 1.6), layout="constrained")
    positions = range(len(bars), 0, -1)
    for position, (name, value, low, high) in zip(positions, bars, strict=True):
        axes.barh(position, value, color=_colour(name), height=0.66)
        if high > low:
            axes.plot([low, high], [position, position], color=TEXT, linewidth=1.4, solid_capstyle="butt")
        axes.annotate(
            show(value),
            (max(value, high), position),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=10,
        )
    axes.set_yticks(list(positions), [bar[0] for bar in bars])
    for text, bar in zip(axes.get_yticklabels(), bars, strict=True):
        text.set_fontweight("bold" if bar[0].startswith(OURS) else "normal")
    axes.tick_params(axis="y", length=0)
    if log:
        axes.set_xscale("log")
        axes.set_xlim(min(bar[1] for bar in bars) / 2.5, max(bar[3] for bar in bars) * 2.2)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.set_xlim(0, max(bar[3] for bar in bars) * 1.14)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(axis="x", color="#e2e8f0", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(label)
    figure.suptitle(title, fontsize=14, fontweight="bold")
    _save(figure, path)


def _scale(results: dict[str, Any], directory: Path) -> None:
    found = results["scale"]
    sizes = [int(size) for size in found]
    figure, (cost, weight) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for key, label, colour in (("busy", "100 busy tenants", OURS_COLOUR), ("all", "all of them", PLAIN_COLOUR)):
        medians = [found[str(size)][key]["median"] for size in sizes]
        cost.plot(sizes, medians, marker="o", color=colour, linewidth=2, label=f"traffic to {label}")
        low, high = ([found[str(size)][key][side] for size in sizes] for side in ("q1", "q3"))
        cost.fill_between(sizes, low, high, color=colour, alpha=0.15, linewidth=0)
    cost.set_ylim(0, 1.35 * max(found[str(size)]["all"]["q3"] for size in sizes))
    cost.set_ylabel("CPU per request, µs (Starlette included)")
    cost.legend(frameon=False, loc="upper left")
    shown = [size for size in sizes if size >= 10_000] or sizes
    weights = [found[str(size)]["bytes"] for size in shown]
    weight.plot(shown, weights, marker="o", color=OURS_COLOUR, linewidth=2)
    for size, value in zip(shown, weights, strict=True):
        weight.annotate(f"{value:,.0f}", (size, value), xytext=(0, 8), textcoords="offset points", ha="center")
    weight.set_ylim(0, max(weights) * 1.3)
    weight.set_ylabel("bytes per cached tenant")
    for axes in (cost, weight):
        _by_size(axes)
    figure.suptitle("From a hundred to a million tenants in one process", fontsize=14, fontweight="bold")
    _save(figure, directory / "scale")


def _by_size(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("tenants cached")
    axes.margins(x=0.12)
    axes.grid(axis="y", color="#e2e8f0", linewidth=0.8)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=150)
    plt.close(figure)


def _is_shown(results: dict[str, Any], name: str, *besides: str) -> bool:
    return results["contenders"][name]["job"] in ("both", *besides)


def _bar(name: str, found: dict[str, Any]) -> Bar:
    return name, found["median"], found["q1"], found["q3"]


def _value(bar: Bar) -> float:
    return bar[1]


def _colour(name: str) -> str:
    if name.startswith(OURS):
        return OURS_COLOUR
    return PLAIN_COLOUR if name in ("the floor", "Starlette alone") else OTHERS_COLOUR


PLOTS = {"cost": _cost, "http": _http, "commands": _commands, "scale": _scale}
