"""What `make mutants` takes away is there, and what `make mutants-short` runs exists. Both take long to find out."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

from tests.mutants.guards import MUTANTS, SUITES, Mutant
from tests.mutants.short import ENOUGH

ROOT = Path(__file__).parents[1]


@cache
def text_of(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def faults(mutant: Mutant) -> Iterator[str]:
    times = text_of(mutant.path).count(mutant.old)
    if times != 1:
        yield f"{mutant.guard}: its text occurs {times} times in {mutant.path}"
    if mutant.new == mutant.old:
        yield f"{mutant.guard}: nothing is taken away"
    yield from (f"{mutant.guard}: {suite} is not a suite" for suite in mutant.suites if suite not in SUITES)


def test_each_guard_stands_once_in_its_file() -> None:
    assert [fault for mutant in MUTANTS for fault in faults(mutant)] == []


def test_a_guard_of_which_the_text_has_changed_is_found() -> None:
    mutant = Mutant("a guard", "tests/test_mutants.py", "not in this fi" + "le", "not in this fi" + "le", ("none",))
    assert [fault.partition(": ")[2] for fault in faults(mutant)] == [
        "its text occurs 0 times in tests/test_mutants.py",
        "nothing is taken away",
        "none is not a suite",
    ]


def test_no_two_guards_have_one_name() -> None:
    names = [mutant.guard for mutant in MUTANTS]
    assert len(set(names)) == len(names)


def test_each_suite_is_files_that_exist() -> None:
    assert [path for suite in SUITES.values() for path in suite if not (ROOT / path.partition("::")[0]).exists()] == []


@cache
def names_in(path: str) -> frozenset[tuple[str, ...]]:
    """Functions, classes and their methods."""
    found: set[tuple[str, ...]] = set()
    for node in ast.parse(text_of(path)).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add((node.name,))
        if isinstance(node, ast.ClassDef):
            found |= {
                (node.name, inner.name)
                for inner in node.body
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return frozenset(found)


def is_there(tests: Sequence[str]) -> bool:
    """Whether pytest finds something by these arguments: a file or what is in it, and perhaps `-k` and a word."""
    node, *chosen = tests
    path, *names = node.split("::")
    if not (ROOT / path).is_file() or (names and tuple(names) not in names_in(path)):
        return False
    match chosen:
        case []:
            return True
        case ["-k", word]:
            return any(word in name for within in names_in(path) for name in within)
    return False


@pytest.mark.parametrize("guard", ENOUGH)
def test_the_short_run_names_guards_and_tests_that_exist(guard: str) -> None:
    assert guard in {mutant.guard for mutant in MUTANTS}
    assert is_there(ENOUGH[guard])


@pytest.mark.parametrize(
    "tests",
    [
        ("tests/test_nothing.py",),
        ("tests/test_mutants.py::test_nothing",),
        ("tests/test_mutants.py", "-k", "xyz" + "zy"),
    ],
)
def test_a_test_that_does_not_exist_is_found(tests: Sequence[str]) -> None:
    assert not is_there(tests)
    assert is_there(("tests/test_mutants.py::test_a_test_that_does_not_exist_is_found", "-k", "exist"))
