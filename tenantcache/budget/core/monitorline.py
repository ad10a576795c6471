"""Lines of MONITOR and names of keyspace events: what was done to which key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import Enum


class Deed(Enum):
    """What a command or an event does to a key."""

    WRITE = "write"
    READ = "read"
    GONE = "gone"
    """It was removed."""
    EXPIRED = "expired"


# What puts a value in place of another. Commands that answer with the value, like INCR, read it as well. SET with NX, a
# lock, replaces nothing, and neither do commands that add to a collection.
_WRITES = frozenset({"SET", "SETEX", "PSETEX", "HSET", "HMSET"})
# fmt: off
_FIRST_KEY_READS = frozenset(
    {
        "GET", "GETEX", "GETDEL", "GETRANGE", "SUBSTR", "STRLEN", "GETBIT", "BITCOUNT", "BITPOS", "BITFIELD_RO",
        "INCR", "INCRBY", "INCRBYFLOAT", "DECR", "DECRBY", "GETSET", "HGET", "HMGET", "HGETALL", "HKEYS",
        "HVALS", "HLEN", "HEXISTS", "HSTRLEN", "HRANDFIELD", "HSCAN", "HINCRBY", "HINCRBYFLOAT", "LRANGE",
        "LLEN", "LINDEX", "LPOS", "LPOP", "RPOP", "SMEMBERS", "SISMEMBER", "SMISMEMBER", "SCARD", "SRANDMEMBER",
        "SPOP", "SSCAN", "ZRANGE", "ZREVRANGE", "ZRANGEBYSCORE", "ZREVRANGEBYSCORE", "ZRANGEBYLEX", "ZSCORE",
        "ZMSCORE", "ZCARD", "ZCOUNT", "ZRANK", "ZREVRANK", "ZPOPMIN", "ZPOPMAX", "ZSCAN", "XRANGE", "XREVRANGE",
        "XLEN", "PFCOUNT", "DUMP", "BITFIELD", "JSON.GET",
    }
)
# fmt: on
_ALL_KEYS_READS = frozenset({"MGET", "EXISTS", "SUNION", "SINTER", "SDIFF", "JSON.MGET"})
_REMOVALS = frozenset({"DEL", "UNLINK"})
_EVENTS = {
    b"set": Deed.WRITE,
    b"hset": Deed.WRITE,
    b"del": Deed.GONE,
    b"expired": Deed.EXPIRED,
    b"evicted": Deed.GONE,
}
_ARGUMENT = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}
_DATABASE = re.compile(rb"[\d.]+ \[(\d+) ")


def read_line(line: bytes, database: int) -> Iterator[tuple[Deed, bytes]]:
    """The deeds of one line of MONITOR in a database; none if it is not about keys."""
    head = _DATABASE.match(line)
    if head is None or int(head[1]) != database:
        return
    words = [_ESCAPE.sub(_unescape, word) for word in _ARGUMENT.findall(line, head.end())]
    if len(words) >= 2:
        yield from deeds(words[0].decode("ascii", "replace").upper(), words[1:])


def _unescape(match: re.Match[bytes]) -> bytes:
    code = match[1]
    return bytes([int(code[1:], 16)]) if code[:1] == b"x" and len(code) == 3 else _ESCAPED.get(code, code)


def deeds(command: str, arguments: Sequence[bytes]) -> Iterator[tuple[Deed, bytes]]:
    """What a command does to its keys."""
    key = arguments[0]
    if command == "MSET":
        yield from ((Deed.WRITE, name) for name in arguments[::2])
    elif command in _ALL_KEYS_READS:
        yield from ((Deed.READ, name) for name in arguments)
    elif command in _REMOVALS:
        yield from ((Deed.GONE, name) for name in arguments)
    elif command in _FIRST_KEY_READS:
        yield Deed.READ, key
    elif command in _WRITES:
        options = {option.upper() for option in arguments[2:]} if command == "SET" else set()
        if options & {b"GET"}:
            yield Deed.READ, key
        if not options & {b"NX"}:
            yield Deed.WRITE, key


def read_event(channel: bytes, message: bytes) -> tuple[Deed, bytes] | None:
    """The deed of a message of `__keyevent@0__:set`, whose text is the key; None if it is another's."""
    deed = _EVENTS.get(channel.rpartition(b"__:")[2])
    return None if deed is None else (deed, message)
