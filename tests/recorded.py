"""Scenarios as text files: commands with their recorded answers, in the form of etcd-io/raft's testdata.

A file begins with comments that say what it shows, among them `# proves: ...`. Then come commands. Below a command and
a line `----` stands what followed from it, up to an empty line. `RECORD_SCENARIOS=1` has the tests write the answers
anew: read the difference before you keep it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, zip_longest
from pathlib import Path

SEPARATOR = "----"

Do = Callable[[str], Iterable[str]]
"""Carries a command out, and gives the lines that follow from it."""


def replay(text: str, do: Do) -> str:
    """The file's text, with the answers that `do` gives to its commands now."""
    return "\n".join(_lines(text, do)).rstrip() + "\n"


def is_as_recorded(text: str, do: Do) -> bool:
    """Whether that is the text. The first line that differs ends it."""
    recorded = text.splitlines()
    return all(now == then for now, then in zip_longest(_lines(text, do), recorded, fillvalue=""))


def _lines(text: str, do: Do) -> Iterator[str]:
    lines = iter(text.splitlines())
    for line in lines:
        if line == SEPARATOR:
            while next(lines, ""):
                pass
            continue
        yield line
        if line and not line.startswith("#"):
            answers = iter(do(line))
            if (first := next(answers, None)) is not None:
                yield from chain((SEPARATOR, first), answers, ("",))


def compare(path: Path, play: Callable[[str], str]) -> tuple[str, str]:
    """What follows from the file's commands now, and what was recorded. The two are one while answers are recorded."""
    text = path.read_text(encoding="utf-8")
    now = play(text)
    if os.environ.get("RECORD_SCENARIOS"):
        path.write_text(now, encoding="utf-8")
        return now, now
    return now, text


def named(text: str, key: str, separator: str = "; ") -> list[str]:
    """What stands behind `# key:` in the comments."""
    lines = re.findall(rf"^# {key}: (.*)$", text, re.MULTILINE)
    return [item.strip() for line in lines for item in line.split(separator)]
