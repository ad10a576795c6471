"""Samples the keys of a Redis for a command, with a bar of the billed commands on stderr."""

from __future__ import annotations

from dataclasses import replace

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from tenantcache.budget.core.keyreport import KeyReport
from tenantcache.budget.sampling import sample_keys
from tenantcache.cli.redistarget import open_redis
from tenantcache.cli.terminal import Terminal
from tenantcache.errors import UnreachableError


async def read_keys(redis_url: str | None, terminal: Terminal, max_commands: int) -> KeyReport:
    """Sample with `max_commands` billed commands at most.

    Raises ConfigurationError, `UnreachableError` (also if SCAN is refused) and `OverQuotaError`.
    """
    async with open_redis(redis_url, terminal, at_most=max_commands, max_commands=max_commands) as redis:
        with commands_bar(terminal) as bar:
            task = bar.add_task("billed commands", total=max_commands)
            report = await sample_keys(
                redis,
                max_commands=redis.spending.remaining,
                progress=lambda done, most: bar.update(task, completed=done, total=most),
            )
        for note in report.notes:
            terminal.say(note)
        if report.scan_refused:
            raise UnreachableError(f"{redis.nodes[0].address} refuses SCAN to this user; grant it: +scan ~*")
        return replace(report, billed_commands=redis.spending.spent)


def commands_bar(terminal: Terminal) -> Progress:
    """A bar that is only there while a person looks at it."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=terminal.notes,
        transient=True,
        disable=not terminal.notes.is_terminal,
    )
