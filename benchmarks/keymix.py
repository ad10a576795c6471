"""A million keys as applications leave them: a skewed mix of patterns, types and sizes, and what is true of them."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import redis

DAY = 86_400
BATCH = 2_000
Command = tuple[Any, ...]
Maker = Callable[[random.Random, int], Command]
LETTERS = "bcdfghjklmnpqrstvwxz"


@dataclass(frozen=True)
class Part:
    """A pattern, its keys among a million, and the command that makes one of them. They all expire after two days, or
    never, so that their number stands while they are counted."""

    pattern: str
    keys: int
    make: Maker
    expires: bool = True


def _text(draw: random.Random, mean: float, sigma: float) -> str:
    return "x" * max(1, min(300_000, int(draw.lognormvariate(mean, sigma))))


def _uuid(draw: random.Random) -> str:
    return str(uuid.UUID(int=draw.getrandbits(128), version=4))


def _hash(draw: random.Random) -> str:
    return f"{draw.getrandbits(128):032x}"


def _name(draw: random.Random) -> str:
    return "".join(draw.choices(LETTERS, k=9))


def _ip(draw: random.Random) -> str:
    return ".".join(str(draw.randrange(256)) for _ in range(4))


def _token(draw: random.Random) -> str:
    """Letters and digits take turns often enough for it to be told from a word."""
    return "".join(f"{draw.choice(LETTERS)}{draw.choice(LETTERS.upper())}{draw.randrange(10)}" for _ in range(7))


def _profile(draw: random.Random, number: int) -> Command:
    fields = [part for field in range(5) for part in (f"field{field}", _text(draw, 2.5, 0.5)[:60])]
    return ("HSET", f"tenant:{number}:profile", *fields)


def _board(draw: random.Random, number: int) -> Command:
    count = max(1, min(3_000, int(draw.lognormvariate(2.5, 1.0))))
    return ("ZADD", f"board:{number}", *(part for entry in range(count) for part in (entry, f"player{entry}")))


PARTS: Sequence[Part] = (
    Part("user:{id}:session", 300_000, lambda draw, n: ("SET", f"user:{n}:session", _text(draw, 5.5, 0.6))),
    Part(
        "ratelimit:{id}:{date}:{time}",
        250_000,
        lambda draw, n: ("SET", f"ratelimit:{n}:20261126:{n % 24:02}{n % 60:02}", n % 100),
        expires=False,
    ),
    Part("cache:{hash}", 150_000, lambda draw, n: ("SET", f"cache:{_hash(draw)}", _text(draw, 6.5, 1.0))),
    Part("tenant:{id}:profile", 80_000, _profile),
    Part(
        "celery-task-meta-{uuid}",
        70_000,
        lambda draw, n: ("SET", f"celery-task-meta-{_uuid(draw)}", _text(draw, 5, 0.5)),
    ),
    Part("profile:{name}", 50_000, lambda draw, n: ("SET", f"profile:{_name(draw)}", _text(draw, 4.5, 0.3))),
    Part("lock:{uuid}", 30_000, lambda draw, n: ("SET", f"lock:{_uuid(draw)}", 1)),
    Part("queue:{id}", 20_000, lambda draw, n: ("RPUSH", f"queue:{n}", *range(draw.randint(1, 20))), expires=False),
    Part("visits:{date}:{ip}", 20_000, lambda draw, n: ("SET", f"visits:2026-11-26:{_ip(draw)}", n)),
    Part("board:{id}", 12_000, _board, expires=False),
    Part("temp:{uuid}", 10_000, lambda draw, n: ("SET", f"temp:{_uuid(draw)}", _text(draw, 4, 1.0)), expires=False),
    Part("@upstash/ratelimit:{ip}:{id}", 5_000, lambda draw, n: ("SET", f"@upstash/ratelimit:{_ip(draw)}:{n}", 1)),
    Part("search:{token}", 2_000, lambda draw, n: ("SET", f"search:{_token(draw)}", _text(draw, 7, 0.8))),
    Part("export:{id}", 500, lambda draw, n: ("SET", f"export:{n}", _text(draw, 10.5, 0.8))),
    Part("{user:{id}}:cart", 438, lambda draw, n: ("SADD", f"{{user:{n}}}:cart", *range(draw.randint(1, 9)))),
    Part(
        "report:{date}", 60, lambda draw, n: ("SET", f"report:{2000 + n // 12}-{1 + n % 12:02}-01", _text(draw, 8, 0.5))
    ),
    Part("config:features", 1, lambda draw, n: ("SET", "config:features", "{}"), expires=False),
    Part("tenant:settings", 1, lambda draw, n: ("SET", "tenant:settings", "{}"), expires=False),
)


def commands(scale: float, seed: int) -> Iterator[tuple[str, Command, bool]]:
    """Pattern, command and whether the key expires, for `scale` million keys; a pattern has one key at least."""
    draw = random.Random(seed)
    for part in PARTS:
        for number in range(max(1, round(part.keys * scale))):
            yield part.pattern, part.make(draw, number), part.expires


def fill(client: redis.Redis, scale: float = 1.0, seed: int = 1) -> dict[str, list[str]]:
    """Write the keys, and return them by pattern."""
    keys: dict[str, list[str]] = {}
    pipeline: Any = client.pipeline(transaction=False)
    for number, (pattern, command, expires) in enumerate(commands(scale, seed)):
        pipeline.execute_command(*command)
        if expires:
            pipeline.execute_command("EXPIRE", command[1], 2 * DAY + number % DAY)
        keys.setdefault(pattern, []).append(command[1])
        if number % BATCH == BATCH - 1:
            pipeline.execute()
    pipeline.execute()
    return keys


def true_bytes(client: redis.Redis, keys: dict[str, list[str]]) -> dict[str, int]:
    """What MEMORY USAGE says of all keys, by pattern."""
    sums = {}
    for pattern, names in keys.items():
        total = 0
        for start in range(0, len(names), BATCH):
            pipeline: Any = client.pipeline(transaction=False)
            for name in names[start : start + BATCH]:
                pipeline.execute_command("MEMORY USAGE", name)
            total += sum(pipeline.execute())
        sums[pattern] = total
    return sums
