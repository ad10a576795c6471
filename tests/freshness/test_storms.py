"""Hundreds of seeds, each a story of its own. A seed that fails is printed with the command that tells its story.

`FRESHNESS_SEEDS=20000` runs more of them, `FRESHNESS_FIRST_SEED` starts elsewhere.
"""

from __future__ import annotations

import logging
import os

import pytest

from tests.freshness.database import Flaws
from tests.freshness.storm import Storm
from tests.freshness.truth import Violation
from tests.thorough import effort

SEEDS = int(os.environ.get("FRESHNESS_SEEDS", effort(100, 700)))
FIRST_SEED = int(os.environ.get("FRESHNESS_FIRST_SEED", "0"))
BATCH = 50


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="tenantcache")


def run(seed: int, flaws: Flaws | None = None) -> int:
    try:
        return Storm(seed, flaws=flaws).run()
    except Violation as violation:
        raise Violation(f"{violation}\nThe whole story: python -m tests.freshness.storm {seed}") from None


@pytest.mark.parametrize("first", range(FIRST_SEED, FIRST_SEED + SEEDS, BATCH))
def test_every_answer_was_true_within_the_bound(first: int) -> None:
    answers = sum(run(seed) for seed in range(first, first + BATCH))
    assert answers > 100 * BATCH  # fewer would mean that next to nothing was checked


def test_a_seed_tells_the_same_story_twice() -> None:
    stories: list[list[str]] = [[], []]
    for story in stories:
        Storm(7, log=story.append).run()
    assert stories[0] == stories[1]
    assert len(stories[0]) > 50


class TestTheSimulationSees:
    """What the database must not do either: a simulation that would not notice proves nothing."""

    def test_a_log_that_is_ahead_of_the_commit(self) -> None:
        with pytest.raises(Violation):
            for seed in range(200):
                run(seed, {"published_after_commit": False})

    def test_a_database_that_does_not_tell_what_is_pending(self) -> None:
        with pytest.raises(Violation):
            for seed in [29, *range(200)]:  # the first is one that shows it
                run(seed, {"tells_pending": False})

    def test_a_trigger_that_names_one_side_only(self) -> None:
        with pytest.raises(Violation):
            for seed in [184, *range(350)]:  # one in some hundred shows it, as the first does
                run(seed, {"old_hosts": False})
