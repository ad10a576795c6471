"""The size of things: files, classes and functions that a reader can hold in the head at once."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytestmark = pytest.mark.static

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tenantcache"
CODE = (*(ROOT / folder for folder in ("tenantcache", "benchmarks", "example_app")), ROOT / "pytest_tenantcache.py")
"""All but the tests."""
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


@dataclass(frozen=True)
class Read:
    """All files: how many there are, what is too long in them, and what modules of the package keep."""

    code: int = 0
    helpers: int = 0
    too_long: list[str] = field(default_factory=list)
    kept: set[str] = field(default_factory=set)


@functools.cache
def read_all() -> Read:
    """Parse each file once. What tests are made with is read too, and tests are not."""
    code = [file for place in CODE for file in ([place] if place.is_file() else sorted(place.rglob("*.py")))]
    helpers = [file for file in sorted((ROOT / "tests").rglob("*.py")) if not file.name.startswith("test_")]
    found = Read(len(code), len(helpers))
    for file in (*code, *helpers):
        name, text = file.relative_to(ROOT).as_posix(), file.read_text("utf-8")
        tree = ast.parse(text)
        found.too_long.extend(sizes(name, text, tree))
        if name.startswith("tenantcache/"):
            found.kept.update(kept(name, tree))
    return found


def sizes(name: str, text: str, tree: ast.Module) -> Iterator[str]:
    """What is too long in a file."""
    if (lines := len(text.splitlines())) > MOST_OF_A_FILE and not name.startswith(LISTS):
        yield f"{name} has {lines} lines"
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            most = MOST_OF_A_CLASS
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            most = MOST_OF_A_FUNCTION
        else:
            continue
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > most and f"{name}: {node.name}" not in LONGER:
            yield f"{name}: {node.name} has {length} lines, at most {most} are right"


def kept(name: str, tree: ast.Module) -> Iterator[str]:
    """What a module keeps that is filled or replaced later: empty containers, and what a function declares global."""
    yield from (f"{name}: {each}" for node in ast.walk(tree) if isinstance(node, ast.Global) for each in node.names)
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[target, *_], value=value) | ast.AnnAssign(target=target, value=ast.expr() as value)
            ):
                if _is_empty(value):
                    yield f"{name}: {ast.unparse(target)}"


def _is_empty(value: ast.expr) -> bool:
    match value:
        case ast.Dict(keys=[]) | ast.List(elts=[]) | ast.Call(func=ast.Subscript(), args=[], keywords=[]):
            return True
        case ast.Call(func=ast.Name(id=made) | ast.Attribute(attr=made), args=args):
            containers = ("dict", "list", "set", "deque", "Counter", "OrderedDict", "WeakSet")
            weak = ("WeakKeyDictionary", "WeakValueDictionary")
            return (made in (*containers, *weak) and not args) or made == "defaultdict"
    return False


def test_nothing_is_too_long() -> None:
    assert read_all().code > 500
    assert read_all().helpers > 80
    assert read_all().too_long == []


def test_no_module_keeps_what_decides_for_an_engine() -> None:
    assert read_all().kept == {*FILLED_LATER}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("known = {}", ["known"]),
        ("known = []", ["known"]),
        ("known: set[str] = set()", ["known"]),
        ("known: Line = deque()", ["known"]),
        ("known = defaultdict(list)", ["known"]),
        ("known = WeakSet[int]()", ["known"]),
        ("known = weakref.WeakKeyDictionary[int, int]()", ["known"]),
        ("known = weakref.WeakValueDictionary()", ["known"]),
        ("Other.known = {}", ["Other.known"]),
        ("known = None\ndef f():\n    global known, other\n    known = 1", ["known", "other"]),
        ("KNOWN = {1: 2}\nLIMIT = frozenset()\ndef f():\n    known = {}", []),
    ],
)
def test_what_a_module_keeps_is_found(text: str, names: list[str]) -> None:
    assert list(kept("a.py", ast.parse(text))) == [f"a.py: {name}" for name in names]


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
    def found(text: str) -> list[str]:
        return list(sizes("a.py", text, ast.parse(text)))

    function = "def f():\n" + "    x = 1\n" * 40
    klass = "class C:\n" + "    x = 1\n" * 250
    assert found(function) == ["a.py: f has 41 lines, at most 40 are right"]
    assert found(klass) == ["a.py: C has 251 lines, at most 250 are right"]
    assert found("x = 1\n" * 401) == ["a.py has 401 lines"]
