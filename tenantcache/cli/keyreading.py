"""Samples the keys of a Redis for a command, with a bar of the billed commands on stderr."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from tenantcache.budget.core.keyreport import KeyReport
from tenantcache.budget.sampling import sample_keys
from tenantcache.cli.redistarget import open_redis
from tenantcache.cli.terminal import Terminal
from tenantcache.errors import UnreachableError
from tenantcache.stores.anyredis import AnyRedis

_DATABASE = re.compile(r"db\d+")


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
        report = replace(report, notes=(*report.notes, *_other_databases(redis)))
        for note in report.notes:
            terminal.say(note)
        if report.scan_refused:
            raise UnreachableError(f"{redis.nodes[0].address} refuses SCAN to this user; grant it: +scan ~*")
        return replace(report, billed_commands=redis.spending.spent)


def _other_databases(redis: AnyRedis) -> Iterator[str]:
    """Keys that were not looked at, as INFO tells: a URL names one database."""
    here = f"db{redis.nodes[0].database}"
    for name, counts in redis.info.items():
        if _DATABASE.fullmatch(name) and name != here and isinstance(counts, dict):
            keys = counts.get("keys", 0)
            yield f"{name} has {keys:,} more keys, which were not looked at; give /{name[2:]} in the URL"


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
