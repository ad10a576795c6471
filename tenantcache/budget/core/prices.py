"""What a Redis command costs where commands are billed.

Source: Upstash's pricing page, which bills each command of a pipeline or transaction, a script as one and each command
that it calls as another, and none of `FREE`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

FREE = frozenset({"AUTH", "HELLO", "SELECT", "COMMAND", "CONFIG", "INFO", "PING", "RESET", "QUIT"})
"""Commands that open, keep or describe a connection."""


def command_name(command: Sequence[Any]) -> str:
    """The name of a command, in upper case: GET, or CONFIG of CONFIG GET."""
    name = command[0]
    return (name.decode("ascii", "replace") if isinstance(name, bytes) else str(name)).upper().partition(" ")[0]


def count_billed(commands: Sequence[Sequence[Any]]) -> int:
    """How many of `commands` are billed."""
    return sum(command_name(command) not in FREE for command in commands)
