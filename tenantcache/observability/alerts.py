"""The alert rules for Prometheus, as they come with the package."""

from __future__ import annotations

from pathlib import Path

ALERTS = Path(__file__).with_name("alerts.yml")

RUNBOOKS = "docs/runbooks.md"


def alerts(runbooks: str = RUNBOOKS) -> str:
    """The rules as YAML. Each links to its section of the page at `runbooks`."""
    return ALERTS.read_text(encoding="utf-8").replace(f"runbook_url: {RUNBOOKS}#", f"runbook_url: {runbooks}#")
