"""The keys of a command are those that Redis itself finds in it (COMMAND GETKEYS)."""

from __future__ import annotations

import pytest
from redis import Redis

from tenantcache.budget.core.keypositions import keys_of, kind_of

# fmt: off
COMMANDS = {
    "GET a": "a",
    "SET a b EX 10": "a",
    "MGET a b c": "a b c",
    "MSET a 1 b 2": "a b",
    "DEL a b": "a b",
    "BITFIELD a SET u8 0 1 GET u8 0": "a",
    "BITOP AND dest a b": "dest a b",
    "EVAL return 2 a b 1 2": "a b",
    "EVALSHA da39a3ee5e6b4b0d3255bfef95601890afd80709 1 a b": "a",
    "FCALL f 1 a x": "a",
    "XADD s * f v": "s",
    "XREAD COUNT 2 BLOCK 10 STREAMS a b 0-0 0-0": "a b",
    "XREADGROUP GROUP g c COUNT 1 STREAMS a b > >": "a b",
    "XGROUP CREATE a g $": "a",
    "XINFO STREAM a": "a",
    "ZADD z 1 m": "z",
    "ZUNIONSTORE dest 2 a b WEIGHTS 1 2": "dest a b",
    "ZINTERSTORE dest 1 a": "dest a",
    "ZUNION 2 a b WITHSCORES": "a b",
    "ZINTERCARD 2 a b LIMIT 1": "a b",
    "SINTERCARD 1 a": "a",
    "LMPOP 2 a b LEFT": "a b",
    "BLMPOP 1 2 a b LEFT": "a b",
    "BZMPOP 1 1 a MIN": "a",
    "BLPOP a b 5": "a b",
    "BZPOPMIN a 0": "a",
    "BLMOVE a b LEFT RIGHT 0": "a b",
    "RENAME a b": "a b",
    "COPY a b": "a b",
    "SORT a BY w_* LIMIT 0 1 STORE dest": "a dest",
    "GEORADIUS a 1 2 3 km STORE dest": "a dest",
    "GEOSEARCHSTORE dest a FROMMEMBER m BYRADIUS 1 km": "dest a",
    "OBJECT ENCODING a": "a",
    "MEMORY USAGE a": "a",
    "PFMERGE dest a b": "dest a b",
    "SINTERSTORE dest a b": "dest a b",
    "LCS a b": "a b",
    "MIGRATE h 1 a 0 10": "a",
    "HSET h f v": "h",
    "PEXPIRE a 100": "a",
    "WATCH a b": "a b",
}
# fmt: on


@pytest.mark.parametrize("text", COMMANDS)
def test_keys_are_those_that_redis_finds(text: str, redis_url: str) -> None:
    words = [word.encode() for word in text.split()]
    expected = [key.encode() for key in COMMANDS[text].split()]
    assert list(keys_of(text.split(maxsplit=1)[0], words)) == expected
    with Redis.from_url(redis_url) as client:
        found = client.execute_command("COMMAND GETKEYS", *words)
    assert [key.encode() for key in found] == expected


def test_migrate_may_name_its_keys_last() -> None:
    words = [b"MIGRATE", b"h", b"1", b"", b"0", b"10", b"KEYS", b"a", b"b"]
    assert list(keys_of("MIGRATE", words)) == [b"a", b"b"]


def test_all_commands_of_this_redis(redis_url: str) -> None:
    """For each command whose keys stand at fixed places, we find as many as its table says."""
    with Redis.from_url(redis_url, protocol=2) as client:
        table = client.execute_command("COMMAND")
    assert len(table) > 150
    channels = {"ssubscribe", "sunsubscribe", "spublish"}
    for name, row in table.items():
        first, last, step = row["first_key_pos"], row["last_key_pos"], row["step_count"]
        if "movablekeys" in row["flags"] or name in channels or (not first and name in SUBCOMMANDS_HAVE_KEYS):
            continue
        words = [name.encode(), *(b"%d" % number for number in range(1, 9))]
        expected = words[first : (last + len(words) if last < 0 else last) + 1 : step] if first else []
        assert list(keys_of(name.upper(), words)) == expected, name


SUBCOMMANDS_HAVE_KEYS = {"object", "memory", "xinfo", "xgroup", "debug"}


@pytest.mark.parametrize("text", ["PUBLISH news hi", "SUBSCRIBE a", "AUTH secret", "SCAN 0", "KEYS *", "GET", "PING"])
def test_these_have_none(text: str) -> None:
    assert list(keys_of(text.split(maxsplit=1)[0], [word.encode() for word in text.split()])) == []


@pytest.mark.parametrize("text", ["EVAL return", "EVAL return x a", "XREAD COUNT 1", "ZUNIONSTORE", "MIGRATE h"])
def test_what_redis_refuses_is_no_error(text: str) -> None:
    keys_of(text.split(maxsplit=1)[0], [word.encode() for word in text.split()])


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("string", "SET a b"),
        ("hash", "HSET a f v"),
        ("list", "RPUSH a v"),
        ("set", "SADD a v"),
        ("zset", "ZADD a 1 v"),
        ("stream", "XADD a * f v"),
    ],
)
def test_a_command_tells_the_type(kind: str, command: str, redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        client.execute_command(*command.split())
        assert client.type("a").decode() == kind == kind_of(command.split(maxsplit=1)[0])
    assert kind_of("DEL") == ""
