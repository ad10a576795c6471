"""Which tests run in one process when several share the work: those that share servers, or start a fleet each.

Any other test runs in the first process that has room. (xdist has marks for it, which do nothing with pytest 9.2.)
"""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

TOGETHER = {
    "tests/test_bench.py": "bench",
    "tests/consistency/test_real_processes.py": "fleets",
    "tests/over_admission/": "fleets",
    "tests/end_to_end/test_two_workers.py": "fleets",
    "tests/test_fleet_on_servers.py": "engines",
    "tests/test_bulk_update.py": "engines",
    "tests/test_stalled.py": "engines",
    "tests/stores/test_cluster.py": "cluster",
    "tests/contracts/test_counterstore.py": "cluster",
    "tests/test_analyze.py::test_a_cluster": "cluster",
    "tests/test_clean.py::test_a_cluster": "cluster",
    "tests/test_docs_costs.py::test_a_cluster": "cluster",
    "tests/test_doctor.py::test_a_cluster": "cluster",
    "tests/test_doctor.py::test_the_limit_holds_for_all_nodes": "cluster",
    "tests/test_meter_on_servers.py::test_a_cluster": "cluster",
    "tests/test_record.py::test_a_cluster": "cluster",
    "tests/test_redis_budget.py::test_a_cluster": "cluster",
    "tests/test_sampling.py::test_a_cluster": "cluster",
    "tests/test_status_watch.py::test_a_cluster": "cluster",
    "tests/dashboard/test_browser.py": "browser",
    "tests/test_governed_month.py": "governed month",
    "tests/test_cli.py": "commands",
    "tests/test_loadtest.py": "commands",
    "tests/end_to_end/test_servers.py": "HTTP servers",
    "tests/end_to_end/test_proxies.py": "proxies",
    "tests/adoption/test_applications": "applications",
    "tests/test_words.py": "texts",
    "tests/test_layers.py": "texts",
    "tests/test_house.py": "texts",
}
"""By where a test's id begins. The first begin first, since they take longest."""


class Scheduling(LoadScopeScheduling):
    """One test at a time, or one group of `TOGETHER`."""

    def _split_scope(self, nodeid: str) -> str:
        return next((group for start, group in TOGETHER.items() if nodeid.startswith(start)), nodeid)

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        """Forget what is done: xdist goes through all that a process was ever given, after each test."""
        super().mark_test_complete(node, item_index, duration)
        work = self.assigned_work[node]
        scope = self._split_scope(self.registered_collections[node][item_index])
        if all(work[scope].values()):
            del work[scope]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    if config.getvalue("dist") != "load":
        return None
    config.option.loadscopereorder = False
    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups first, in the order of the table."""
    order = list(TOGETHER)
    items.sort(key=lambda item: next((n for n, start in enumerate(order) if item.nodeid.startswith(start)), len(order)))
