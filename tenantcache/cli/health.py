"""The options of `status`, `watch` and `doctor`. What these commands need is imported when they run."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from tenantcache.cli.redistarget import DEFAULT_MAX_COMMANDS, MaxCommands, RedisUrl
from tenantcache.cli.terminal import AsJson, Exit, FailOn

Seconds = Annotated[
    float,
    typer.Option(min=0, max=3_600, help="Measure so many seconds, with two readings. 0: since the server's start."),
]


def status(redis_url: RedisUrl = None, seconds: Seconds = 0.0, as_json: AsJson = False) -> None:
    """Show once how a Redis is doing. Costs no billed command."""
    from tenantcache.cli.status import show_status

    asyncio.run(show_status(redis_url, seconds, as_json=as_json))


def watch(
    redis_url: RedisUrl = None,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two readings.")] = 2.0,
    count: Annotated[
        int | None, typer.Option(min=1, help="End after so many readings. (default: until Ctrl-C)")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each reading as a line of JSON.")] = False,
) -> None:
    """Show how a Redis is doing until Ctrl-C. Costs no billed command."""
    from tenantcache.cli.watch import watch_redis

    try:
        asyncio.run(watch_redis(redis_url, interval, count, as_json=as_json))
    except KeyboardInterrupt:
        raise typer.Exit(Exit.FINE) from None


def doctor(
    redis_url: RedisUrl = None,
    daily: Annotated[bool, typer.Option("--daily", help="The daily checklist alone: from INFO, free.")] = False,
    weekly: Annotated[bool, typer.Option("--weekly", help="The weekly checklist alone.")] = False,
    monthly: Annotated[bool, typer.Option("--monthly", help="The monthly checklist alone.")] = False,
    seconds: Seconds = 0.0,
    plan: Annotated[str | None, typer.Option(help="Your plan, like upstash-free or upstash-payg.")] = None,
    quota: Annotated[int | None, typer.Option(min=1, help="Billed commands a month that your provider allows.")] = None,
    free: Annotated[bool, typer.Option("--free", help="Send nothing that is billed: no sample of keys.")] = False,
    fail_on: Annotated[FailOn, typer.Option(help="Exit with 1 if a finding is as bad as this.")] = FailOn.CRIT,
    max_commands: MaxCommands = DEFAULT_MAX_COMMANDS,
    as_json: AsJson = False,
) -> None:
    """Examine a Redis, and Postgres if its URL is set: what is wrong, why it matters, and what to do."""
    from tenantcache.budget.core.finding import EVERY, Checklist, Severity
    from tenantcache.cli.doctor import run_doctor

    lists = Checklist(0)
    for is_wanted, one in ((daily, Checklist.DAILY), (weekly, Checklist.WEEKLY), (monthly, Checklist.MONTHLY)):
        lists |= one if is_wanted else Checklist(0)
    found = asyncio.run(
        run_doctor(
            redis_url,
            lists or EVERY,
            seconds=seconds,
            plan=plan,
            quota=quota,
            is_free=free,
            fail_on=Severity(fail_on.value),
            max_commands=max_commands,
            as_json=as_json,
        )
    )
    raise typer.Exit(found)
