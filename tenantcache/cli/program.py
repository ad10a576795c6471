"""A program that is run in the foreground of this one, as `env` and `nohup` run theirs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence

from tenantcache.errors import TenantCacheError

CANNOT_RUN, NOT_FOUND, KILLED = 126, 127, 128
"""A shell's exit statuses: a file that is not a program, no such file, and (plus the signal) ended by a signal."""

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_FROM_TERMINAL = frozenset({signal.SIGINT, signal.SIGQUIT})
"""A terminal sends these to all processes in its foreground."""


class ProgramError(TenantCacheError):
    """The program could not be started. `status` is what a shell would exit with."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


async def run_program(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run it with our input and output, pass signals on, and return its exit status: 128 + n if signal n ended it.

    Raises `ProgramError`.
    """
    try:
        process = await asyncio.create_subprocess_exec(*command, env=dict(environ))
    except FileNotFoundError:
        raise ProgramError(f"{command[0]} cannot be found; correct the name, or the PATH", NOT_FOUND) from None
    except OSError as error:
        raise ProgramError(f"{command[0]} cannot be run ({error.strerror})", CANNOT_RUN) from None
    loop = asyncio.get_running_loop()
    # One that is ignored, as SIGHUP by nohup, is ignored by the program as well.
    signals = [number for number in _FORWARDED if signal.getsignal(number) is not signal.SIG_IGN]
    for number in signals:
        loop.add_signal_handler(number, _forward, process, number)
    try:
        status = await process.wait()
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
    return status if status >= 0 else KILLED - status


def _forward(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    if process.returncode is None and not (number in _FROM_TERMINAL and _in_foreground()):
        process.send_signal(number)


def _in_foreground() -> bool:
    """Whether a terminal's Ctrl-C comes to us and the program alike."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False  # there is none
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
