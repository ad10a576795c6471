"""Redis' protocol, as a client writes it."""

from __future__ import annotations


def packed(*arguments: bytes) -> bytes:
    """A command: an array of bulk strings."""
    head = b"*%d\r\n" % len(arguments)
    return head + b"".join(b"$%d\r\n%s\r\n" % (len(argument), argument) for argument in arguments)
