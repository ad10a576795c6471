"""Take each guard away in turn and see that the tests notice: `python -m tests.mutants [--short] [WORD ...]`.

Works on a copy of the project in a temporary directory. Prints what killed what, and ends with status 1 if a mutant
survived. With words, only the mutants whose names hold one of them. A run over all of them is written into
docs/guards.md; `--short` takes the guards of `short.py`, and of the tests only those that are enough.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.mutants.guards import MUTANTS, SUITES, WHAT_SUITES_DO, Mutant
from tests.mutants.short import ENOUGH

ROOT = Path(__file__).parents[2]
BEGIN, END = "<!-- guards -->", "<!-- /guards -->"
SUITE_TIMEOUT = 300.0
"""Seconds. A mutant may well make something wait forever."""


def copy_project(target: Path) -> None:
    """With the compiled code: that of a file is used if it has the file's size and time, so not that of a mutant."""
    for name in ("tenantcache", "tests"):
        shutil.copytree(ROOT / name, target / name)
    shutil.copy2(ROOT / "pyproject.toml", target)


def apply(mutant: Mutant, project: Path) -> None:
    path = project / mutant.path
    text = path.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        raise SystemExit(f"{mutant.guard}: its text occurs {text.count(mutant.old)} times in {mutant.path}, not once")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")


def kills(tests: Sequence[str], project: Path, *, thorough: bool) -> bool:
    """Whether the tests fail on what is in `project`."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests]
    env = {**os.environ, "THOROUGH": "1" if thorough else "", "FRESHNESS_NO_SHRINKING": "1"}
    try:
        done = subprocess.run(command, cwd=project, env=env, capture_output=True, timeout=SUITE_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return True
    if done.returncode not in (0, 1):
        raise SystemExit(f"{tests}: pytest ended with status {done.returncode}\n{done.stdout.decode()}")
    return done.returncode == 1


def the_short_ones() -> list[Mutant]:
    by_guard = {mutant.guard: mutant for mutant in MUTANTS}
    if unknown := ENOUGH.keys() - by_guard:
        raise SystemExit(f"tests/mutants/short.py names guards that are not in guards.py: {', '.join(sorted(unknown))}")
    return [by_guard[guard] for guard in ENOUGH]


def run(mutant: Mutant, *, short: bool) -> list[str]:
    """The suites that notice."""
    with tempfile.TemporaryDirectory(prefix="tenantcache-mutant-") as directory:
        project = Path(directory)
        project.chmod(0o755)
        copy_project(project)
        apply(mutant, project)
        if short:
            return ["the test that is enough"] if kills(ENOUGH[mutant.guard], project, thorough=False) else []
        return [suite for suite in mutant.suites if kills(SUITES[suite], project, thorough=True)]


def run_all(chosen: Sequence[Mutant], *, short: bool, at_once: int) -> Iterator[tuple[Mutant, list[str]]]:
    with ThreadPoolExecutor(at_once) as pool:
        yield from zip(chosen, pool.map(partial(run, short=short), chosen), strict=True)


def write_table(rows: Sequence[str]) -> None:
    """Into docs/guards.md, between its markers."""
    path = ROOT / "docs" / "guards.md"
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    suites = [f"- **{name}**: {what}" for name, what in WHAT_SUITES_DO.items()]
    path.write_text("\n".join([before + begin, *suites, "", *rows, end + after]), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--at-once", type=int, default=2, help="how many mutants are tried at a time")
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    chosen = the_short_ones() if options.short else MUTANTS
    if options.words:
        chosen = [mutant for mutant in chosen if any(word in mutant.guard for word in options.words)]
    survivors, started = 0, time.monotonic()
    rows = ["| without | noticed by |", "|---|---|"]
    print(*rows, sep="\n", flush=True)
    for mutant, killers in run_all(chosen, short=options.short, at_once=options.at_once):
        survivors += not killers
        rows.append(f"| {mutant.guard} | {', '.join(killers) or '**nobody**'} |")
        print(rows[-1], flush=True)
    print(f"\n{len(chosen)} mutants, {survivors} survived, {time.monotonic() - started:.0f} s")
    if len(chosen) == len(MUTANTS):
        write_table(rows)
    raise SystemExit(1 if survivors else 0)


if __name__ == "__main__":
    main()
