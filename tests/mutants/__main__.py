"""Take each guard away in turn and see that the tests notice: `python -m tests.mutants [WORD ...]`.

Works on a copy of the project in a temporary directory. Prints what killed what, and ends with status 1 where a
mutant survived. With words, only the mutants whose names hold one of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.guards import MUTANTS, SUITES, Mutant

ROOT = Path(__file__).parents[2]
SUITE_TIMEOUT = 300.0
"""Seconds. A mutant may well make something wait for ever."""


def copy_project(target: Path) -> None:
    for name in ("tenantcache", "tests"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "pyproject.toml", target)


def apply(mutant: Mutant, project: Path) -> None:
    path = project / mutant.path
    text = path.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        raise SystemExit(f"{mutant.guard}: its text occurs {text.count(mutant.old)} times in {mutant.path}, not once")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")


def kills(suite: str, project: Path) -> bool:
    """Whether the suite fails on what is in `project`."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *SUITES[suite]]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "FRESHNESS_NO_SHRINKING": "1"}
    try:
        done = subprocess.run(command, cwd=project, env=env, capture_output=True, timeout=SUITE_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return True
    if done.returncode not in (0, 1):
        raise SystemExit(f"{suite}: pytest ended with status {done.returncode}\n{done.stdout.decode()}")
    return done.returncode == 1


def run(mutant: Mutant) -> list[str]:
    """The suites that notice."""
    with tempfile.TemporaryDirectory(prefix="tenantcache-mutant-") as directory:
        project = Path(directory)
        project.chmod(0o755)
        copy_project(project)
        apply(mutant, project)
        return [suite for suite in mutant.suites if kills(suite, project)]


def main() -> None:
    words = sys.argv[1:]
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant.guard for word in words)]
    survivors, started = 0, time.monotonic()
    print("| without | noticed by |\n|---|---|", flush=True)
    for mutant in chosen:
        killers = run(mutant)
        survivors += not killers
        print(f"| {mutant.guard} | {', '.join(killers) or '**nobody**'} |", flush=True)
    print(f"\n{len(chosen)} mutants, {survivors} survived, {time.monotonic() - started:.0f} s")
    raise SystemExit(1 if survivors else 0)


if __name__ == "__main__":
    main()
