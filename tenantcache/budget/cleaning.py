"""Removes the keys that match a pattern, in batches, in constant memory, and so that it can be gone on with.

The walk is SCAN's: what is there from its beginning to its end is found. A batch is what one SCAN names. Its cursor is
only left behind when the batch is removed, so that going on from there misses nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from redis.crc import key_slot

from tenantcache.budget.core.livekeys import LiveKeys

EXAMPLES = 10

MAX_KEYS = 2_000
"""Keys of one UNLINK: what one SCAN names, which may be some more than asked for."""

AT_ONCE = 100
"""UNLINKs in one round trip. It is one for a batch, and in a cluster one for each of its hash slots."""


class Allowance(Protocol):
    """How many more billed commands may be sent."""

    @property
    def remaining(self) -> int: ...


class CleanNode(Protocol):
    """One server. `send_many` returns the replies, an exception in place of each that was refused."""

    @property
    def address(self) -> str: ...

    @property
    def spending(self) -> Allowance: ...

    async def send_many(self, commands: Sequence[Sequence[Any]]) -> list[Any]: ...


@dataclass(frozen=True, slots=True)
class Place:
    """A server, and the cursor of the walk on it."""

    address: str
    cursor: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """What to remove: nothing without `removes`. `rate` is in keys a second, None without a limit.

    `count` keys are looked at with one SCAN, and at most `scans` of them, None without a limit. With `by_slot` no
    command has keys of two hash slots, as a cluster wants it.
    """

    pattern: bytes
    live: LiveKeys
    removes: bool = False
    rate: float | None = None
    count: int = 1_000
    by_slot: bool = False
    scans: int | None = None


@dataclass(slots=True)
class Outcome:
    """How far it came; it is kept up to date, so that it holds when the work is cut off.

    `kept` are keys that match and are tenantcache's live ones, which count neither as matched. `place` is to be gone on
    from, None at the end. `refusal` is what the server said when it would not go on.
    """

    matched: int = 0
    removed: int = 0
    kept: int = 0
    scans: int = 0
    examples: list[bytes] = field(default_factory=list)
    place: Place | None = None
    refusal: str | None = None


class Cleaner:
    """`told` hears of the outcome after each batch; `sleep` waits so many seconds."""

    def __init__(
        self,
        nodes: Sequence[CleanNode],
        order: Order,
        *,
        told: Callable[[Outcome], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nodes = nodes
        self._order = order
        self._told = told
        self._sleep = sleep
        self._clock = clock
        self._command = "UNLINK"
        self._began = clock()
        self.outcome: Outcome = Outcome()

    async def run(self, start: Place | None = None) -> Outcome:
        """Walk from `start` on, by default from the first key of the first server.

        It ends early at the limit of billed commands. Raises what the nodes raise if they cannot be reached, and
        ValueError if `start` names another server.
        """
        addresses = [node.address for node in self._nodes]
        first = 0 if start is None else addresses.index(start.address)
        self.outcome.place = start or Place(addresses[0])
        self._began = self._clock()
        for node in self._nodes[first:]:
            if self.outcome.place.address != node.address:
                self.outcome.place = Place(node.address)
            if not await self._clean_node(node, self.outcome.place.cursor):
                return self.outcome
        self.outcome.place = None
        return self.outcome

    async def _clean_node(self, node: CleanNode, cursor: int) -> bool:
        """Whether the walk of this server came to its end."""
        outcome = self.outcome
        while self._order.scans is None or outcome.scans < self._order.scans:
            if node.spending.remaining < 1:
                return False
            match = ("SCAN", cursor, "MATCH", self._order.pattern, "COUNT", self._order.count)
            [reply] = await node.send_many([match])
            if isinstance(reply, Exception):
                outcome.refusal = f"SCAN is refused: {reply}"
                return False
            outcome.scans += 1
            if not await self._take(node, reply[1]):
                return False
            cursor = int(reply[0])
            outcome.place = Place(node.address, cursor)
            if self._told is not None:
                self._told(outcome)
            if not cursor:
                return True
            await self._keep_rate()
        return False

    async def _take(self, node: CleanNode, found: Sequence[bytes]) -> bool:
        """Whether a batch was dealt with as a whole."""
        keys = [key for key in dict.fromkeys(found) if not self._order.live.holds(key)]
        done = await self._remove(node, keys) if self._order.removes else len(keys)
        self.outcome.matched += done
        self.outcome.examples += keys[: EXAMPLES - len(self.outcome.examples)]
        if done < len(keys):
            return False
        self.outcome.kept += len(found) - len(keys)
        return True

    async def _remove(self, node: CleanNode, keys: Sequence[bytes]) -> int:
        """Of how many the server was told: all, unless it refuses or the limit is reached."""
        groups, done = self._groups(keys), 0
        while groups and node.spending.remaining:
            most = min(AT_ONCE, node.spending.remaining)
            sent, groups = groups[:most], groups[most:]
            replies = await node.send_many([(self._command, *group) for group in sent])
            refusal = next((reply for reply in replies if isinstance(reply, Exception)), None)
            self.outcome.removed += sum(reply for reply in replies if not isinstance(reply, Exception))
            if refusal is not None and self._command == "UNLINK":
                self._command = "DEL"  # servers and users that have only that
                groups = [*sent, *groups]
            elif refusal is not None:
                self.outcome.refusal = f"{self._command} is refused: {refusal}"
                break
            else:
                done += sum(map(len, sent))
        return done

    async def _keep_rate(self) -> None:
        if self._order.rate and self.outcome.removed:
            due = self._began + self.outcome.removed / self._order.rate
            await self._sleep(max(0.0, due - self._clock()))

    def _groups(self, keys: Sequence[bytes]) -> list[Sequence[bytes]]:
        if not self._order.by_slot:
            return [keys[start : start + MAX_KEYS] for start in range(0, len(keys), MAX_KEYS)]
        slots: dict[int, list[bytes]] = {}
        for key in keys:
            slots.setdefault(key_slot(key), []).append(key)
        return list(slots.values())
