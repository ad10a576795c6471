"""Watches how keys are written and read: from MONITOR, from keyspace events, or by looking at some keys twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Any, Protocol

from tenantcache.budget.core.churn import SLACK, Churn, Ledger, Look, compare_looks
from tenantcache.budget.core.monitorline import read_event, read_line
from tenantcache.budget.sampling import KEYS_AT_ONCE, KeySampler

NEEDED_EVENTS = "E$hxe"
"""For notify-keyspace-events: events by name, of strings, hashes, expiry and eviction."""


class Method(Enum):
    """How keys are watched."""

    MONITOR = "monitor"
    EVENTS = "events"
    SAMPLES = "samples"


class ChurnNode(Protocol):
    """One server. `listen` sends a command whose replies do not end, and gives each of them."""

    @property
    def address(self) -> str: ...

    async def send_many(self, commands: Sequence[Sequence[Any]]) -> list[Any]: ...

    def listen(self, *command: Any) -> AsyncIterator[Any]: ...


@dataclass(frozen=True, slots=True)
class Watched:
    """By pattern what was written; `notes` say what is not known. With `scan_refused` nothing is."""

    churn: list[Churn]
    notes: tuple[str, ...] = ()
    scan_refused: bool = False


async def has_events(node: ChurnNode) -> bool:
    """Whether the server tells of sets and expiries. Free; it is only asked, never changed."""
    [reply] = await node.send_many([("CONFIG GET", "notify-keyspace-events")])
    if not isinstance(reply, dict):
        return False
    flags = next((str(_text(value)) for value in reply.values()), "")
    return "E" in flags and ("A" in flags or "$" in flags)


def _text(value: Any) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)


async def watch_monitor(nodes: Sequence[ChurnNode], seconds: float, database: int) -> Watched:
    """Every command for so many seconds: one billed command for each server."""
    ledger = Ledger(sees_reads=True)

    def enter(line: Any) -> None:
        if isinstance(line, bytes):
            for deed, key in read_line(line, database):
                ledger.enter(deed, key)

    return await _listen(nodes, ("MONITOR",), seconds, ledger, enter)


async def watch_events(nodes: Sequence[ChurnNode], seconds: float, database: int) -> Watched:
    """Every event for so many seconds: one billed command for each server. Events do not tell of reads."""
    ledger = Ledger(sees_reads=False)

    def enter(message: Any) -> None:
        if isinstance(message, list) and len(message) == 4 and message[0] == b"pmessage":
            event = read_event(message[2], message[3])
            if event is not None:
                ledger.enter(*event)

    return await _listen(nodes, ("PSUBSCRIBE", f"__keyevent@{database}__:*"), seconds, ledger, enter)


async def _listen(
    nodes: Sequence[ChurnNode], command: Sequence[str], seconds: float, ledger: Ledger, enter: Callable[[Any], None]
) -> Watched:
    async def listen(node: ChurnNode) -> None:
        async with aclosing(node.listen(*command)) as replies:  # type: ignore[type-var]
            async for reply in replies:
                enter(reply)

    try:
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
            for node in nodes:
                group.create_task(listen(node))
    except TimeoutError:
        pass
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    notes = ("more keys were written than are followed; the others are left out",) if ledger.overflowed else ()
    return Watched(ledger.churn(), notes)


async def watch_samples(
    nodes: Sequence[ChurnNode],
    seconds: float,
    *,
    max_commands: int,
    random: Random,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Watched:
    """Look at some keys of each pattern, and again so many seconds later, with `max_commands` at most."""
    sampler = KeySampler(nodes, max_commands, random)
    await sampler.count_keys()
    await sampler.name_keys()
    sample = sampler.sample()
    chosen = _choose(sampler, (max_commands - sample.billed_commands) // 4)
    first = await _look(nodes, chosen)
    await sleep(seconds)
    second = await _look(nodes, chosen)
    notes = [
        "writes are told from times to live that went up again, and reads from OBJECT IDLETIME: "
        f"what was read in the first {SLACK} s counts as not read"
    ]
    if any(look.idle is None for look in first.values()):
        notes.append("OBJECT IDLETIME is refused (or an LFU policy is on), so whether keys were read is not known")
    if chosen and not first:
        notes.append("TTL is refused, or the keys are gone, so whether they were written is not known")
    return Watched(compare_looks(first, second, seconds), tuple(notes), sample.scan_refused)


def _choose(sampler: KeySampler, most: int) -> list[tuple[str, int, bytes]]:
    """Pattern, node and key; the patterns take turns, so that each has as many as there are."""
    waiting = {pattern: keys[::-1] for pattern, keys in sampler.keys_by_pattern().items()}
    chosen: list[tuple[str, int, bytes]] = []
    while waiting and len(chosen) < most:
        for pattern, keys in list(waiting.items())[: most - len(chosen)]:
            chosen.append((pattern, *keys.pop()))
            if not keys:
                del waiting[pattern]
    return chosen


async def _look(nodes: Sequence[ChurnNode], chosen: Sequence[tuple[str, int, bytes]]) -> dict[tuple[str, bytes], Look]:
    """Two billed commands for each key."""
    looks = {}
    for number, node in enumerate(nodes):
        here = [(pattern, key) for pattern, at, key in chosen if at == number]
        for start in range(0, len(here), KEYS_AT_ONCE):
            asked = here[start : start + KEYS_AT_ONCE]
            replies = await node.send_many(
                [command for _, key in asked for command in (("TTL", key), ("OBJECT IDLETIME", key))]
            )
            for name, ttl, idle in zip(asked, replies[::2], replies[1::2], strict=True):
                if isinstance(ttl, int) and ttl != -2:
                    looks[name] = Look(ttl, idle if isinstance(idle, int) else None)
    return looks
