"""`tenantcache churn`: which keys are written again, or expire, before they are read."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from tenantcache.cli.redistarget import DEFAULT_MAX_COMMANDS, MaxCommands, RedisUrl
from tenantcache.cli.terminal import AsJson, Exit, FailOn, Terminal


def churn(
    redis_url: RedisUrl = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=3_600, help="How long to watch.")] = 30.0,
    monitor: Annotated[
        bool,
        typer.Option("--monitor", help="Watch with MONITOR, which sees reads and writes but may halve the throughput."),
    ] = False,
    fail_on: Annotated[FailOn, typer.Option(help="Exit with 1 if a finding is as bad as this.")] = FailOn.CRIT,
    max_commands: MaxCommands = DEFAULT_MAX_COMMANDS,
    as_json: AsJson = False,
) -> None:
    """Watch which keys are written again, or expire, before they are read: writes that were paid for nothing.

    It listens to keyspace events if the server has them on. Otherwise it looks at some keys twice. No setting of the
    server is changed.
    """
    from tenantcache.budget.core.finding import Severity
    from tenantcache.cli.churning import run_churn

    terminal = Terminal(as_json=as_json, unfolded=True)
    worst = asyncio.run(run_churn(redis_url, terminal, seconds, monitors=monitor, max_commands=max_commands))
    raise typer.Exit(Exit.FINDINGS if worst.rank >= Severity(fail_on.value).rank else Exit.FINE)
