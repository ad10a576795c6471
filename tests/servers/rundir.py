"""A directory for what the servers of a run write. Its workers share it, and the process that began the run removes it.

So what several workers need is made by one of them, and nothing is left of a worker that was killed.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from xdist.workermanage import WorkerController

from tests.servers.ramdisk import ramdisk

RUN_DIR = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        config.stash[RUN_DIR] = Path(config.workerinput["run_dir"])
        return
    # Not pytest's own directory: that one is closed to the account that Postgres runs as when we are root.
    made = tempfile.TemporaryDirectory(prefix="tenantcache-tests-", dir=ramdisk(), ignore_cleanup_errors=True)
    config.add_cleanup(made.cleanup)
    Path(made.name).chmod(0o755)
    config.stash[RUN_DIR] = Path(made.name)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    node.workerinput["run_dir"] = str(node.config.stash[RUN_DIR])


@pytest.fixture(scope="session")
def run_dir(pytestconfig: pytest.Config) -> Path:
    """Of all workers."""
    return pytestconfig.stash[RUN_DIR]
