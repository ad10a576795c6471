"""One look at the log: asks for what is new, judges the answer and applies it.

The rules are those of `core/freshness.py`. The answer to a question of an earlier generation is not believed (rule 5),
and what an answer proves counts from the sending (rule 1).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from tenantcache.errors import StoreError
from tenantcache.freshness.core.freshness import Freshness, Question, watermark_of
from tenantcache.freshness.core.logmark import LogMark
from tenantcache.freshness.core.servertime import ServerTime
from tenantcache.freshness.faultcheck import FaultCheck
from tenantcache.freshness.log import ChangeKind, ChangeLog, Doubt, LogEntry, Pull
from tenantcache.freshness.notices import Notices
from tenantcache.freshness.pace import Portion
from tenantcache.runtime.clock import Clock
from tenantcache.runtime.tracing import Tracing

logger = logging.getLogger(__name__)

PAGE = 1_000
"""Log entries a pull: some 2 ms of the event loop to decode. `benchmarks/bulk_update.py` watches it."""

STEP = 100
"""Log entries that are applied between two breaths of the event loop: a millisecond."""

MAX_TAIL = 5_000
"""Log entries that are read at the start, before any request is served; copies in Redis from before are refused."""

MAX_BEHIND = 50_000
"""Further behind than this, dropping everything is cheaper than catching up."""

MOVED = 0.010
"""Seconds by which windows may end at another time than was thought when their tokens were leased. Clocks that are
slewed move by half a millisecond a second (adjtimex), and are not worth a look at every tenant."""


class ChangeSink(Protocol):
    """What acts on changes. All calls are synchronous: between two awaits no task sees half a change."""

    def changed(self, entry: LogEntry) -> None: ...

    def doubted(self, doubt: Doubt) -> None: ...

    def flush(self) -> None: ...

    def clock_moved(self) -> None: ...


class Standing(Enum):
    """How far this process has come after a pull."""

    BEHIND = "there is more to pull"
    UNPUBLISHED = "all of the log is applied, and some changes are not in the log yet"
    CURRENT = "everything that was committed before the pull is applied"


class Puller:
    """Times are in seconds. `tail_age` is the longest that a copy in Redis can live; `on_pull` gets each answer that
    has looked for faults."""

    def __init__(
        self,
        log: ChangeLog,
        freshness: Freshness,
        server_time: ServerTime,
        sink: ChangeSink,
        notices: Notices,
        checks: FaultCheck,
        *,
        clock: Clock,
        tail_age: float,
        on_pull: Callable[[Pull], None],
        tracing: Tracing,
    ) -> None:
        self.processes: int = 1
        self.pulls: int = 0
        self.running: frozenset[int] = frozenset()
        """Transactions that were under way in the last pull."""
        self._log = log
        self._freshness = freshness
        self._server_time = server_time
        self._sink = sink
        self._notices = notices
        self._checks = checks
        self._clock = clock
        self._tail_age = tail_age
        self._on_pull = on_pull
        self._tracing = tracing
        self._mark: LogMark | None = None
        self._generation = 0  # of `freshness`, in which the mark was set
        self._portion = Portion()
        self._pending_since: tuple[Question, str] | None = None  # the first pending pull, and its snapshot

    @property
    def has_begun(self) -> bool:
        """Whether the tail of the log was ever read."""
        return self._generation > 0

    def begin(self) -> None:
        """Begin a catch-up."""
        self._pending_since = None

    async def pull(self) -> Standing:
        """Ask once, and apply what the answer proves. Raises `StoreError` and `SchemaMissingError`."""
        asked = self._freshness.question(self._clock())
        if asked.generation != self._generation:
            self._mark = None  # a direct read has found another timeline, and does not know what led there
        mark, told = self._mark, self._notices.told
        pull = await self._ask(mark)
        if self._notices.told == told:
            self._notices.told = 0  # the answer has it, unless another timeline had it, or a client has made it up
        self._note(pull, asked)
        if asked.generation != self._freshness.generation:
            return Standing.BEHIND  # a direct read has found another timeline meanwhile
        if mark is None:
            if self._is_overtaken(pull, asked):
                return Standing.BEHIND
            self._begin(pull)
        elif not self._continues(pull, asked):
            self._leave_timeline()
            return Standing.BEHIND
        self._checks.judge(pull, asked.sent_at)
        if mark is not None and not await self._absorb(pull, asked):
            return Standing.BEHIND
        self._mark, self.running = pull.head, pull.running
        proves_from = self._proves_from(pull, asked)
        if proves_from is None:
            return Standing.UNPUBLISHED
        self._freshness.extend(min(proves_from, self._checks.faultless_at))
        return Standing.CURRENT

    def _note(self, pull: Pull, asked: Question) -> None:
        """What an answer says apart from the log."""
        self.pulls += 1
        if abs(self._server_time.observe(asked.sent_at, self._clock(), pull.server_time)) > MOVED:
            self._sink.clock_moved()
        if pull.checked:
            self.processes = max(1, pull.processes)
            self._on_pull(pull)

    def _is_overtaken(self, pull: Pull, asked: Question) -> bool:
        """Whether a direct read has seen more of this timeline than this tail, since the tail was asked for."""
        head = watermark_of(pull.head, pending=pull.pending)
        overtaken = asked.newest_known <= head < self._freshness.newest_known
        return overtaken and pull.epoch == self._freshness.epoch

    async def _ask(self, mark: LogMark | None) -> Pull:
        try:
            if mark is None:
                pull = await self._log.tail(self._tail_age, self._portion.of(MAX_TAIL))
            else:
                now = self._clock()
                check = self._checks.is_due(now, makes_way=self._notices.is_behind)
                since = None if self._pending_since is None else self._pending_since[1]
                page = self._portion.of(PAGE)
                with self._tracing.span("pull", size=page):
                    pull = await self._log.pull(mark, MAX_BEHIND, page, since=since, check=check)
                if check:
                    self._checks.made(now)
        except StoreError as error:
            if not error.refused:  # then a smaller portion would be, too
                if self._portion.of(PAGE) == 1:
                    self._mark = None  # what cannot be read entry by entry is skipped: begin at the end
                self._portion.shrink()
            raise
        self._portion.grow()
        return pull

    def _proves_from(self, pull: Pull, asked: Question) -> float | None:
        """Since when everything that was committed is applied here (rule 1); None: something is not published yet."""
        if not pull.pending:
            self._freshness.settle(asked)
            return asked.sent_at
        if pull.covers and self._pending_since is not None:
            first, _ = self._pending_since
            self._freshness.doubts.settle(first.doubts)
            return first.sent_at
        if self._pending_since is None:
            self._pending_since = (asked, pull.snapshot)
        return None

    def _begin(self, pull: Pull) -> None:
        """Start at the newest entry; the tail's floors and marks make the copies in Redis usable at once."""
        first, *later = pull.entries
        self._freshness.restart(pull.epoch, first)
        self._generation = self._freshness.generation
        for entry in later:
            self._apply(entry)
        # What was read while one timeline was left for another may have missed entries that are only floors here.
        self._sink.flush()
        for entry in later:
            if entry.kind is ChangeKind.VALUES:
                self._sink.changed(entry)  # the floors of values are the sink's

    def _continues(self, pull: Pull, asked: Question) -> bool:
        """Whether this is the timeline that the process knows, as far as can be seen."""
        same = pull.continuous and pull.epoch == self._freshness.epoch
        return same and self._freshness.agrees(asked, pull.head, pull.entries, pending=pull.pending)

    async def _absorb(self, pull: Pull, asked: Question) -> bool:
        """Apply what is new, a part at a time as if each were an answer of its own; true if that was all of it."""
        if pull.truncated:
            logger.warning("more than %d changes behind: dropping every cached tenant", MAX_BEHIND)
            self._freshness.collapse(pull.head)
            self._sink.flush()
            return True
        for number, entry in enumerate(pull.entries):
            if number % STEP == STEP - 1:
                await asyncio.sleep(0)
                if self._freshness.generation != asked.generation:
                    return False  # a direct read has found another timeline meanwhile
            self._apply(entry)
            self._sink.changed(entry)
        if not pull.entries or pull.entries[-1].seq >= pull.head.seq:
            return True
        self._mark = pull.entries[-1]
        return False

    def _apply(self, entry: LogEntry) -> None:
        if entry.kind is ChangeKind.EVERYTHING:
            self._freshness.collapse(entry)
        elif entry.kind is ChangeKind.VALUES:
            self._freshness.pass_over(entry)
        else:
            self._freshness.apply(entry, entry.tenant_id, entry.aliases)

    def _leave_timeline(self) -> None:
        """The database is not the one that this process knew: it was restored, or replaced."""
        logger.warning("the change log is on another timeline (a restored database?): dropping every cached tenant")
        self._freshness.lose()
        self._checks.lose()
        self._sink.flush()
        self._mark = None
