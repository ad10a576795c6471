"""Scenarios as text, in `scenarios/`: what each rule of `core/freshness.py` prevents, message by message."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tenantcache.freshness.core import freshness as rules
from tests.freshness.scenario import play
from tests.mutants.guards import MUTANTS
from tests.recorded import compare, named

FILES = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_follows_is_what_was_recorded(file: Path) -> None:
    now, recorded = compare(file, play)
    assert now == recorded


def test_every_rule_is_proved() -> None:
    assert rules.__doc__ is not None
    stated = {f"rule {number}" for number in re.findall(r"^(\d+)\. ", rules.__doc__, re.MULTILINE)}
    proved = {rule for file in FILES for rule in named(file.read_text(encoding="utf-8"), "proves")}
    assert proved == stated | {"theory"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_names_guards_that_there_are(file: Path) -> None:
    guards = named(file.read_text(encoding="utf-8"), "dies without")
    assert guards
    assert set(guards) <= {mutant.guard for mutant in MUTANTS}
