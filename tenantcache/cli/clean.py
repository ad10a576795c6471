"""`tenantcache clean PATTERN`: removes keys by pattern, in batches, and only if it is told so."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from tenantcache.cli.redistarget import DEFAULT_MAX_COMMANDS, MaxCommands, RedisUrl
from tenantcache.cli.terminal import AsJson, Terminal


def clean(
    pattern: Annotated[str, typer.Argument(help="What MATCH of Redis takes, like 'temp:*'. Quote it.")],
    redis_url: RedisUrl = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them. Without it they are only counted.")] = False,
    rate: Annotated[float | None, typer.Option(min=0.1, help="Keys a second to remove, at most.")] = None,
    cursor: Annotated[
        str | None, typer.Option(metavar="CURSOR", help="Go on from there, as the command that ended early says.")
    ] = None,
    count: Annotated[int, typer.Option(min=10, max=10_000, help="Keys to look at with one SCAN.")] = 1_000,
    key_prefix: Annotated[
        str, typer.Option(envvar="TENANTCACHE_KEY_PREFIX", help="Whose live counters and copies are left alone.")
    ] = "tenantcache",
    max_commands: MaxCommands = DEFAULT_MAX_COMMANDS,
    as_json: AsJson = False,
) -> None:
    """Count the keys that match a pattern, and remove them with --yes.

    The exit status is 1 if it had to stop at --max-commands: then it says the cursor to go on from.
    """
    from tenantcache.cli.cleaning import Request, run_clean

    request = Request(pattern, yes, rate, cursor, count, key_prefix, max_commands)
    raise typer.Exit(asyncio.run(run_clean(request, redis_url, Terminal(as_json=as_json))))
