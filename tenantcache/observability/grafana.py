"""A dashboard for Grafana, as JSON of its classic model, which Grafana 10 and later import.

Source of the fields: grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model.
The first row is an overview. The others have a panel for each metric of the table, so that none is missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tenantcache.observability.metric import Kind, Metric
from tenantcache.observability.metrics import SECTIONS

SCHEMA_VERSION = 39
"""That of Grafana 10.4 (April 2024). Later versions raise it by themselves when they read the dashboard."""

TITLE, UID = "tenantcache", "tenantcache"

COLUMNS, HEIGHT = 24, 8
"""Of Grafana's grid, and of a panel in it."""

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

SELECTED = 'job=~"$job",instance=~"$instance"'

UNITS = {"seconds": "s", "bytes": "bytes", "ratio": "percentunit", "dollars": "currencyUSD"}
"""Grafana's names of units."""


@dataclass(frozen=True, slots=True)
class Panel:
    """`queries` are PromQL, each with its legend; `width` of `COLUMNS`."""

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    description: str = ""
    width: int = 8
    kind: str = "timeseries"


def _sum(metric: str, by: str = "", labels: str = "") -> str:
    grouping = f" by ({by})" if by else ""
    selected = f"{SELECTED},{labels}" if labels else SELECTED
    return f"sum{grouping} (rate({metric}{{{selected}}}[$__rate_interval]))"


def _max(metric: str, by: str = "") -> str:
    return f"max{f' by ({by})' if by else ''} ({metric}{{{SELECTED}}})"


LOOKUPS = "tenantcache_lookups_total"

HIT_RATE = f"{_sum(LOOKUPS, labels='tier=`memory`')} / {_sum(LOOKUPS, labels='tier!=`index`')}"
"""Hosts that the index rules out cost nothing, and are left out."""

OVERVIEW = (
    Panel(
        "Lookups that memory answers",
        ((HIT_RATE, "hit rate"),),
        "percentunit",
        "More than 80 % is good.",
        kind="stat",
        width=4,
    ),
    Panel(
        "Requests",
        (
            (_sum("tenantcache_limit_decisions_total", labels='limit="tenant",result="admitted"'), "admitted"),
            (_sum("tenantcache_refusals_total", "reason"), "{{reason}}"),
        ),
        "reqps",
        "Admitted ones, and refused ones by reason.",
        width=12,
    ),
    Panel("Lookups by tier", ((_sum(LOOKUPS, "tier"), "{{tier}}"),), "ops"),
    Panel(
        "Commands that Redis bills",
        ((_sum("tenantcache_redis_billed_commands_total", "purpose"), "{{purpose}}"),),
        "ops",
        "500,000 a month are 0.19 a second.",
    ),
    Panel(
        "Budget",
        (
            (_max("tenantcache_budget_used"), "used"),
            (_max("tenantcache_budget_forecast", "bound"), "at the end: {{bound}}"),
            (_max("tenantcache_budget_limit"), "limit"),
        ),
        description="Billed units of the whole fleet in this period.",
    ),
    Panel(
        "Age of what vouches for memory",
        ((_max("tenantcache_log_age_seconds", "instance, worker"), "{{instance}} {{worker}}"),),
        "s",
        "No answer is older while memory is valid.",
    ),
    Panel(
        "Processes by the store that counts limits",
        ((f"sum by (store) (tenantcache_counter_store{{{SELECTED}}})", "{{store}}"),),
    ),
    Panel(
        "Event loop: 99 % of ticks are no later than",
        (
            (
                f"histogram_quantile(0.99, {_sum('tenantcache_event_loop_lag_seconds_bucket', 'instance, le')})",
                "{{instance}}",
            ),
        ),
        "s",
    ),
)


def dashboard() -> dict[str, Any]:
    """The dashboard, ready for JSON."""
    panels = list(_numbered(_rows()))
    return {
        "id": None,
        "uid": UID,
        "title": TITLE,
        "description": "Tenant lookup and rate limits in the process. Made by `tenantcache grafana`.",
        "tags": ["tenantcache", "redis", "multi-tenant"],
        "timezone": "browser",
        "editable": True,
        "graphTooltip": 1,
        "fiscalYearStartMonth": 0,
        "liveNow": False,
        "refresh": "30s",
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "time": {"from": "now-6h", "to": "now"},
        "timepicker": {},
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": [_datasource(), _variable("job"), _variable("instance", 'job=~"$job"')]},
        "panels": panels,
    }


def as_json() -> str:
    return json.dumps(dashboard(), indent=2) + "\n"


def _rows() -> Iterator[tuple[str, tuple[Panel, ...], bool]]:
    """The title of each row, its panels, and whether it is folded up."""
    yield "Overview", OVERVIEW, False
    for section in SECTIONS:
        yield section.title, tuple(_panel_of(metric) for metric in section.metrics), True


def _panel_of(metric: Metric) -> Panel:
    by = ", ".join(label for label in metric.all_labels if label != "le")
    legend = " ".join(f"{{{{{label}}}}}" for label in metric.all_labels if label != "le") or "{{instance}}"
    title = metric.name.removeprefix("tenantcache_").replace("_", " ")
    if metric.kind is Kind.HISTOGRAM:
        quantiles = ((0.5, "half"), (0.99, "99 %"))
        queries = tuple((f"histogram_quantile({q}, {_sum(metric.series, 'le')})", name) for q, name in quantiles)
    elif metric.kind is Kind.COUNTER:
        queries = ((_sum(metric.series, by or "instance"), legend),)
    else:
        queries = ((f"sum by ({by or 'instance'}) ({metric.series}{{{SELECTED}}})", legend),)
        if metric.merge.value in ("minimum", "maximum"):
            function = {"minimum": "min", "maximum": "max"}[metric.merge.value]
            queries = ((f"{function} by ({by or 'instance'}) ({metric.series}{{{SELECTED}}})", legend),)
    per_second = metric.kind is Kind.COUNTER
    unit = "ops" if per_second else UNITS.get(metric.unit, "short")
    if metric.name.endswith("_timestamp_seconds"):
        unit, queries = "dateTimeAsIso", tuple((f"{query} * 1000", name) for query, name in queries)
    return Panel(title, queries, unit, metric.help)


def _numbered(rows: Iterator[tuple[str, tuple[Panel, ...], bool]]) -> Iterator[dict[str, Any]]:
    """Panels of Grafana, each with an id and a place. Those of a row that is folded up lie within it."""
    number = y = 0
    for title, panels, is_folded in rows:
        number += 1
        row = _row(number, title, y, is_folded=is_folded)
        placed = []
        x, y = 0, y + 1
        for panel in panels:
            number += 1
            if x + panel.width > COLUMNS:
                x, y = 0, y + HEIGHT
            placed.append(_panel(number, panel, x, y))
            x += panel.width
        y += HEIGHT
        if is_folded:
            row["panels"] = placed
            y = row["gridPos"]["y"] + 1
        yield row
        if not is_folded:
            yield from placed


def _row(number: int, title: str, y: int, *, is_folded: bool) -> dict[str, Any]:
    place = {"h": 1, "w": COLUMNS, "x": 0, "y": y}
    return {"id": number, "type": "row", "title": title, "collapsed": is_folded, "gridPos": place, "panels": []}


def _panel(number: int, panel: Panel, x: int, y: int) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + place), "datasource": DATASOURCE, "expr": query, "legendFormat": legend, "range": True}
        for place, (query, legend) in enumerate(panel.queries)
    ]
    options: dict[str, Any] = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    if panel.kind == "stat":
        options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "value"}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": {"h": HEIGHT, "w": panel.width, "x": x, "y": y},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": {}}, "overrides": []},
        "options": options,
        "targets": targets,
    }


def _datasource() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [],
        "refresh": 1,
        "regex": "",
    }


def _variable(label: str, within: str = "") -> dict[str, Any]:
    query = (
        f"label_values(tenantcache_workers{{{within}}}, {label})"
        if within
        else (f"label_values(tenantcache_workers, {label})")
    )
    return {
        "name": label,
        "label": label.capitalize(),
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": f"tenantcache-{label}"},
        "definition": query,
        "current": {},
        "hide": 0,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "options": [],
        "refresh": 2,
        "regex": "",
        "sort": 1,
    }
