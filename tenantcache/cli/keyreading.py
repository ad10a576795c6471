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
DATABASES_SHOWN = 3


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
            raise refuses_scan(redis)
        return replace(report, billed_commands=redis.spending.spent)


def refuses_scan(redis: AnyRedis) -> UnreachableError:
    """What a user is told who may not name keys."""
    return UnreachableError(f"{redis.nodes[0].address} refuses SCAN to this user; grant it: +scan ~*")


def _other_databases(redis: AnyRedis) -> Iterator[str]:
    """Keys that were not looked at, as INFO tells: a URL names one database."""
    here = f"db{redis.nodes[0].database}"
    keys = {
        name: counts.get("keys", 0)
        for name, counts in redis.info.items()
        if _DATABASE.fullmatch(name) and name != here and isinstance(counts, dict)
    }
    largest = sorted(keys, key=lambda name: -keys[name])[:DATABASES_SHOWN]
    for name in largest:
        yield f"{name} has {keys[name]:,} more keys, which were not looked at; give /{name[2:]} in the URL"
    if rest := keys.keys() - set(largest):
        yield f"{len(rest):,} more databases have {sum(keys[name] for name in rest):,} keys, which were not looked at"


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
