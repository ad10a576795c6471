"""Two processes, a database with its log, and a Redis, each message of which is delivered when a test says so.

Truth is a version of each key. A restored backup brings an old one back, and numbers of the log are given again. Every
answer must be one that was true at some instant not longer ago than the bound, and none that its own process has
invalidated.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tenantcache.budget.core.bands import BandInForce
from tenantcache.freshness.core.freshness import NEVER, Freshness, Question
from tenantcache.freshness.core.logmark import LogMark
from tenantcache.freshness.log import LogEntry
from tenantcache.values.core.floors import Floors
from tenantcache.values.core.valuekey import tag_name, value_name
from tenantcache.values.core.writequeue import WriteQueue
from tenantcache.values.memory import ValueMemory
from tenantcache.values.parts import ValueParts
from tenantcache.values.sharing import ValueSharing
from tenantcache.values.values import Values
from tenantcache.values.valuestore import CopyToWrite
from tests.fakes import FakeClock


class LoopTime:
    """The time of the running event loop, for what waits with a timeout. It stands until it is moved."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._now = loop.time()
        loop.time = lambda: self._now  # type: ignore[method-assign]

    def advance(self, seconds: float) -> None:
        self._now += seconds


BOUND = 3.0
KEYS = ("a", "b")
TENANT = "acme"


class Messages:
    """What is under way. `pause` waits until the test delivers it."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[None]] = []

    async def pause(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        await future

    def deliver(self, place: int) -> None:
        future = self.waiting.pop(place % len(self.waiting))
        if not future.done():
            future.set_result(None)


class QuickMessages(Messages):
    """They arrive at once, except while `held`."""

    def __init__(self) -> None:
        super().__init__()
        self.held = False

    async def pause(self) -> None:
        if self.held:
            await super().pause()

    def release(self) -> None:
        """Deliver all that is under way, and what comes later at once."""
        self.held = False
        while self.waiting:
            self.deliver(0)


@dataclass
class Database:
    """Versions, and the log. What is committed is published later, some at a time. `truth` has what was true of each
    key and since when, `epoch` tells timelines apart."""

    clock: FakeClock
    truth: dict[str, list[tuple[float, int]]] = field(default_factory=lambda: {key: [(NEVER, 1)] for key in KEYS})
    outbox: list[str] = field(default_factory=list)
    log: list[LogEntry] = field(default_factory=list)
    epoch: str = "epoch"

    def __post_init__(self) -> None:
        self._times = itertools.count(1_000, 1_000)
        self.log.append(LogEntry.from_columns(1, next(self._times), "", []))
        self.back_up()

    @property
    def versions(self) -> dict[str, int]:
        return {key: true[-1][1] for key, true in self.truth.items()}

    def write(self, key: str) -> int:
        """Commit the next version, untold."""
        version = 1 + max(version for _, version in self.truth[key])
        self.truth[key].append((self.clock(), version))
        return version

    def back_up(self) -> None:
        self._backup = self.versions, list(self.outbox), list(self.log)

    def restore(self) -> None:
        """Put the last backup in place. What was committed since is undone, and another timeline begins."""
        versions, outbox, log = self._backup
        for key, version in versions.items():
            if version != self.versions[key]:
                self.truth[key].append((self.clock(), version))
        self.outbox[:], self.log[:] = outbox, log
        self.epoch += "'"

    def tell(self, names: Sequence[str]) -> None:
        self.outbox.extend(names)

    def publish(self) -> None:
        if self.outbox:
            seq = self.log[-1].seq + 1
            self.log.append(LogEntry.from_columns(seq, next(self._times), "", sorted(set(self.outbox))))
            self.outbox.clear()

    def true_since(self, key: str, instant: float, place: int) -> list[int]:
        """The versions that were true then, or later, from that place of the truth on."""
        true = self.truth[key]
        then = max(number for number, (at, _) in enumerate(true) if at <= instant)
        return [version for _, version in true[max(then, place) :]]


class FakeRedis:
    """`ValueCopies` whose commands take as long as the test wants, are executed in any order, and may be lost."""

    def __init__(self, messages: Messages) -> None:
        self.stored: dict[str, bytes] = {}
        self.reads = self.writes = 0
        self._messages = messages

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        self.reads += 1
        await self._messages.pause()
        found = [self.stored.get(key) for key in keys]
        await self._messages.pause()
        return found

    async def put_many(self, copies: Sequence[CopyToWrite]) -> None:
        self.writes += len(copies)
        await self._messages.pause()
        self.stored.update({copy.key: copy.stored for copy in copies})


@dataclass
class Answer:
    key: str
    began: float
    place: int
    """What this process has invalidated before is older than what is in this place of the truth."""
    version: int | None = None


class Process:
    """One process. `told` has, by key, the place in the truth of what was true when its last invalidation began."""

    def __init__(self, database: Database, redis: FakeRedis, messages: Messages, *, max_floors: int = 6) -> None:
        self.database, self.messages, self.clock = database, messages, database.clock
        self.freshness = Freshness(max_staleness=BOUND, stale_if_error=0)
        self.in_force = BandInForce()
        sharing = ValueSharing(redis, self.in_force, is_billed=False, max_value_bytes=1000)
        self.parts = ValueParts(
            ValueMemory(3, 1_000_000),
            self.freshness,
            sharing,
            self._log,
            self._sync,
            require_open=lambda: None,
            prefix="p",
            negative_ttl=60,
            clock=self.clock,
            server_now=self.clock,
            write_queue=WriteQueue(1000, 1_000_000),
            floors=Floors(max_floors),
        )
        self.values = Values(self.parts)
        self.told: dict[str, int] = dict.fromkeys(KEYS, 0)
        self.answers: list[Answer] = []
        self.tasks: list[asyncio.Task[None]] = []
        self._pulled: tuple[Question, str, list[LogEntry], bool] | None = None
        self.start()

    # The log.

    def start(self) -> None:
        """Begin at the oldest entry, as after a start: what is in memory is dropped."""
        first, *later = self.database.log
        self.freshness.restart(self.database.epoch, first)
        for entry in later:
            self.freshness.pass_over(entry)
        self.parts.flush()
        for entry in later:
            self.parts.changed(entry)
        self._pulled = None

    async def _log(self, names: Sequence[str]) -> None:
        await self.messages.pause()
        self.database.tell(names)
        await self.messages.pause()

    async def _sync(self) -> None:
        self.database.publish()
        self.send_pull()
        self.apply_pull()

    def send_pull(self) -> None:
        known, database = self.freshness, self.database
        entries = [entry for entry in database.log if entry.seq > known.applied]
        self._pulled = known.question(self.clock()), database.epoch, entries, bool(database.outbox)

    def apply_pull(self) -> None:
        if self._pulled is None:
            return
        (asked, epoch, entries, is_pending), self._pulled = self._pulled, None
        if asked.generation != self.freshness.generation:
            return
        if epoch != self.freshness.epoch:
            self.freshness.lose()
            self.parts.flush()
            self.start()
            return
        for entry in entries:
            if entry.seq > self.freshness.applied:
                self.freshness.pass_over(entry)
                self.parts.changed(entry)
        if not is_pending:
            self.freshness.settle(asked)
            self.freshness.extend(asked.sent_at)

    def hear(self) -> None:
        """A commit's notification, before the log has it."""
        if self.database.outbox and self.freshness.doubts.note("", self.database.outbox):
            self.parts.doubted()

    def everything(self) -> None:
        """More has changed than is caught up with."""
        head = self.database.log[-1]
        self.freshness.collapse(LogMark(head.seq, head.at))
        self.parts.flush()
        self._pulled = None

    # What an application does.

    async def load(self, keys: Sequence[str]) -> Mapping[str, int]:
        await self.messages.pause()
        found = {key: self.database.versions[key] for key in keys}
        await self.messages.pause()
        return found

    def get(self, keys: Sequence[str]) -> None:
        answers = [Answer(key, self.clock(), self.told[key]) for key in keys]

        async def get() -> None:
            found = await self.values.get_many(
                keys, self.load, tenant=TENANT, fresh=20, tags=["known"], hard_timeout=3600
            )
            for answer in answers:
                answer.version = found[answer.key]
                self.answers.append(answer)

        self.run(get())

    def invalidate(self, key: str, how: str) -> None:
        self.database.write(key)
        place = len(self.database.truth[key]) - 1

        async def invalidate() -> None:
            if how == "tag":
                await self.values.invalidate(tag="known", tenant=TENANT)
            else:
                await self.values.invalidate(key, tenant=TENANT)
            self.told[key] = max(self.told[key], place)

        self.run(invalidate())

    def set(self, key: str) -> Callable[[], None]:
        """Commit now; what is returned sets it."""
        version = self.database.write(key)
        self.database.tell([value_name(TENANT, key)])

        async def call() -> None:
            # Of two that race the log cannot tell which was committed last, so the bound alone holds.
            await self.values.set(key, version, tenant=TENANT, fresh=20, tags=["known"])

        return lambda: self.run(call())

    def run(self, doing: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.get_event_loop_policy().get_event_loop().create_task(doing))

    # What must hold.

    def judge(self) -> None:
        for answer in self.answers:
            assert answer.version is not None
            true = self.database.true_since(answer.key, answer.began - BOUND, 0)
            assert answer.version in true, f"older than the bound: {answer}, {true} were true since"
            true = self.database.true_since(answer.key, answer.began - BOUND, answer.place)
            assert answer.version in true, f"older than an own invalidation: {answer}"
        self.answers.clear()


NAMES = {key: value_name(TENANT, key) for key in KEYS} | {"tag": tag_name(TENANT, "known")}
