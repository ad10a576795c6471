"""The size of things: files, classes and functions that a reader can hold in the head at once."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tenantcache"
CODE = (*(ROOT / folder for folder in ("tenantcache", "benchmarks", "example_app")), ROOT / "pytest_tenantcache.py")
"""All but the tests."""
FILES = {
    file.relative_to(ROOT).as_posix(): file.read_text("utf-8")
    for place in CODE
    for file in ([place] if place.is_file() else sorted(place.rglob("*.py")))
}
HELPERS = {
    file.relative_to(ROOT).as_posix(): file.read_text("utf-8")
    for file in sorted((ROOT / "tests").rglob("*.py"))
    if not file.name.startswith("test_")
}
"""What the tests are made with."""
MOST_IN_ROOT, MOST_OF_A_FILE, MOST_OF_A_CLASS, MOST_OF_A_FUNCTION = 10, 400, 250, 40
"""Files, and lines. ruff holds functions to a complexity of 12."""

LONGER = {"tenantcache/cli/init.py: init", "benchmarks/month/life.py: Life"}
"""The lines of `init` are the command's options. `Life` has the state of a fleet in virtual time."""

LISTS = ("tests/mutants/guards.py", "tests/adoption/applications/")
"""Each has one entry after the other: the guards, and the schema, queries and writes of an application."""

FILLED_LATER = {
    "tenantcache/runtime/forks.py: _known": "a fork is the process's, and reaches each engine in it",
}
"""What a module keeps, and why that decides for no engine."""


def sizes(name: str, text: str) -> Iterator[str]:
    """What is too long in a file."""
    if (lines := len(text.splitlines())) > MOST_OF_A_FILE and not name.startswith(LISTS):
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


def kept(name: str, text: str) -> Iterator[str]:
    """What a module keeps that is filled or replaced later: empty containers, and what a function declares global."""
    tree = ast.parse(text)
    yield from (f"{name}: {' '.join(node.names)}" for node in ast.walk(tree) if isinstance(node, ast.Global))
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=target)], value=value)
                | ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value)
            ):
                if _is_empty(value):
                    yield f"{name}: {target}"


def _is_empty(value: ast.expr) -> bool:
    match value:
        case ast.Dict(keys=[]) | ast.List(elts=[]) | ast.Call(func=ast.Subscript(), args=[], keywords=[]):
            return True
        case ast.Call(func=ast.Name(id=made) | ast.Attribute(attr=made), args=args):
            containers = ("dict", "list", "set", "deque", "Counter", "OrderedDict", "WeakSet", "WeakKeyDictionary")
            return (made in containers and not args) or made == "defaultdict"
    return False


def test_nothing_is_too_long() -> None:
    assert len(FILES) > 500
    assert len(HELPERS) > 80
    assert [line for name, text in {**FILES, **HELPERS}.items() for line in sizes(name, text)] == []


def test_no_module_keeps_what_decides_for_an_engine() -> None:
    package = {name: text for name, text in FILES.items() if name.startswith("tenantcache/")}
    assert {line for name, text in package.items() for line in kept(name, text)} == {*FILLED_LATER}


@pytest.mark.parametrize(
    "line", ["known = {}", "known: set[str] = set()", "known = defaultdict(list)", "known = WeakSet[int]()"]
)
def test_what_a_module_keeps_is_found(line: str) -> None:
    assert list(kept("a.py", line)) == ["a.py: known"]
    assert list(kept("a.py", "def f():\n    global known\n    known = 1")) == ["a.py: known"]
    assert list(kept("a.py", "KNOWN = {1: 2}\nLIMIT = frozenset()\ndef f():\n    known = {}")) == []


def test_contributing_names_files_that_there_are() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    named = re.findall(r"`((?:\w+/)+[\w.]*)`", text)
    assert len(named) > 60
    missing = [name for name in named if not any((place / name).exists() for place in (ROOT, PACKAGE))]
    assert missing == []


def test_the_picture_of_the_plan_shows_each_wing() -> None:
    drawn = (ROOT / "docs" / "plan.svg").read_text("utf-8")
    wings = [path.parent.name for path in PACKAGE.glob("*/__init__.py")]
    assert len(wings) > 15
    assert [wing for wing in wings if f"{wing}/" not in drawn] == []


def test_the_root_is_a_floor_plan() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_IN_ROOT


def test_what_is_too_long_is_found() -> None:
    function = "def f():\n" + "    x = 1\n" * 40
    klass = "class C:\n" + "    x = 1\n" * 250
    assert list(sizes("a.py", function)) == ["a.py: f has 41 lines, at most 40 are right"]
    assert list(sizes("a.py", klass)) == ["a.py: C has 251 lines, at most 250 are right"]
    assert list(sizes("a.py", "x = 1\n" * 401)) == ["a.py has 401 lines"]
