"""Pages of docs/ and the README, into which a benchmark writes what it has measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def fill(page: Path, name: str, text: str) -> None:
    """Put `text` between `<!-- name -->` and `<!-- /name -->`, in place of what stands there. Raises ValueError if the
    page has no such place."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{page.name} has no place for the tables: {begin} {end}")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1, last: int = 0) -> str:
    """The first `left` columns are words, and so are the `last` ones: they stand to the left. The others are figures,
    and stand to the right."""
    figures = len(head) - left - last
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * left + "---:|" * figures + "---|" * last]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
