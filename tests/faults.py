"""What is wrong with a text, by the function that reads it."""

from __future__ import annotations

from collections.abc import Callable


def fault_of(read: Callable[[str], object], text: str) -> str | None:
    """The message with which `read` refuses `text`; None if it reads it."""
    try:
        read(text)
    except ValueError as error:
        return str(error)
    return None
