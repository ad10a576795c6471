"""Scenarios as text, in `scenarios/`: what each rule of `core/freshness.py` prevents, message by message.

`RECORD_SCENARIOS=1` writes the answers anew: read the difference before you keep it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tenantcache.freshness.core import freshness as rules
from tests.freshness.scenario import Scenario, play
from tests.mutants.guards import MUTANTS

SCENARIOS = [Scenario.read(path) for path in sorted((Path(__file__).parent / "scenarios").glob("*.txt"))]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.path.stem)
def test_what_follows_is_what_was_recorded(scenario: Scenario) -> None:
    if os.environ.get("RECORD_SCENARIOS"):
        scenario.write([told for _, _, told in play(scenario)])
        return
    for number, (command, recorded, told) in enumerate(play(scenario), start=1):
        assert told == recorded, f"command {number} of {scenario.path.name}: {command}"


def test_every_rule_is_proved() -> None:
    assert rules.__doc__ is not None
    stated = {f"rule {number}" for number in re.findall(r"^(\d+)\. ", rules.__doc__, re.MULTILINE)}
    proved = {rule for scenario in SCENARIOS for rule in scenario.named("proves")}
    assert proved == stated | {"theory"}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.path.stem)
def test_it_names_guards_that_there_are(scenario: Scenario) -> None:
    named = scenario.named("dies without")
    assert named
    assert set(named) <= {mutant.guard for mutant in MUTANTS}
