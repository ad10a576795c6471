"""A Prometheus with the alert rules of this package (Debian's package `prometheus`)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx

from benchmarks.outages.recording import Alert
from tenantcache.devservers import HOST
from tenantcache.devservers.server import DevServer, free_port, spawn
from tenantcache.observability.alerts import ALERTS

STEP = 5
"""Seconds between two scrapes, and two looks at the rules."""


class Prometheus(DevServer):
    name = "prometheus"

    def __init__(self, directory: Path, scraped_port: int) -> None:
        super().__init__(free_port())
        self._directory, target = directory, f"{HOST}:{scraped_port}"
        (directory / "prometheus.yml").write_text(
            f"global: {{scrape_interval: {STEP}s, evaluation_interval: {STEP}s}}\n"
            f"rule_files: [{ALERTS}]\n"
            f"scrape_configs: [{{job_name: app, metrics_path: /metrics/, "
            f"static_configs: [{{targets: ['{target}']}}]}}]\n"
        )

    def _spawn(self) -> subprocess.Popen[bytes]:
        words = [
            f"--config.file={self._directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._directory / 'prometheus'}",
            f"--web.listen-address={HOST}:{self.port}",
            "--log.level=error",
        ]
        return spawn(["prometheus", *words], env=None)

    def _is_ready(self, pid: int) -> bool:
        try:
            return httpx.get(f"http://{HOST}:{self.port}/-/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def _log_tail(self) -> str:
        return "its messages are above"

    def alerts(self, begin: float, end: float) -> list[Alert]:
        """Those that were pending or fired meanwhile, one for each name and state."""
        query = "max by (alertname, severity, alertstate) (ALERTS)"
        asked: dict[str, str | float] = {"query": query, "start": begin, "end": end, "step": STEP}
        answer = httpx.get(f"http://{HOST}:{self.port}/api/v1/query_range", params=asked).raise_for_status().json()
        found = []
        for series in answer["data"]["result"]:
            labels, times = series["metric"], [float(at) for at, _ in series["values"]]
            found.append(Alert(labels["alertname"], labels["severity"], labels["alertstate"], _spans(times)))
        return found


def _spans(times: list[float]) -> list[tuple[float, float]]:
    spans: list[tuple[float, float]] = []
    for at in times:
        if spans and at - spans[-1][1] <= STEP:
            spans[-1] = (spans[-1][0], at + STEP)
        else:
            spans.append((at, at + STEP))
    return spans
