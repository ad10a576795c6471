"""Values that are to be written later: which of them wait, are being written, are tried again or are given up.

Rules
-----
1. Of a key at most one value waits: the last one. A value that takes another one's place inherits its turn, its number
   and its failures. So a key that is set often is written no later, and one that cannot be written is not tried anew
   with each value.
2. While a value of a key is being written, its next one is held apart. So values of one key are written in the order in
   which they came, whatever fails between.
3. A batch has values of one writer and one tenant. It is due when its oldest value has waited for `delay`, or when
   `max_batch` values wait. A writer has one batch at a time for each tenant.
4. After a failure a batch is divided: values that have failed as often are tried together, an eighth as many each
   time. So one that cannot be written is soon tried alone, and the others are written. After a failure its writer
   rests, unless a value failed again that was alone: that says nothing about others.
5. A value is given up when it fails `give_up_after` seconds or more after its first failure. It is never dropped: what
   leaves the queue was written, was replaced by a newer value of its key, or is returned as given up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count, islice
from typing import Any, Final

from tenantcache.values.core.codec import Codec
from tenantcache.values.core.writebehind import WriteBehind

DIVIDED_BY: Final = 8
"""Of 500 values one that cannot be written is alone at its fourth attempt."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
"""Seconds, as those of a store's circuit breaker (`runtime/breaker.py`): twice as long after each failure."""

Name = tuple[str | None, str]
"""The tenant's id, None for what belongs to none; the key."""

Place = tuple[str | None, str, Any]
"""A name, and the type that it is asked for with."""


@dataclass(slots=True, eq=False)
class Write:
    """A value as its codec has encoded it. `due` is when it may be written; `number` grows from one to the next.

    `failing_since` is when it failed first, None before that.
    """

    place: Place
    target: WriteBehind[Any]
    codec: Codec[Any]
    body: bytes | None
    size: int
    due: float
    number: int = 0
    failures: int = 0
    failing_since: float | None = None

    @property
    def name(self) -> Name:
        return self.place[:2]

    @property
    def value(self) -> object:
        """The value anew. None: there is none."""
        return None if self.body is None else self.codec.decode(self.body)


@dataclass(slots=True, eq=False)
class Lane:
    """What waits for one writer, of one tenant. `tiers[n]` has what failed n times, in the order of its turns.

    `failures`: batches in a row. `scheduled` is when its next batch is due as the queue knows it.
    """

    target: WriteBehind[Any]
    tenant_id: str | None
    tiers: list[dict[str, Write]] = field(default_factory=list)
    is_busy: bool = False
    failures: int = 0
    rests_until: float = -math.inf
    scheduled: float = math.inf

    def put(self, write: Write) -> None:
        while len(self.tiers) <= write.failures:
            self.tiers.append({})
        self.tiers[write.failures][write.name[1]] = write

    def drop(self, write: Write) -> None:
        del self.tiers[write.failures][write.name[1]]

    def due(self) -> float:
        """When its next batch is; never while one is being written."""
        return math.inf if self.is_busy else max(self.rests_until, min(map(self._due, self.tiers), default=math.inf))

    def take(self) -> list[Write]:
        """The next batch, out of the tier whose turn it is."""
        tier = min(self.tiers, key=self._due)
        size = max(1, self.target.max_batch // DIVIDED_BY ** next(iter(tier.values())).failures)
        taken = list(islice(tier.values(), size))
        for write in taken:
            del tier[write.name[1]]
        return taken

    def _due(self, tier: dict[str, Write]) -> float:
        first = next(iter(tier.values()), None)
        if first is None:
            return math.inf
        is_full = first.failures == 0 and len(tier) >= self.target.max_batch
        return -math.inf if is_full else first.due


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    lane: Lane
    writes: list[Write]


def pause(failures: int, share: float) -> float:
    """Seconds until the next attempt; `share`, from 0 to 1, is drawn by the caller, so that processes spread."""
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 10))
    return longest * (0.5 + 0.5 * share)


class WriteQueue:
    """At most `max_writes` values of `max_bytes` together, those that are being written included."""

    def __init__(self, max_writes: int, max_bytes: int) -> None:
        self.max_bytes: int = max_bytes
        self._max_writes = max_writes
        self._lanes: dict[tuple[WriteBehind[Any], str | None], Lane] = {}
        self._waiting: dict[Name, Write] = {}
        self._writing: dict[Name, Write] = {}
        self._next: dict[Name, Write] = {}  # what comes after a value that is being written
        self._turns: list[tuple[float, int, Lane]] = []
        self._turn = count()
        self._bytes = 0
        self._numbers = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._writing) + len(self._next)

    def __contains__(self, name: Name) -> bool:
        """Whether a value of that key waits or is being written."""
        return name in self._waiting or name in self._writing

    @property
    def newest(self) -> int:
        """The number of the value that came last."""
        return self._numbers

    def replaces(self, name: Name) -> bool:
        """Whether a value of that key would take the place of one that waits."""
        return self._before(name) is not None

    def has_room(self, name: Name, size: int) -> bool:
        """Whether a value may be put in. What takes another one's place needs room for the difference."""
        before = self._before(name)
        added = size - (0 if before is None else before.size)
        return (before is not None or len(self) < self._max_writes) and self._bytes + added <= self.max_bytes

    def put(self, write: Write) -> None:
        """Take a value in, whether there is room or not."""
        self._numbers += 1
        write.number = self._numbers
        before = self._before(write.name)
        if before is not None:
            self._inherit(before, write)
        self._bytes += write.size
        if write.name in self._writing:
            self._next[write.name] = write
        else:
            self._enter(write)

    def take(self, now: float) -> Batch | None:
        """The next batch that is due. It is to be told of by `succeeded`, `failed` or `put_back`."""
        if self.next_due() > now:
            return None
        _, _, lane = heappop(self._turns)
        lane.scheduled = math.inf
        batch = Batch(lane, lane.take())
        lane.is_busy = True
        for write in batch.writes:
            self._writing[write.name] = self._waiting.pop(write.name)
        return batch

    def next_due(self) -> float:
        """When a batch is due; infinity if none is before another one ends."""
        while self._turns and self._turns[0][2].scheduled != self._turns[0][0]:
            heappop(self._turns)
        return self._turns[0][0] if self._turns else math.inf

    def succeeded(self, batch: Batch) -> None:
        batch.lane.failures, batch.lane.rests_until = 0, -math.inf
        for write in batch.writes:
            del self._writing[write.name]
            self._bytes -= write.size
            self._follow(write.name)
        self._leave(batch.lane)

    def failed(self, batch: Batch, now: float, share: float) -> list[Write]:
        """What is given up; the rest is tried again. `share`: as for `pause`."""
        lane = batch.lane
        if len(batch.writes) > 1 or not batch.writes[0].failures:
            lane.failures += 1
            lane.rests_until = now + pause(lane.failures, share)
        given_up: list[Write] = []
        for write in batch.writes:
            del self._writing[write.name]
            write.failures += 1
            write.failing_since = now if write.failing_since is None else write.failing_since
            write.due = now + pause(write.failures, share)
            if now - write.failing_since >= write.target.give_up_after:
                given_up.append(write)
                self._bytes -= write.size
                self._follow(write.name)
            else:
                self._return(write)
        self._leave(lane)
        return given_up

    def put_back(self, batch: Batch) -> None:
        """It was interrupted: whether it was written is not known, so it is written again."""
        for write in batch.writes:
            del self._writing[write.name]
            self._return(write)
        self._leave(batch.lane)

    def hurry(self) -> None:
        """All that waits is due now, and each writer that rests is asked once more."""
        for write in (*self._waiting.values(), *self._next.values()):
            write.due = -math.inf
        for lane in self._lanes.values():
            lane.rests_until = -math.inf
            self._schedule(lane)

    def press(self) -> None:
        """What has not failed yet is due now."""
        for write in (*self._waiting.values(), *self._next.values()):
            if not write.failures:
                write.due = -math.inf
        for lane in self._lanes.values():
            self._schedule(lane)

    def count_to(self, number: int) -> int:
        """Values up to that number which are not written yet."""
        return sum(
            write.number <= number for writes in (self._waiting, self._writing, self._next) for write in writes.values()
        )

    def clear(self) -> list[Write]:
        """Hold nothing; what was held, of each key the last value."""
        left = {**self._writing, **self._waiting, **self._next}
        for held in (self._lanes, self._waiting, self._writing, self._next):
            held.clear()
        self._turns.clear()
        self._bytes = 0
        return list(left.values())

    # The places of a write.

    def _before(self, name: Name) -> Write | None:
        """The value whose place a new one would take."""
        return self._next.get(name) if name in self._writing else self._waiting.get(name)

    def _inherit(self, before: Write, write: Write) -> None:
        self._bytes -= before.size
        write.number, write.due = before.number, min(before.due, write.due)
        write.failures, write.failing_since = before.failures, before.failing_since
        if self._waiting.get(before.name) is before:
            del self._waiting[before.name]
            lane = self._lanes[before.target, before.name[0]]
            if write.target == before.target:
                return  # it keeps its place in the tier
            lane.drop(before)
            self._settle(lane)

    def _enter(self, write: Write) -> None:
        lane = self._lanes.get((write.target, write.name[0]))
        if lane is None:
            lane = self._lanes[write.target, write.name[0]] = Lane(write.target, write.name[0])
        self._waiting[write.name] = write
        lane.put(write)
        self._schedule(lane)

    def _return(self, write: Write) -> None:
        """Let a value that was not written wait again, unless a newer one of its key has come."""
        newer = self._next.pop(write.name, None)
        if newer is not None:
            self._inherit(write, newer)
        self._enter(newer or write)

    def _follow(self, name: Name) -> None:
        newer = self._next.pop(name, None)
        if newer is not None:
            self._enter(newer)

    def _leave(self, lane: Lane) -> None:
        lane.is_busy = False
        self._settle(lane)

    def _settle(self, lane: Lane) -> None:
        if lane.is_busy or any(lane.tiers):
            self._schedule(lane)
        else:
            lane.scheduled = math.inf
            del self._lanes[lane.target, lane.tenant_id]

    def _schedule(self, lane: Lane) -> None:
        due = lane.due()
        if due != lane.scheduled:
            lane.scheduled = due
            if due < math.inf:
                heappush(self._turns, (due, next(self._turn), lane))
