"""Asking before something is taken away: on a terminal alone."""

from __future__ import annotations

import sys

import typer

from tenantcache.cli.visible import visible
from tenantcache.errors import TenantCacheError


def refuse_without_terminal(*, yes: bool) -> None:
    """Raises `TenantCacheError` if an answer is needed and there is no terminal to ask on."""
    if not yes and not sys.stdin.isatty():
        raise TenantCacheError("this cannot be undone, and there is no terminal to ask on; give --yes")


def confirm(question: str, *, yes: bool) -> None:
    """Go on if the answer is yes; end the command otherwise. Nothing of it is on stdout."""
    if yes:
        return
    typer.echo(f"{visible(question)} [y/N] ", nl=False, err=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise typer.Abort
