"""What `tenantcache record` found: as JSON, and as a table for a person."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from tenantcache.budget.core.bill import Bill, BillLine
from tenantcache.budget.core.keytext import visible
from tenantcache.cli.terminal import Terminal

SHOWN = 25
"""Patterns in the table. All are in the JSON."""
INSIDE = "(inside scripts)"


@dataclass(slots=True)
class Recording:
    """`inside` are the calls of scripts by command; None if they are not known. `notes` say what is not known."""

    bill: Bill
    inside: Mapping[str, int] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def billed(self) -> int:
        return self.bill.billed + sum((self.inside or {}).values())

    @property
    def patterns(self) -> list[BillLine]:
        """The most expensive first. What scripts called has a line of its own."""
        found = self.bill.patterns
        if self.inside:
            found.append(BillLine(INSIDE, sum(self.inside.values()), Counter(self.inside)))
        return sorted(found, key=lambda line: -line.billed)

    def as_json(self, status: int) -> dict[str, Any]:
        """`status` is the program's."""
        return {
            "billed_commands": self.billed,
            "patterns": [
                {
                    "pattern": line.pattern,
                    "billed_commands": line.billed,
                    "commands": dict(line.commands.most_common()),
                    "owner": line.owner,
                }
                for line in self.patterns
            ],
            "commands": dict((self.bill.commands + Counter(self.inside or {})).most_common()),
            "inside_scripts": None if self.inside is None else dict(self.inside),
            "free_commands": dict(self.bill.free.most_common()),
            "exit_status": status,
            "notes": self.notes,
        }

    def as_table(self) -> Table:
        """For a terminal. Control characters of keys are shown as such."""
        free = self.bill.free.total()
        table = Table(
            title=f"{self.billed:,} billed commands" + (f", and {free:,} free ones" if free else ""),
            title_justify="left",
            title_style="bold",
        )
        table.add_column("pattern", overflow="fold")
        table.add_column("billed", justify="right")
        table.add_column("share", justify="right")
        table.add_column("commands", overflow="fold")
        table.add_column("library")
        for line in self.patterns[:SHOWN]:
            table.add_row(
                Text(visible(line.pattern)),
                f"{line.billed:,}",
                f"{line.billed / max(self.billed, 1):.0%}",
                Text(", ".join(f"{visible(name)} {count:,}" for name, count in line.commands.most_common())),
                line.owner or "",
            )
        if rest := self.patterns[SHOWN:]:
            table.add_row(f"{len(rest):,} more", f"{sum(line.billed for line in rest):,}", "", "", "")
        return table

    def report(self, status: int, terminal: Terminal, out: Path | None) -> None:
        """Write the JSON into `out`, or print it. The table goes to stderr, because stdout is the program's."""
        found = self.as_json(status)
        if out is not None:
            out.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        elif terminal.as_json:
            terminal.show(found)
            return
        terminal.notes.print(self.as_table())
        for note in self.notes:
            terminal.say(note)
