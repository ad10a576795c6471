"""Commands and replies in a stream of bytes: the same ones however the bytes are cut, and no value is kept."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantcache.budget.core.resp import KEPT_ARGUMENTS, KEPT_BYTES, CommandReader, ReplyReader, split_inline
from tests.resp import packed


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


commands = st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=6).map(tuple), max_size=8)
places = st.lists(st.integers(0, 2_000), max_size=12)


@given(commands, places)
def test_any_cut_of_the_bytes_gives_the_same_commands(sent: list[tuple[bytes, ...]], at: list[int]) -> None:
    data = b"".join(packed(*command) for command in sent)
    reader = CommandReader()
    found = [command for piece in cut(data, at) for command in reader.feed(piece)]
    assert found == sent
    assert not reader.broken


def test_one_byte_at_a_time() -> None:
    reader = CommandReader()
    data = packed(b"SET", b"key", b"a\r\nb") + b"PING\r\n" + packed(b"GET", b"")
    found = [command for byte in data for command in reader.feed(bytes([byte]))]
    assert found == [(b"SET", b"key", b"a\r\nb"), (b"PING",), (b"GET", b"")]


@given(st.binary(max_size=200), places)
def test_any_bytes_are_read_without_an_error(data: bytes, at: list[int]) -> None:
    reader, replies = CommandReader(), ReplyReader()
    for piece in cut(data, at):
        reader.feed(piece)
        replies.feed(piece)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"PING", [b"PING"]),
        (b"  set  a   b ", [b"set", b"a", b"b"]),
        (b'SET a "hello world"', [b"SET", b"a", b"hello world"]),
        (b"SET a 'it\\'s'", [b"SET", b"a", b"it's"]),
        (b'SET a "say \\"hi\\""', [b"SET", b"a", b'say "hi"']),
        (b'SET a ""', [b"SET", b"a", b""]),
        (b"", []),
    ],
)
def test_inline_commands(line: bytes, words: list[bytes]) -> None:
    assert split_inline(line) == words
    assert CommandReader().feed(line + b"\r\n") == ([tuple(words)] if words else [])
    assert CommandReader().feed(line + b"\n") == ([tuple(words)] if words else [])


@pytest.mark.parametrize("nothing", [b"\r\n", b"*0\r\n", b"*-1\r\n"])
def test_what_redis_passes_over(nothing: bytes) -> None:
    assert CommandReader().feed(nothing + packed(b"GET", b"a")) == [(b"GET", b"a")]


@pytest.mark.parametrize("wrong", [b"*x\r\n", b"*1\r\n:1\r\n", b"*1\r\n$-1\r\n", b"*1\r\n$x\r\n"])
def test_after_what_redis_refuses_nothing_is_found(wrong: bytes) -> None:
    reader = CommandReader()
    assert reader.feed(packed(b"GET", b"a") + wrong) == [(b"GET", b"a")]
    assert reader.broken
    assert reader.feed(packed(b"GET", b"b")) == []


def test_a_line_without_end_is_given_up() -> None:
    reader = CommandReader()
    reader.feed(b"x" * 65_000)
    assert not reader.broken
    reader.feed(b"x" * 1_000)
    assert reader.broken


def test_a_huge_value_is_counted_and_not_kept() -> None:
    reader, piece, pieces = CommandReader(), b"x" * 65_536, 512
    tracemalloc.start()
    reader.feed(b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$%d\r\n" % (len(piece) * pieces))
    for _ in range(pieces):
        assert reader.feed(piece) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert reader.feed(b"\r\n" + packed(b"PING")) == [(b"SET", b"key", b"x" * KEPT_BYTES), (b"PING",)]
    assert peak < 1_000_000  # of 32 MB


def test_of_many_arguments_the_first_are_kept() -> None:
    arguments = [b"MGET", *(b"k%d" % number for number in range(5_000))]
    reader = CommandReader()
    [command] = reader.feed(packed(*arguments))
    assert command == tuple(arguments[:KEPT_ARGUMENTS])
    assert reader.feed(packed(b"PING")) == [(b"PING",)]


# fmt: off
REPLIES = [
    (b"+OK\r\n", b"+OK"),
    (b"-ERR no\r\n", b"-ERR no"),
    (b":12\r\n", b":12"),
    (b"$5\r\na\r\nbc\r\n", b"$5"),
    (b"$-1\r\n", b"$-1"),
    (b"$0\r\n\r\n", b"$0"),
    (b"*-1\r\n", b"*-1"),
    (b"*0\r\n", b"*0"),
    (b"*2\r\n$1\r\na\r\n*2\r\n:1\r\n$-1\r\n", b"*2"),
    (b"_\r\n", b"_"),
    (b"#t\r\n", b"#t"),
    (b",1.5\r\n", b",1.5"),
    (b"(12345678901234567890\r\n", b"(12345678901234567890"),
    (b"=8\r\ntxt:\r\nab\r\n", b"=8"),
    (b"!5\r\nERR x\r\n", b"!5"),
    (b"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n", b"%2"),
    (b"~2\r\n+a\r\n+b\r\n", b"~2"),
    (b">2\r\n+message\r\n$1\r\na\r\n", b">2"),
    (b"|1\r\n+ttl\r\n:1\r\n*1\r\n:2\r\n", b"*1"),
    (b"*2\r\n|1\r\n+a\r\n:1\r\n:2\r\n:3\r\n", b"*2"),
]
# fmt: on


@given(st.lists(st.sampled_from(REPLIES), max_size=8), places)
def test_any_cut_of_the_bytes_gives_the_same_replies(sent: list[tuple[bytes, bytes]], at: list[int]) -> None:
    reader = ReplyReader()
    found = [head for piece in cut(b"".join(data for data, _ in sent), at) for head in reader.feed(piece)]
    assert found == [head for _, head in sent]
    assert not reader.broken


@pytest.mark.parametrize(("data", "head"), REPLIES)
def test_a_reply_is_known_as_soon_as_it_is_complete(data: bytes, head: bytes) -> None:
    reader = ReplyReader()
    assert reader.feed(data[:-1]) == []
    assert reader.feed(data[-1:]) == [head]


def test_a_huge_reply_is_not_kept() -> None:
    reader, piece, pieces = ReplyReader(), b"x" * 65_536, 512
    tracemalloc.start()
    reader.feed(b"*2\r\n+a\r\n$%d\r\n" % (len(piece) * pieces))
    for _ in range(pieces):
        assert reader.feed(piece) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert reader.feed(b"\r\n:1\r\n") == [b"*2", b":1"]
    assert peak < 1_000_000


def test_bytes_that_are_not_a_reply_break_the_reader() -> None:
    reader = ReplyReader()
    assert reader.feed(b"+OK\r\nHTTP/1.1 400\r\n") == [b"+OK"]
    assert reader.broken
    assert reader.feed(b"+OK\r\n") == []
