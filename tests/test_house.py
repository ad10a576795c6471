"""The size of things: files, classes and functions that a reader can hold in the head at once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tenantcache"
MOST_IN_ROOT, MOST_OF_A_FILE, MOST_OF_A_CLASS, MOST_OF_A_FUNCTION = 10, 400, 250, 40
"""Files, and lines. ruff holds functions to a complexity of 12."""

LONGER = {"cli/init.py: init"}
"""Its lines are the command's options."""


def sizes(name: str, text: str) -> Iterator[str]:
    """What is too long in a file."""
    if (lines := len(text.splitlines())) > MOST_OF_A_FILE:
        yield f"{name} has {lines} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            most = MOST_OF_A_CLASS
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            most = MOST_OF_A_FUNCTION
        else:
            continue
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > most and f"{name}: {node.name}" not in LONGER:
            yield f"{name}: {node.name} has {length} lines, at most {most} are right"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_nothing_is_too_long(path: Path) -> None:
    assert list(sizes(path.relative_to(PACKAGE).as_posix(), path.read_text("utf-8"))) == []


def test_the_root_is_a_floor_plan() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_IN_ROOT


def test_what_is_too_long_is_found() -> None:
    function = "def f():\n" + "    x = 1\n" * 40
    klass = "class C:\n" + "    x = 1\n" * 250
    assert list(sizes("a.py", function)) == ["a.py: f has 41 lines, at most 40 are right"]
    assert list(sizes("a.py", klass)) == ["a.py: C has 251 lines, at most 250 are right"]
    assert list(sizes("a.py", "x = 1\n" * 401)) == ["a.py has 401 lines"]
