"""Prometheus' own judge of rules (Debian's package `prometheus`)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest


def promtool(*words: str) -> str:
    """What it prints; fails if it finds a fault. Skips the test without it, unless REQUIRE_SERVERS=1."""
    found = shutil.which("promtool")
    if found is None:
        if os.environ.get("REQUIRE_SERVERS") == "1":
            pytest.fail("there is no promtool, and REQUIRE_SERVERS=1 wants one: apt-get install prometheus")
        pytest.skip("there is no promtool")
    # With its own choices it collects garbage eight times as often, on all processors: a quarter more work.
    environment = {**os.environ, "GOGC": "400", "GOMAXPROCS": "1"}
    done = subprocess.run([found, *words], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


Case = tuple[str, Mapping[str, str], str, set[str]]
"""Its name, series by their selectors, a time, and the names of the alerts of which exactly these must fire then."""


def check_alerts(rules: Path, cases: Sequence[Case], scratch: Path) -> None:
    """Series are written as promtool has them, a value a minute. All cases are jobs of one Prometheus: it takes a
    second then, and a minute if each has its own."""
    written, expected = [], []
    for name, series, time, firing in cases:
        job = f'job="{name}"'
        written += [{"series": f"{key[:-1]},{job}}}", "values": values} for key, values in series.items()]
        expected.append(
            {
                "expr": f'count by (alertname) (ALERTS{{alertstate="firing",{job}}})',
                "eval_time": time,
                "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(firing)],
            }
        )
    absent = {
        "expr": 'ALERTS{alertstate="firing"}',
        "eval_time": "30m",
        "exp_samples": [
            {"labels": 'ALERTS{alertname="TenantcacheAbsent",alertstate="firing",severity="warning"}', "value": 1}
        ],
    }
    tests = [
        {"interval": "1m", "input_series": written, "promql_expr_test": expected},
        {"interval": "1m", "input_series": [], "promql_expr_test": [absent]},
    ]
    file = scratch / "alerts_test.yml"
    file.write_text(json.dumps({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}))
    promtool("test", "rules", str(file))
