"""The benchmark of values runs, and what it counts is what its contenders do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from benchmarks.values import report
from benchmarks.values.contenders import CONTENDERS
from benchmarks.values.measures import traces
from benchmarks.values.memories import MEMORIES, hit_rate

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.timeout(300)  # it starts an engine for each figure, which a busy machine takes long for


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    into = tmp_path_factory.mktemp("values") / "results.json"
    command = [sys.executable, "-m", "benchmarks.values", "--short", "--into", str(into)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(into.read_text(encoding="utf-8"))
    return found


@pytest.mark.slow
def test_what_is_counted_is_what_each_contender_does_and_all_are_reported(results: dict[str, Any]) -> None:
    found = results["contenders"]
    assert set(found) == {contender.name for contender in CONTENDERS}
    assert found["tenantcache"]["commands"] == {"miss": 1, "hit": 0, "invalidation": 0}
    assert found["tenantcache, Redis not billed"]["commands"] == {"miss": 2, "hit": 0, "invalidation": 0}
    assert found["the guide's pattern"]["commands"] == {"miss": 2, "hit": 1, "invalidation": 1}
    assert (found["tenantcache"]["stampede"], found["the guide's pattern"]["stampede"]) == (1, 50)
    assert found["cachetools alone"]["staleness"]["stale"] > 0
    text = report.document(results)
    assert all(contender.name in text for contender in CONTENDERS)
    assert all(name in text for name in MEMORIES)


def test_a_scan_pushes_out_less_of_ours_than_of_a_plain_memory() -> None:
    trace = traces(Random(1), 60_000, 5_000)["Zipf and scans"]
    rates = {name: hit_rate(build, trace, 50) for name, build in MEMORIES.items()}
    assert rates["tenantcache (S3-FIFO)"] > 1.2 * rates["cachetools LRUCache"]
