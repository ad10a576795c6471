"""Scenarios as text files: commands with their recorded answers, in the form of etcd-io/raft's testdata.

A file begins with comments that say what it shows, among them `# proves: ...`. Then come commands. Below a command and
a line `----` stands what followed from it, up to an empty line. `RECORD_SCENARIOS=1` has the tests write the answers
anew: read the difference before you keep it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

SEPARATOR = "----"


def replay(text: str, do: Callable[[str], Sequence[str]]) -> str:
    """The file's text, with the answers that `do` gives to its commands now."""
    lines, replayed = iter(text.splitlines()), list[str]()
    for line in lines:
        if line == SEPARATOR:
            while next(lines, ""):
                pass
            continue
        replayed.append(line)
        if line and not line.startswith("#") and (answers := do(line)):
            replayed += [SEPARATOR, *answers, ""]
    return "\n".join(replayed).rstrip() + "\n"


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
