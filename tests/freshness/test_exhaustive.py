"""Every order in which a fill, updates and the log can reach two processes.

The short stories have one update. A short run searches three of them completely, in coarse steps, and a thorough one
all. In fine steps, and with two updates, it takes a quarter of an hour: `FRESHNESS_EXHAUSTIVE=1`.
"""

from __future__ import annotations

import os

import pytest

from tests.freshness.exhaustive import LONG_STORIES, SHORT_STORIES, explore
from tests.freshness.truth import Violation
from tests.thorough import THOROUGH

# A complete search takes five seconds of a processor, and a minute and a half on a machine with much else to do.
pytestmark = pytest.mark.timeout(300)

MAX_RUNS = 200_000
EVERYTHING = bool(os.environ.get("FRESHNESS_EXHAUSTIVE"))
ALWAYS_COMPLETE = ("an update", "a domain leaves", "created after it was missed")
"""What is held, another tenant's name, and what was held to be unknown."""


@pytest.mark.parametrize("name", SHORT_STORIES)
def test_one_update(name: str) -> None:
    is_searched_completely = THOROUGH or EVERYTHING or name in ALWAYS_COMPLETE
    report = explore(
        SHORT_STORIES[name], max_runs=MAX_RUNS if is_searched_completely else 300, is_coarse=not EVERYTHING
    )
    assert report.is_complete is is_searched_completely
    if report.is_complete:
        assert report.publishers == {"P1 log", "P2 log"}
        assert report.points > 300  # fewer would mean that choices have gone missing


@pytest.mark.parametrize("name", LONG_STORIES)
def test_two_updates(name: str) -> None:
    report = explore(LONG_STORIES[name], max_runs=MAX_RUNS if EVERYTHING else 100, is_coarse=True)
    assert report.is_complete is EVERYTHING
    print(f"{name}: {report}")


def test_the_search_would_find_a_trigger_that_names_one_side_only() -> None:
    with pytest.raises(Violation, match=r"led to t1\(v0 a d1.io\)"):
        explore(SHORT_STORIES["a domain leaves"], max_runs=MAX_RUNS, flaws={"old_hosts": False}, is_coarse=True)
