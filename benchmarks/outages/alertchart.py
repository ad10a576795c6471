"""The alerts as a timeline, below what became of the requests meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from math import inf
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from benchmarks.bench.plots import STYLE, TEXT
from benchmarks.outages.recording import Alert, Recording

BIN = 10
"""Seconds of one step of the curve."""

ROOM = 150
"""Seconds that a bar has to be long to hold its label."""

BECAME = {
    "served": ("#93b7f0", "served"),
    "limited": ("#f4b860", "429: beyond a limit"),
    "unavailable": ("#c0392b", "503"),
}
SEVERITIES = {"info": "#64748b", "warning": "#d97706", "critical": "#b91c1c"}
MEANINGS = {
    "CounterStoreChanged": "limits are counted in another store",
    "RedisBreakerOpen": "Redis is not asked any more",
    "CountersInPostgres": "they stay there for long",
    "LimitsDegraded": "tokens cannot be taken",
    "CounterStoreIsolated": "no store counts limits",
    "LogNotFollowed": "changes are not followed",
    "StaleAnswers": "known tenants are served as they were",
    "LookupsFail": "tenants cannot be looked up",
    "RequestsUnavailable": "requests get 503",
    "UsageWaiting": "usage is not in Postgres yet",
    "BudgetUnknown": "what the fleet uses of Redis is not known",
}
"""For those who have not read the runbooks."""

PENDING = "#d7dde5"
OUTAGE = "#fdecea"


def draw_alerts(recording: Recording, path: Path) -> None:
    names = _by_first_sight(recording.alerts)
    with plt.rc_context(STYLE):
        figure, (top, bottom) = plt.subplots(
            2, 1, figsize=(12, 3.6 + 0.44 * len(names)), sharex=True, height_ratios=[1.5, 0.44 * len(names)]
        )
        _draw_answers(top, recording)
        _draw_alerts(bottom, recording, names)
        for axes in (top, bottom):
            for outage in recording.outages:
                axes.axvspan(_minute(recording, outage.begin), _minute(recording, outage.end), color=OUTAGE, zorder=0)
        for outage in recording.outages:
            middle = _minute(recording, (outage.begin + outage.end) / 2)
            top.annotate(
                f"{outage.store.capitalize()} is stopped for {(outage.end - outage.begin) / 60:.0f} minutes",
                (middle, 1.06), xycoords=("data", "axes fraction"), ha="center", weight="bold", color="#b91c1c",
            )  # fmt: skip
        figure.tight_layout()
        figure.savefig(path, dpi=110)
        plt.close(figure)


def _draw_answers(axes: Axes, recording: Recording) -> None:
    bins: dict[int, Counter[str]] = {}
    for second, counts in recording.answers.items():
        bins.setdefault(int((second - recording.begin) // BIN), Counter()).update(counts)
    steps = sorted(bins)[1:-1]  # the first and the last one are not whole
    values = [[bins[step][name] / BIN for step in steps] for name in BECAME]
    colours, labels = zip(*BECAME.values(), strict=True)
    axes.stackplot([step * BIN / 60 for step in steps], values, colors=colours, labels=labels)
    axes.set_ylabel("requests/s")
    axes.set_title("What clients get", loc="left", fontsize=11, weight="bold", pad=22)
    axes.legend(loc="lower left", ncols=3, fontsize=9, framealpha=0.9)


def _draw_alerts(axes: Axes, recording: Recording, names: list[str]) -> None:
    for alert in (each for each in recording.alerts if each.name in names):
        row, is_firing = names.index(alert.name), alert.state == "firing"
        spans = [(_minute(recording, begin), (end - begin) / 60) for begin, end in alert.spans]
        colour = SEVERITIES[alert.severity] if is_firing else PENDING
        axes.broken_barh(spans, (row - 0.32, 0.64), color=colour, zorder=2 + is_firing)
    for row, begin, text in _labels(recording, names):
        axes.text(begin, row, text, va="center", ha="left", fontsize=8, color="white", zorder=4, clip_on=True)
    axes.set_yticks(range(len(names)), [""] * len(names))
    for row, name in enumerate(name.removeprefix("Tenantcache") for name in names):
        axes.annotate(
            f"{name}", (0, row), (-8, 5), xycoords=("axes fraction", "data"), textcoords="offset points", ha="right",
            va="center", fontsize=10, weight="bold", annotation_clip=False,
        )  # fmt: skip
        axes.annotate(
            MEANINGS.get(name, ""), (0, row), (-8, -7), xycoords=("axes fraction", "data"), textcoords="offset points",
            ha="right", va="center", fontsize=8.5, color="#57606d", annotation_clip=False,
        )  # fmt: skip
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e5e9ef", zorder=1)
    axes.set_xlim(0, (recording.end - recording.begin) / 60)
    axes.set_xlabel("minutes since the start", color=TEXT)
    axes.set_title("Alerts that Prometheus sends", loc="left", fontsize=11, weight="bold")
    waiting = Patch(color=PENDING, label="true, and waiting whether it stays so")
    severities = [Patch(color=colour, label=f"fires: {name}") for name, colour in SEVERITIES.items()]
    axes.legend(
        handles=[waiting, *severities],
        loc="upper center",
        bbox_to_anchor=(0.42, -0.9 / len(names)),
        ncols=4,
        fontsize=9,
        frameon=False,
    )


def _labels(recording: Recording, names: list[str]) -> Iterator[tuple[int, float, str]]:
    """On each bar that has room for it: how long after the stop, or the start, it began to fire."""
    turns = [(outage.begin, False) for outage in recording.outages] + [(each.end, True) for each in recording.outages]
    for alert in recording.alerts:
        for begin, end in alert.spans if alert.state == "firing" else ():
            turn, is_back = max((turn for turn in turns if turn[0] <= begin), default=(begin, False))
            if end - begin >= ROOM:
                text = f"{_span(begin - turn)} after the start" if is_back else f"after {_span(begin - turn)}"
                yield names.index(alert.name), _minute(recording, begin) + 0.12, text


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _minute(recording: Recording, at: float) -> float:
    return (at - recording.begin) / 60


def _by_first_sight(alerts: Sequence[Alert]) -> list[str]:
    """The names of those that have fired, in the order in which they came up."""
    fired = {alert.name for alert in alerts if alert.state == "firing"}
    first = dict.fromkeys(fired, inf)
    for alert in alerts:
        if alert.name in fired:
            first[alert.name] = min(first[alert.name], alert.spans[0][0])
    return sorted(first, key=lambda name: (first[name], name))
