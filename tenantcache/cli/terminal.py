"""What the commands about Redis print: results on stdout, for a person or as JSON; progress and notes on stderr.

rich leaves colours out if `NO_COLOR` is set or the output is not a terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import IntEnum, StrEnum
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.markup import escape

from tenantcache.cli.visible import to_json, visible


class Exit(IntEnum):
    """Exit statuses of the commands about Redis."""

    FINE = 0
    FINDINGS = 1
    USAGE = 2
    UNREACHABLE = 3


PIPE_WIDTH = 10_000
"""Characters of a line, more than any row has."""


class FailOn(StrEnum):
    """From which severity on the exit status is 1."""

    WARN = "warn"
    CRIT = "crit"


AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


class Terminal:
    """Where a command prints. With `as_json` only the JSON is on stdout.

    `unfolded`: into a pipe, each row of a table is one line, however long.
    """

    def __init__(self, *, as_json: bool = False, unfolded: bool = False) -> None:
        self.as_json = as_json
        for stream in (sys.stdout, sys.stderr):  # a terminal that is not of UTF-8 shows ? for what it lacks
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="replace")
        self.out = Console(highlight=False)
        if unfolded and not self.out.is_terminal:
            self.out.width = PIPE_WIDTH
        self.notes = Console(stderr=True, highlight=False)

    def say(self, text: str) -> None:
        """A note for a person, on stderr. `text` is not markup: it may hold what a key is called."""
        shown = "\n".join(map(visible, text.split("\n")))
        self.notes.print(escape(shown), style="dim", soft_wrap=True)

    def show(self, result: Mapping[str, Any], *rendered: RenderableType) -> None:
        """Print `result` as JSON, or what is made of it for a person."""
        if self.as_json:
            typer.echo(to_json(result))
            return
        for part in rendered:
            self.out.print(part)
