"""Keys chosen at random, and what they say of themselves: for how long they are unused, and what values hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from redis.exceptions import NoPermissionError

from tenantcache.budget.core.facts import Facts, IdleFacts, ValueFacts
from tenantcache.budget.core.keylives import KeyLife
from tenantcache.budget.core.patterns import fold
from tenantcache.stores.anyredis import AnyRedis, RedisNode, is_not_known
from tenantcache.values.core.secrecy import secret_in_json, shown_pattern

IDLE_ASKED = 50
COMMANDS = 4
"""For each key: RANDOMKEY, OBJECT IDLETIME, TTL, and GETRANGE for a value of tenantcache."""

UNUSED_AFTER = 7 * 86_400
"""Seconds without a read or write."""

READ = 8_191
"""Bytes of a value that are looked at."""

OWN = b":value:"


@dataclass(slots=True)
class Answers:
    """What the keys have said so far."""

    idle: list[int] = field(default_factory=list)
    lives: dict[bytes, KeyLife] = field(default_factory=dict)
    values: int = 0
    secrets: set[tuple[str, str]] = field(default_factory=set)


async def ask_random_keys(redis: AnyRedis, facts: Facts) -> Facts:
    """Servers that do not have the commands, or have an LFU policy, do not say."""
    answers, nodes = Answers(), redis.nodes[:IDLE_ASKED]
    count = max(min(IDLE_ASKED, facts.server.keys or IDLE_ASKED) // len(nodes), 1)
    for node in nodes:
        named = await node.send_many([("RANDOMKEY",)] * count)
        if is_not_known(named[0]):
            return replace(facts, refused=(*facts.refused, told(("RANDOMKEY",), named[0])))
        keys = [key for key in named if isinstance(key, bytes)]
        refusal = await _ask_idle(node, keys, answers) if keys else None
        await _ask_values(node, [key for key in keys if OWN in key], answers)
        if refusal is not None:
            facts = replace(facts, refused=(*facts.refused, told(("OBJECT", "IDLETIME"), refusal)))
            break
    return _with(facts, answers)


def _with(facts: Facts, answers: Answers) -> Facts:
    facts = replace(facts, values=ValueFacts(answers.values, tuple(sorted(answers.secrets))))
    if not answers.idle:
        return facts
    unused = [seconds for seconds in answers.idle if seconds >= UNUSED_AFTER]
    return replace(facts, idle=IdleFacts(len(answers.idle), len(unused)), lives=tuple(answers.lives.values()))


async def _ask_idle(node: RedisNode, keys: Sequence[bytes], answers: Answers) -> object:
    """The refusal; None if there is none."""
    replies: list[object] = await node.send_many([("OBJECT", "IDLETIME", key) for key in keys])
    if refusals := [reply for reply in replies if is_not_known(reply)]:
        return refusals[0]
    answers.idle += [reply for reply in replies if isinstance(reply, int)]
    left = await node.send_many([("TTL", key) for key in keys])
    for key, idle, ttl in zip(keys, replies, left, strict=True):
        if isinstance(idle, int) and isinstance(ttl, int):
            answers.lives[key] = KeyLife(fold(key), idle, ttl)  # a key may be chosen twice
    return None


async def _ask_values(node: RedisNode, keys: Sequence[bytes], answers: Answers) -> None:
    """Names of fields are looked for, and nothing of a value is kept."""
    replies = await node.send_many([("GETRANGE", key, 0, READ) for key in keys]) if keys else []
    for key, reply in zip(keys, replies, strict=True):
        if isinstance(reply, bytes) and reply.startswith(b'{"tenantcache":'):
            answers.values += 1
            if (kind := secret_in_json(reply)) is not None:
                answers.secrets.add((shown_pattern(key.decode("utf-8", "backslashreplace")), kind))


def told(command: Sequence[str], reply: object) -> str:
    """A command that was refused, and why."""
    name = " ".join(command)
    return f"{name} (this user may not run it)" if isinstance(reply, NoPermissionError) else name
