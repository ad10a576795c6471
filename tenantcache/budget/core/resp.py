"""Commands in what a client sends to Redis, however the network cuts the bytes.

A client sends arrays of bulk strings in RESP2 and RESP3 alike, or inline commands: words on a line (Redis' protocol
specification). Of a long argument only the beginning is kept, and of a long command only the first arguments: enough
for names and keys, while a value of any size costs no memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

KEPT_BYTES = 512
"""Of each argument. Keys are shorter in practice; what counts here is their shape."""
KEPT_ARGUMENTS = 1024
"""Of each command. An MSET of more pairs has the same patterns in those that follow."""

_MAX_LINE = 64 * 1024
"""Bytes. Redis hangs up on a longer inline command or header (PROTO_INLINE_MAX_SIZE)."""
_WORD = re.compile(rb'"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\\')*)\'|([^\s"\']+)', re.DOTALL)

Command = tuple[bytes, ...]


class CommandReader:
    """The commands of one connection. `feed` it what arrives; it returns those that became complete.

    After bytes that Redis would refuse it is `broken`, and finds no more: Redis hangs up on such a client.
    """

    def __init__(self) -> None:
        self.broken: bool = False
        self._buffer = bytearray()
        self._arguments: list[bytes] = []
        self._missing = 0  # arguments of the present command that are still to come
        self._in_bulk = False
        self._bulk = bytearray()
        self._bulk_left = 0  # bytes of the present argument that are still to come, with its line end

    def feed(self, data: bytes) -> list[Command]:
        """Take `data`, and return the commands that end in it. Never raises."""
        if self.broken:
            return []
        self._buffer += data
        found = list(self._commands())
        if self.broken:
            self._buffer.clear()
        return found

    def _commands(self) -> Iterator[Command]:
        at = 0
        while not self.broken:
            if self._in_bulk:
                at += self._take_bulk(at)
                if self._in_bulk:
                    break
            else:
                end = self._buffer.find(b"\n", at)
                if end < 0:
                    self.broken = len(self._buffer) - at > _MAX_LINE
                    break
                line = bytes(self._buffer[at:end]).rstrip(b"\r")
                at = end + 1
                yield from self._take_line(line)
            if not self._missing and not self._in_bulk and self._arguments:
                yield tuple(self._arguments)
                self._arguments.clear()
        del self._buffer[:at]

    def _take_line(self, line: bytes) -> Iterator[Command]:
        if self._missing:
            length = _number(line, b"$")
            if length is None or length < 0:
                self.broken = True
                return
            self._in_bulk, self._bulk_left = True, length + 2
        elif line.startswith(b"*"):
            count = _number(line, b"*")
            self.broken = count is None
            self._missing = max(count or 0, 0)
        elif words := split_inline(line):
            yield tuple(words)

    def _take_bulk(self, at: int) -> int:
        """Take what the buffer has of the present argument from `at` on. Returns the number of bytes."""
        taken = min(self._bulk_left, len(self._buffer) - at)
        payload = min(taken, self._bulk_left - 2)  # the last two are the line end
        kept = min(max(payload, 0), KEPT_BYTES - len(self._bulk))
        self._bulk += self._buffer[at : at + kept]
        self._bulk_left -= taken
        if not self._bulk_left:
            if len(self._arguments) < KEPT_ARGUMENTS:
                self._arguments.append(bytes(self._bulk))
            self._bulk.clear()
            self._in_bulk = False
            self._missing -= 1
        return taken


def split_inline(line: bytes) -> list[bytes]:
    """The words of an inline command; those in quotes may hold spaces."""
    words = []
    for double, single, plain in _WORD.findall(line):
        if plain:
            words.append(plain)
        else:
            words.append(re.sub(rb"\\(.)", rb"\1", double or single, flags=re.DOTALL))
    return [word[:KEPT_BYTES] for word in words[:KEPT_ARGUMENTS]]


def _number(line: bytes, sign: bytes) -> int | None:
    digits = line[1:]
    if line[:1] != sign or not digits.removeprefix(b"-").isdigit():
        return None
    return int(digits)


class ReplyReader:
    """The replies of one connection, in RESP2 or RESP3. `feed` it what arrives; it returns their first lines.

    An array is one reply. Attributes belong to the reply that follows them. A push, which answers no command, begins
    with `>`. After bytes that are not replies it is `broken`, and finds no more.
    """

    def __init__(self) -> None:
        self.broken: bool = False
        self._buffer = bytearray()
        self._head = b""
        self._left = 0  # elements of the present reply that are still to come
        self._skip = 0  # bytes of a bulk string that are still to come, with its line end

    def feed(self, data: bytes) -> list[bytes]:
        """Take `data`, and return the first lines of the replies that end in it. Never raises."""
        if self.broken:
            return []
        self._buffer += data
        found = list(self._replies())
        if self.broken:
            self._buffer.clear()
        return found

    def _replies(self) -> Iterator[bytes]:
        at = 0
        while not self.broken:
            skipped = min(self._skip, len(self._buffer) - at)
            self._skip -= skipped
            at += skipped
            if self._skip:
                break
            if self._head and not self._left:
                yield self._head
                self._head = b""
            end = self._buffer.find(b"\n", at)
            if end < 0:
                self.broken = len(self._buffer) - at > _MAX_LINE
                break
            self._take(bytes(self._buffer[at:end]).rstrip(b"\r"))
            at = end + 1
        del self._buffer[:at]

    def _take(self, line: bytes) -> None:
        sign = line[:1]
        self._left = self._left or 1
        if not self._head and self._left == 1 and sign != b"|":  # more are left while an attribute is read
            self._head = line[:KEPT_BYTES]
        if sign in _LINES:
            self._left -= 1
            return
        number = _number(line, sign)
        if number is None or sign not in _BULKS + _AGGREGATES:
            self.broken = True
        elif sign in _BULKS:
            self._left -= 1
            self._skip = number + 2 if number >= 0 else 0
        elif sign == b"|":
            self._left += 2 * number
        else:
            self._left += max(number, 0) * (2 if sign == b"%" else 1) - 1


_LINES, _BULKS, _AGGREGATES = b"+-:_,#(", b"$=!", b"*~>%|"
