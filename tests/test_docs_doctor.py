"""docs/doctor.md says of each finding what the code does, and shows pictures that the code draws."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tenantcache.budget.core.diagnosis import CHECKLISTS, RULES, Rule
from tenantcache.budget.core.finding import PAGE, Finding, Severity
from tenantcache.budget.core.plans import PRICES_OF, SOURCE
from tenantcache.cli.examination import MOST
from tests.terminals import IMAGES, PICTURES, drawn

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### ([\w-]+)\n(.*?)(?=^#|\Z)", TEXT, re.M | re.S))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_each_finding_has_its_section(rule: Rule) -> None:
    finding = Finding(rule.id, Severity.WARN, "", "", rule.why, rule.fix)
    page, _, anchor = finding.link.partition("#")
    section = " ".join(SECTIONS[anchor].split())
    assert page == PAGE
    assert f"Why it matters: {rule.why}" in section
    assert f"What to do: {rule.fix}" in section


def test_there_are_no_other_findings() -> None:
    assert [name for name in SECTIONS if name.islower()] == [rule.id for rule in RULES]


def test_the_checklists_are_those_of_the_code() -> None:
    table = TEXT.partition("### The checklists")[2].partition("###")[0]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines() if row.startswith("|")][
        2:
    ]
    expected = [(item[0].lower() + item[1:], list(ids)) for items in CHECKLISTS.values() for item, ids in items.items()]
    assert [(what, re.findall(r"\[([\w-]+)\]", found)) for _, what, found in rows] == expected


def test_figures_are_those_of_the_code() -> None:
    assert f"at most {MOST} billed commands" in " ".join(TEXT.split())
    assert PRICES_OF in TEXT
    assert SOURCE in TEXT


@pytest.mark.parametrize("name", PICTURES)
def test_the_pictures_are_what_the_code_draws(name: str) -> None:
    """If not: `python -m tests.terminals`, and look at them."""
    assert (IMAGES / f"{name}.svg").read_text(encoding="utf-8") == drawn(f"tenantcache {name}", PICTURES[name]())
