"""The commands of docs/shell.md print what the page says, one after the other on one database."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.shell.conftest import Run, Sql

PAGE = (Path(__file__).parents[2] / "docs" / "shell.md").read_text(encoding="utf-8")
EXAMPLES = [
    (command, output)
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    for command, output in re.findall(r"^\$ tenantcache (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
]
USED = """
    insert into tenantcache.usage values
        ('acme', '2026-03-01', 500, '2026-03-01 12:00+00'), ('acme', '2026-03-31', 1000, '2026-03-31 12:00+00'),
        ('initech', '2026-03-02', 400, '2026-03-02 12:00+00'), ('other', '2026-03-02', 100, '2026-03-02 12:00+00')
"""
STATUSES = {"resolve https://acme.example.com/login": 1, "resolve globex.example.com": 1}


def lines(text: str) -> list[str]:
    """Without what is different each time, and without the blanks that fill a column up."""
    return [re.sub(r" {2,}", "  ", line).rstrip() for line in re.sub(r"=[\w-]{32}", "=...", text).splitlines()]


def test_each_example_prints_what_the_page_says(run: Run, sql: Sql) -> None:
    plans = '{"pro": {"per_minute": 6000}}'
    assert len(EXAMPLES) >= 14
    for command, output in EXAMPLES:
        if command.startswith("usage") and not sql("select from tenantcache.usage"):
            sql(USED)
        ran = run(*shlex.split(command), TENANTCACHE_PLANS=plans)
        assert (command, ran.status) == (command, STATUSES.get(command, 0))
        assert lines(ran.out) == lines(output), command


def test_each_help_has_an_example(run: Run) -> None:
    for command in re.findall(r"tenantcache ((?:tenants|domains) [a-z-]+|resolve|usage)", PAGE):
        assert "Example: tenantcache" in run(*command.split(), "--help").out
