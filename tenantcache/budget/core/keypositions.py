"""Which arguments of a command are keys.

Source: the table that a Redis 7.0 gives in answer to COMMAND, and `COMMAND GETKEYS` for those whose keys move. The
first argument is the key unless a table here says otherwise, which is right for nearly all commands of modules too.
Channels are not keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple


class KeyRange(NamedTuple):
    """Positions from `first` to `last`, each `step`th; a negative `last` counts from the end."""

    first: int
    last: int
    step: int = 1


class CountedKeys(NamedTuple):
    """The argument at `count_at` says how many keys follow it, each `step`th. `target` is whether 1 is a key too."""

    count_at: int
    target: bool = False
    step: int = 1


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# fmt: off
_KEYLESS = _words("""
    ACL ASKING AUTH BGREWRITEAOF BGSAVE CLIENT CLUSTER COMMAND CONFIG DBSIZE DISCARD ECHO EXEC FAILOVER FLUSHALL FLUSHDB
    FUNCTION HELLO INFO KEYS LASTSAVE LATENCY LOLWUT MODULE MONITOR MULTI PFSELFTEST PING PSUBSCRIBE PSYNC PUBLISH
    PUBSUB PUNSUBSCRIBE QUIT RANDOMKEY READONLY READWRITE REPLCONF REPLICAOF RESET ROLE SAVE SCAN SCRIPT SELECT SHUTDOWN
    SLAVEOF SLOWLOG SPUBLISH SSUBSCRIBE SUBSCRIBE SUNSUBSCRIBE SWAPDB SYNC TIME UNSUBSCRIBE UNWATCH WAIT WAITAOF
""")
_RANGES = {
    **dict.fromkeys(_words("BLPOP BRPOP BZPOPMAX BZPOPMIN JSON.MGET"), KeyRange(1, -2)),
    **dict.fromkeys(_words("""
        DEL EXISTS MGET PFCOUNT PFMERGE SDIFF SDIFFSTORE SINTER SINTERSTORE SUNION SUNIONSTORE TOUCH UNLINK WATCH
    """), KeyRange(1, -1)),
    **dict.fromkeys(_words("MSET MSETNX"), KeyRange(1, -1, 2)),
    **dict.fromkeys(_words("""
        BLMOVE BRPOPLPUSH COPY GEOSEARCHSTORE LCS LMOVE RENAME RENAMENX RPOPLPUSH SMOVE ZRANGESTORE
    """), KeyRange(1, 2)),
    **dict.fromkeys(_words("DEBUG MEMORY OBJECT PFDEBUG XGROUP XINFO"), KeyRange(2, 2)),
    "BITOP": KeyRange(2, -1),
    "JSON.MSET": KeyRange(1, -1, 3),
}
_COUNTED = {
    **dict.fromkeys(_words("EVAL EVALSHA EVAL_RO EVALSHA_RO FCALL FCALL_RO BLMPOP BZMPOP"), CountedKeys(2)),
    **dict.fromkeys(_words("LMPOP ZMPOP SINTERCARD ZDIFF ZINTER ZINTERCARD ZUNION"), CountedKeys(1)),
    **dict.fromkeys(_words("ZDIFFSTORE ZINTERSTORE ZUNIONSTORE"), CountedKeys(2, target=True)),
    "MSETEX": CountedKeys(1, step=2),
}
_STORING = {
    **dict.fromkeys(_words("SORT SORT_RO"), frozenset({b"STORE"})),
    **dict.fromkeys(_words("GEORADIUS GEORADIUSBYMEMBER"), frozenset({b"STORE", b"STOREDIST"})),
}
# fmt: on


def keys_of(name: str, command: Sequence[bytes]) -> Sequence[bytes]:
    """The keys in `command`, whose name in upper case is `name`. What Redis would refuse may have any, or none."""
    if name in _KEYLESS or len(command) < 2:
        return ()
    if (positions := _RANGES.get(name)) is not None:
        last = positions.last if positions.last > 0 else len(command) + positions.last
        return command[positions.first : last + 1 : positions.step]
    if (counted := _COUNTED.get(name)) is not None:
        return _counted_keys(counted, command)
    if (find := _FINDERS.get(name)) is not None:
        return find(command)
    return [command[1], *_stored(_STORING.get(name, frozenset()), command)]


def _counted_keys(counted: CountedKeys, command: Sequence[bytes]) -> Sequence[bytes]:
    count = command[counted.count_at] if len(command) > counted.count_at else b""
    first = counted.count_at + 1
    keys = command[first : first + int(count) * counted.step : counted.step] if count.isdigit() else ()
    return [command[1], *keys] if counted.target else keys


def _stream_keys(command: Sequence[bytes]) -> Sequence[bytes]:
    words = [argument.upper() for argument in command]
    if b"STREAMS" not in words:
        return ()
    first = words.index(b"STREAMS") + 1
    return command[first : first + (len(command) - first) // 2]


def _migrated_keys(command: Sequence[bytes]) -> Sequence[bytes]:
    if len(command) > 3 and command[3]:
        return command[3:4]
    words = [argument.upper() for argument in command]
    return command[words.index(b"KEYS") + 1 :] if b"KEYS" in words else ()


def _stored(options: frozenset[bytes], command: Sequence[bytes]) -> list[bytes]:
    """The keys that options like STORE name. They stand behind what is not an option: a key, and for GEO a place."""
    return [value for option, value in pairwise(command[2:]) if option.upper() in options]


_FINDERS: Mapping[str, Callable[[Sequence[bytes]], Sequence[bytes]]] = {
    "XREAD": _stream_keys,
    "XREADGROUP": _stream_keys,
    "MIGRATE": _migrated_keys,
}

# fmt: off
_KINDS: Mapping[str, str] = {
    name: kind
    for kind, names in {
        "string": """
            APPEND BITCOUNT BITFIELD BITFIELD_RO BITPOS DECR DECRBY GET GETBIT GETDEL GETEX GETRANGE GETSET INCR INCRBY
            INCRBYFLOAT MGET MSET MSETNX PSETEX SET SETBIT SETEX SETNX SETRANGE STRLEN
        """,
        "hash": """
            HDEL HEXISTS HGET HGETALL HGETDEL HGETEX HINCRBY HINCRBYFLOAT HKEYS HLEN HMGET HMSET HRANDFIELD HSCAN HSET
            HSETEX HSETNX HSTRLEN HVALS
        """,
        "list": """
            BLMOVE BLMPOP BLPOP BRPOP BRPOPLPUSH LINDEX LINSERT LLEN LMOVE LMPOP LPOP LPOS LPUSH LPUSHX LRANGE LREM LSET
            LTRIM RPOP RPOPLPUSH RPUSH RPUSHX
        """,
        "set": """
            SADD SCARD SDIFF SDIFFSTORE SINTER SINTERCARD SINTERSTORE SISMEMBER SMEMBERS SMISMEMBER SMOVE SPOP
            SRANDMEMBER SREM SSCAN SUNION SUNIONSTORE
        """,
        "zset": """
            BZMPOP BZPOPMAX BZPOPMIN ZADD ZCARD ZCOUNT ZDIFF ZDIFFSTORE ZINCRBY ZLEXCOUNT ZMPOP ZMSCORE ZPOPMAX ZPOPMIN
            ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANGESTORE ZRANK ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK
            ZREMRANGEBYSCORE ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE
        """,
        "stream": """
            XACK XADD XAUTOCLAIM XCLAIM XDEL XGROUP XINFO XLEN XPENDING XRANGE XREAD XREADGROUP XREVRANGE XTRIM
        """,
    }.items()
    for name in names.split()
}
# fmt: on


def kind_of(name: str) -> str:
    """The type, as TYPE answers, that the keys of a command have; "" if it works on any, or is not known."""
    return _KINDS.get(name, "")
