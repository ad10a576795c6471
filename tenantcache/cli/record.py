"""`tenantcache record -- COMMAND`: runs a program, and counts what its Redis bills for it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from tenantcache.cli.terminal import AsJson, Exit, Terminal


def record(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND...", help="The program and its arguments.")],
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A variable with a Redis URL; repeatable. (default: TENANTCACHE_REDIS_URL, REDIS_URL)"
        ),
    ] = None,
    redis_url: Annotated[
        str | None, typer.Option(metavar="URL", help="The Redis to use, in place of what the variables say.")
    ] = None,
    as_json: AsJson = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the result as JSON into this file.")] = None,
    fail_over: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Exit with status 1 if more than N commands were billed.")
    ] = None,
) -> None:
    """Run a program, and count the commands that its Redis bills for it, by key pattern. Costs nothing itself.

    The exit status is that of the program; 1 if it succeeded and more than --fail-over was billed.
    """
    from tenantcache.cli.program import ProgramError
    from tenantcache.cli.recordedurl import find_urls
    from tenantcache.cli.recording import run_recorded

    urls = find_urls(env or (), redis_url)
    if out is not None:
        out.write_text("", encoding="utf-8")  # a path that cannot be written is told before the program runs
    terminal = Terminal(as_json=as_json)
    try:
        status, recording = asyncio.run(run_recorded(command, urls))
    except ProgramError as error:
        typer.echo(f"tenantcache: {error}", err=True)
        raise typer.Exit(error.status) from None
    recording.report(status, terminal, out)
    if fail_over is not None and recording.billed > fail_over:
        typer.echo(f"tenantcache: {recording.billed:,} commands were billed, more than {fail_over:,}", err=True)
        status = status or Exit.FINDINGS
    raise typer.Exit(status)
