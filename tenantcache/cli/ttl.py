"""`tenantcache ttl`: the expiry of keys by pattern, beside the guide's table."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from tenantcache.cli.redistarget import DEFAULT_MAX_COMMANDS, MaxCommands, RedisUrl
from tenantcache.cli.terminal import AsJson, Exit, FailOn, Terminal


def ttl(
    redis_url: RedisUrl = None,
    fail_on: Annotated[FailOn, typer.Option(help="Exit with 1 if a finding is as bad as this.")] = FailOn.CRIT,
    max_commands: MaxCommands = DEFAULT_MAX_COMMANDS,
    as_json: AsJson = False,
) -> None:
    """Judge when keys expire, by pattern: which never do, and which live far shorter or longer than they should.

    The guide's times: config 3600 s, profiles 1800 s, sessions 300 s, limits 60 s, responses 60 to 300 s.
    """
    from tenantcache.budget.core.expiry import judge
    from tenantcache.budget.core.finding import Severity
    from tenantcache.cli.keyreading import read_keys
    from tenantcache.cli.keytables import render_expiry

    terminal = Terminal(as_json=as_json, unfolded=True)
    report = asyncio.run(read_keys(redis_url, terminal, max_commands))
    found = [judge(pattern) for pattern in report.patterns]
    found.sort(key=lambda expiry: (-expiry.severity.rank, -expiry.keys))
    result = {"patterns": [expiry.as_json() for expiry in found], "billed_commands": report.billed_commands}
    terminal.show(result, *render_expiry(report, found))
    worst = max((expiry.severity.rank for expiry in found), default=0)
    raise typer.Exit(Exit.FINDINGS if worst >= Severity(fail_on.value).rank else Exit.FINE)
