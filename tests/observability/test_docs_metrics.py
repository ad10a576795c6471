"""docs/metrics.md has each metric as the table has it. `python -m tests.observability.test_docs_metrics` writes it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tenantcache.observability.metrics import METRICS, SECTIONS

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
HEAD = "| metric | type | labels | becomes | what it is |"
BEGIN, END = "<!-- metrics -->\n", "<!-- /metrics -->"


def table() -> str:
    lines = []
    for section in SECTIONS:
        lines += [
            f"### {section.title}",
            "",
            "| metric | type | labels | becomes | what it is |",
            "|---|---|---|---|---|",
        ]
        for metric in section.metrics:
            labels = ", ".join(f"`{label}`" for label in metric.all_labels)
            name = metric.series.removesuffix("_bucket")
            lines.append(f"| `{name}` | {metric.kind.value} | {labels} | {metric.merge.value} | {metric.help} |")
        lines.append("")
    return "\n".join(lines)


def written() -> str:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return f"{before}{BEGIN}{table()}{END}{rest.partition(END)[2]}"


def test_the_page_has_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == written(), "python -m tests.observability.test_docs_metrics writes it"


@pytest.mark.parametrize(
    "name", ["tenantcache_lookups_total", "tenantcache_event_loop_lag_seconds", "tenantcache_state"]
)
def test_the_table_has_rows_to_compare(name: str) -> None:
    assert PAGE.read_text(encoding="utf-8").count(f"| `{name}` |") == 1


def test_other_names_in_the_docs_are_of_metrics_that_there_are() -> None:
    known = {metric.series for metric in METRICS} | {metric.name for metric in METRICS}
    for page in (PAGE, PAGE.with_name("runbooks.md")):
        named = set(re.findall(r"`(tenantcache_\w+)`", page.read_text(encoding="utf-8")))
        assert named <= known, page.name


if __name__ == "__main__":
    PAGE.write_text(written(), encoding="utf-8")
