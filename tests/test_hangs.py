"""A test that hangs ends in time, and says where: the limit of `pyproject.toml` is one that is kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from tests.pytestplugins import without_plugins

ROOT = Path(__file__).parents[1]

HANGING = """
import asyncio, socket

async def ask_in_vain():
    await asyncio.Event().wait()  # in a coroutine

async def test_coroutine():
    await ask_in_vain()

async def test_another_task():
    await asyncio.gather(ask_in_vain(), ask_in_vain())

def test_system_call():
    one, other = socket.socketpair()
    one.recv(1)  # in a system call

def test_next():
    pass
"""


NAMES = ("coroutine", "another_task", "system_call")


def line_of(comment: str) -> int:
    return 1 + next(number for number, line in enumerate(HANGING.splitlines()) if line.endswith(f"# {comment}"))


def test_a_hanging_test_ends_and_says_where_it_hung(tmp_path: Path) -> None:
    (tmp_path / "test_hanging.py").write_text(HANGING)
    command = [sys.executable, "-m", "pytest", "-p", "tests.hangs", "-c", str(ROOT / "pyproject.toml")]
    options = ["--rootdir", str(tmp_path), "-o", "timeout=1", "-p", "no:cacheprovider", *without_plugins()]
    done = subprocess.run(
        [*command, *options, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert "3 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    reports = done.stdout.split("___ test_")
    coroutine, another, call = (next(part for part in reports if part.startswith(name)) for name in NAMES)
    awaiting = f"test_hanging.py:{line_of('in a coroutine')} in ask_in_vain"
    assert coroutine.count(awaiting) == 1
    assert another.count(awaiting) == 2
    assert f"test_hanging.py:{line_of('in a system call')}: " in call


def test_every_test_has_a_limit(pytestconfig: pytest.Config) -> None:
    assert 0 < float(pytestconfig.getini("timeout")) <= 120
    assert float(pytestconfig.getini("faulthandler_timeout")) > 0


def test_an_example_of_a_property_has_none() -> None:
    assert settings().deadline is None
