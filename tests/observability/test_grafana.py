"""The dashboard has each metric, Grafana's fields, and queries that Prometheus can read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tenantcache.observability.grafana import as_json
from tenantcache.observability.metrics import METRICS, SECTIONS
from tests.observability.promtool import promtool

DASHBOARD: dict[str, Any] = json.loads(as_json())


def panels(of: dict[str, Any] = DASHBOARD) -> Iterator[dict[str, Any]]:
    for panel in of["panels"]:
        if panel["type"] == "row":
            yield from panels(panel)
        else:
            yield panel


def queries() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def test_no_metric_is_missing() -> None:
    shown = set(re.findall(r"\btenantcache_\w+", " ".join(queries())))
    assert shown == {metric.series for metric in METRICS}


def test_each_section_is_a_row() -> None:
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == ["Overview", *(section.title for section in SECTIONS)]


def test_prometheus_can_read_each_query(tmp_path: Path) -> None:
    """As rules, since that is what promtool reads; what Grafana puts in is put in."""
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "5m").replace("$", "")}
        for number, query in enumerate(queries())
    ]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"SUCCESS: {len(rules)} rules found" in promtool("check", "rules", str(file))


def test_each_query_is_of_the_jobs_and_instances_that_are_chosen() -> None:
    for query in queries():
        assert query.count("tenantcache_") == query.count('{job=~"$job",instance=~"$instance"')


def test_the_fields_are_those_of_the_classic_model() -> None:
    assert set(DASHBOARD) >= {
        "id", "uid", "title", "tags", "timezone", "editable", "graphTooltip", "panels", "time", "timepicker",
        "templating", "annotations", "refresh", "schemaVersion", "version", "links",
    }  # fmt: skip
    assert DASHBOARD["id"] is None, "Grafana gives it one"
    assert len(DASHBOARD["uid"]) <= 40
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource", "job", "instance"]
    for panel in panels():
        assert set(panel) == {
            "id", "type", "title", "description", "datasource", "gridPos", "fieldConfig", "options", "targets",
        }  # fmt: skip
        assert panel["type"] in ("timeseries", "stat")
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert [target["refId"] for target in panel["targets"]] == ["A", "B", "C"][: len(panel["targets"])]


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    every = [*DASHBOARD["panels"], *(inner for row in DASHBOARD["panels"] for inner in row.get("panels", ()))]
    assert len({panel["id"] for panel in every}) == len(every)
    for within in (DASHBOARD["panels"], *(row["panels"] for row in DASHBOARD["panels"] if row.get("panels"))):
        taken: set[tuple[int, int]] = set()
        for panel in within:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, panel["title"]
            taken |= cells
