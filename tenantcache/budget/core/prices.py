"""What Redis commands cost, by the way a provider bills: one row for each in `PRICES`.

Sources:

* Upstash, "Pricing & Billing" (upstash.com/docs/redis/overall/billing) and upstash.com/pricing/redis as of 2026-11-09.
  Each command of a pipeline or transaction is billed, a script as one and each command that it calls as another.
  Those of `FREE` are not. A write is billed once more for each read region.
* Amazon ElastiCache Serverless, Redis OSS in US East, "Unlock on-demand, cost-optimized performance with Amazon
  ElastiCache Serverless" (AWS Database Blog). A command costs an ECPU for each kB that it transfers both ways, at least
  one. One that takes more CPU time than a GET costs as many times that, if this is more. AWS's own estimator leaves
  CLUSTER out (command_classifier.py of aws/agent-toolkit-for-aws).

A client cannot see what a script calls. This package sends no scripts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Literal

Pricing = Literal["per-command", "ecpu", "flat"]
"""How a provider bills."""

Unit = Literal["commands", "ECPUs"]
"""What it counts."""

PRICED = 100_000
"""Units that a price is of."""

FREE = frozenset({"AUTH", "HELLO", "SELECT", "COMMAND", "CONFIG", "INFO", "PING", "RESET", "QUIT"})
"""Commands that open, keep or describe a connection."""

# fmt: off
READS = frozenset({
    "BITCOUNT", "BITFIELD_RO", "BITPOS", "CLIENT", "CLUSTER", "DBSIZE", "ECHO", "EXISTS", "EXPIRETIME", "GEODIST",
    "GEOHASH", "GEOPOS", "GEOSEARCH", "GET", "GETBIT", "GETRANGE", "HEXISTS", "HGET", "HGETALL", "HKEYS", "HLEN",
    "HMGET", "HRANDFIELD", "HSCAN", "HSTRLEN", "HVALS", "KEYS", "LCS", "LINDEX", "LLEN", "LPOS", "LRANGE", "MEMORY",
    "MGET", "OBJECT", "PEXPIRETIME", "PFCOUNT", "PTTL", "RANDOMKEY", "SCAN", "SCARD", "SDIFF", "SINTER", "SINTERCARD",
    "SISMEMBER", "SLOWLOG", "SMEMBERS", "SMISMEMBER", "SRANDMEMBER", "SSCAN", "STRLEN", "SUNION", "TIME", "TTL", "TYPE",
    "XINFO", "XLEN", "XPENDING", "XRANGE", "XREAD", "XREVRANGE", "ZCARD", "ZCOUNT", "ZINTER", "ZMSCORE", "ZRANDMEMBER",
    "ZRANGE", "ZRANGEBYSCORE", "ZRANK", "ZREVRANGE", "ZREVRANK", "ZSCAN", "ZSCORE", "ZUNION",
})
# fmt: on
"""What a read region answers, or what no key is changed by. Anything else counts as a write."""

KB = 1024

CPU_SHARES = {"BITFIELD": 0.12, "MGET": 0.2}
"""CPU time of one operation of a BITFIELD and of one key of an MGET, in that of a GET. AWS gives no figures. 3,000
operations take redis-server 7.0 1.1 ms, reading and parsing included, and AWS's estimator takes 3 us for an ECPU. A key
of an MGET takes it a fifth of a GET, by its own commandstats."""

_WORDS_PER_OPERATION = 4
"""INCRBY, type, offset and amount."""


@dataclass(frozen=True, slots=True)
class Tariff:
    """How commands are billed. `price` is dollars for `PRICED` units; `read_regions` of the database are beside its
    primary region. If `by_weight`, a command's size and CPU time count."""

    pricing: Pricing
    unit: Unit
    price: float
    free: frozenset[str] = FREE
    read_regions: int = 0
    by_weight: bool = False
    bills: bool = True

    def units(self, command: Sequence[Any], transferred: int = 0) -> int:
        """What is billed for `command`, of which `transferred` bytes went both ways. 0 if it is free."""
        name = command_name(command)
        if not self.bills or name in self.free:
            return 0
        if self.by_weight:
            return max(1, ceil(transferred / KB), ceil(_cpu_time(name, command)))
        return 1 if name in READS else 1 + self.read_regions

    def cost(self, units: float) -> float:
        """Dollars for so many units."""
        return units * self.price / PRICED


PRICES: Mapping[Pricing, Tariff] = {
    "per-command": Tariff("per-command", "commands", price=0.20),
    "ecpu": Tariff("ecpu", "ECPUs", price=0.00034, free=FREE | {"CLUSTER"}, by_weight=True),
    "flat": Tariff("flat", "commands", price=0.0, bills=False),
}
"""In dollars. Flat: a server, or a plan of a fixed price. Commands cost nothing there, but memory does."""

PER_COMMAND = PRICES["per-command"]


def tariff_of(pricing: Pricing, *, read_regions: int = 0, price: float | None = None) -> Tariff:
    """The row of `pricing`, with the `price` of one's own if there is one. Read regions matter only per command."""
    row = PRICES[pricing]
    return replace(row, read_regions=read_regions, price=row.price if price is None or not row.bills else price)


def command_name(command: Sequence[Any]) -> str:
    """The name of a command, in upper case: GET, or CONFIG of CONFIG GET."""
    name = command[0]
    return (name.decode("ascii", "replace") if isinstance(name, bytes) else str(name)).upper().partition(" ")[0]


def count_billed(commands: Sequence[Sequence[Any]]) -> int:
    """How many of `commands` are billed."""
    return sum(command_name(command) not in FREE for command in commands)


def _cpu_time(name: str, command: Sequence[Any]) -> float:
    """In that of a GET."""
    if name == "MGET":
        return CPU_SHARES[name] * (len(command) - 1)
    if name == "BITFIELD":
        return CPU_SHARES[name] * (len(command) - 2) / _WORDS_PER_OPERATION
    return 1.0
