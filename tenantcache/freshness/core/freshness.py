"""Which copies may be believed, and until when.

The theory
----------
Postgres writes a log. Its order is the order in which commits became visible, so "the snapshot held entry n" says
exactly which changes a read has seen. Every copy carries a `watermark`, the newest entry of the snapshot that it came
from. A process that has applied the log up to entry n therefore knows, of any copy, whether it missed a change:

    a copy is current as of entry n  iff  no entry in (watermark, n] names its alias or its tenant.

The *floor* of a name is the newest entry that names it. So the test is `watermark >= floor(alias)` and
`watermark >= floor(tenant)`. It holds for copies from anywhere: a slow load, Redis, a write that arrived late. It holds
for "there is no such tenant" as well: the alias alone is asked. And it holds for a domain that moved: the move names
both tenants and the alias.

Floors cannot be kept forever. `tail_start` stands for all the forgotten ones: every copy from before it is
refused. That costs reads, never truth.

Changes reach the log after they are committed: a trigger puts them into an outbox, and a publisher moves them. So a
snapshot may hold more than its newest entry says, and then it says so: it is *pending*. What it has read is newer than
entry n, and at most as new as the next snapshot that is not pending. So its watermark is n + 1/2. For the same reason
not every pull proves something. Its snapshot must have had nothing pending, or what was pending in an earlier one must
be published now. Then it counts from when that earlier one was sent. A publisher writes at least one entry: what comes
after n + 1/2 is n + 1.

What was pending has no number and no time of its own. So if a restored backup, or a crash, undoes it, nothing in the
log tells. And of two pending reads with the same watermark either may be the newer one. Rule 7 sees to both.

Rules
-----
1. A pull that was *sent* at time s and applied up to the newest entry proves something of every copy in memory. It was
   true at some instant at or after s. So memory is valid until s + max_staleness. Send time, not receive time: the
   answer may have been computed right after the request left, and then have been on its way for long.
2. A direct read sent at s proves the same of its own entry.
3. Past both, an entry has *lapsed*: it is read again, from Postgres only. If Postgres cannot be read, it may be
   served for `stale_if_error` more; after that it is *refused*.
4. A copy from Redis may be believed only by a process whose memory is valid (rule 1), because only such a process
   knows the floors. And only if the entry that it names, number and time, is in the log that this process has applied.
   A copy from the future may come from a timeline that a restored backup has undone. Its number will be given again one
   day, but not with its time. Timelines are equal up to any entry that they share. So this holds even if all processes
   were stopped while the database was put back and Redis was kept.
5. An answer shows another timeline in four ways. Its epoch is another. Its log does not hold the entry applied last.
   Its log ends before an entry that was known when it was asked. Or it has another entry of a known number. Then
   everything is forgotten, and the pull or direct read that sees it first begins a new *generation*. The answer to a
   question of an earlier generation is not believed, because its timeline cannot be told any more. Nor is one that took
   longer than max_staleness.
6. A direct read may be newer than what was applied. What it has seen becomes the floor of its names, so that this
   process never answers with something older afterwards. The log does not vouch for it (rule 1) before it was applied
   that far. And the newest entry that was seen must then turn up in it (rule 5).
7. What a pending read has found is true for as long as rule 2 says. The log never vouches for it, and it is not shared
   (rule 4). It may follow another pending read of its names with the same watermark only if it was sent after that
   one's answer had come. An index that is kept up by the log may lack what such a read has seen. It has it once a pull
   from after that read has found nothing pending (`settled`).
8. A commit's own notification may name a tenant and its aliases before the log does (`doubts`). Memory drops them. From
   then on no copy from Redis, no index and no read that was asked before is believed of them. What is asked later has
   seen the change. So a later pull ends this, if it proves something (rule 1): by then the log has named the change. A
   doubt proves nothing, raises no floor and extends nothing. It is only early. If a client has made it up, it costs
   reads, and a bounded number.

`tests/freshness/scenarios` shows what each rule prevents.

The epoch and the times find the same restores. The epoch finds them at once, by any answer at all. The times find those
that the server itself cannot tell, such as a storage snapshot that was put back. They find it as soon as the log has
come to that number.

Times are seconds on one clock that never goes backwards and that runs while the machine is suspended.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final, NamedTuple

from tenantcache.freshness.core.doubts import Doubts
from tenantcache.freshness.core.logmark import LogMark
from tenantcache.stats import ValidityStats

NEVER: Final = float("-inf")


class State(Enum):
    """Of an entry in memory at an instant."""

    VALID = "valid"
    LAPSED = "lapsed"
    REFUSED = "refused"


def watermark_of(mark: LogMark, *, pending: bool) -> float:
    """How new what a snapshot holds is: entry n, or n + 1/2 if it holds changes that are not in the log yet."""
    return mark.seq + 0.5 if pending else mark.seq


def _names(alias: str, tenant_id: str | None) -> list[tuple[str, str]]:
    return [("alias", alias)] if tenant_id is None else [("alias", alias), ("tenant", tenant_id)]


class Question(NamedTuple):
    """What was known when something was asked of Postgres; `sent_at` in seconds, `answers` how many had come, `doubts`
    how many were noted."""

    sent_at: float
    generation: int
    newest_known: float
    answers: int = 0
    doubts: int = 0


class Freshness:
    """What one process knows of the log. Not thread-safe; every method is synchronous and does no I/O."""

    __slots__ = (
        "_alias_floors",
        "_answers",
        "_forgotten_at",
        "_marks",
        "_max_floors",
        "_seen",
        "_seen_pending",
        "_seen_watermark",
        "_tenant_floors",
        "applied",
        "doubts",
        "epoch",
        "generation",
        "max_staleness",
        "settled",
        "stale_if_error",
        "tail_start",
        "valid_until",
    )

    def __init__(self, *, max_staleness: float, stale_if_error: float, max_floors: int = 50_000) -> None:
        self.max_staleness: float = max_staleness
        self.stale_if_error: float = stale_if_error
        self.epoch: str | None = None
        self.generation: int = 0
        self.applied: int = 0
        self.settled: int = 0
        self.tail_start: float = 0
        self.valid_until: float = NEVER
        self.doubts: Doubts = Doubts()
        self._alias_floors: dict[str, float] = {}
        self._tenant_floors: dict[str, float] = {}
        # A floor costs some 200 bytes: 50,000 of them 10 MB. A process that sees more changes than that within the
        # life of a Redis copy gains little from Redis anyway.
        self._max_floors = max_floors
        # When each entry was written, oldest first, and as many as floors; a copy from before them is refused.
        self._marks: OrderedDict[int, int] = OrderedDict()
        self._seen: LogMark | None = None
        self._seen_watermark: float = 0
        self._answers = 0  # of direct reads
        # Floors that a pending read has raised, each with the number of its answer.
        self._seen_pending: dict[tuple[str, str], tuple[float, int]] = {}
        self._forgotten_at = 0

    def restart(self, epoch: str | None, mark: LogMark) -> None:
        """Rule 5: begin a timeline at `mark`. Nothing is known of changes up to there."""
        self.lose()
        self.epoch = epoch
        self.applied = self.tail_start = mark.seq
        self._note(mark)

    def lose(self) -> None:
        """Rule 5: believe nothing until a timeline begins."""
        self.generation += 1
        self.epoch = None
        self.applied = self.tail_start = self.settled = 0
        self.valid_until = NEVER
        self._seen, self._seen_watermark = None, 0
        self._marks.clear()
        self._clear_floors()

    @property
    def newest_known(self) -> float:
        """The newest entry of this timeline that a pull or a direct read has seen, and 1/2 more if that was pending."""
        return max(self.applied, self._seen_watermark)

    def collapse(self, mark: LogMark) -> None:
        """Skip to `mark`: anything may have changed up to there. One number stands for all floors."""
        self.applied = max(self.applied, mark.seq)
        self._note(mark)
        self._forget_floors()

    def apply(self, mark: LogMark, tenant_id: str, aliases: Iterable[str]) -> None:
        """Note one log entry, in order: a tenant has changed, and `aliases` lead to it now or did before."""
        self.pass_over(mark)
        if self._is_full():
            self._forget_floors()
        self._raise(mark.seq, tenant_id, aliases)

    def pass_over(self, mark: LogMark) -> None:
        """Note one log entry, in order, that names no tenant: floors stay as they are."""
        self.applied = max(self.applied, mark.seq)
        self._note(mark)

    def observe(self, mark: LogMark, tenant_id: str | None, alias: str, *, pending: bool = False) -> None:
        """Rule 6: note what a direct read has seen."""
        watermark = watermark_of(mark, pending=pending)
        if watermark > self.newest_known:
            self._seen, self._seen_watermark = mark, watermark
        # Of what was pending a part may be applied by now, and the part that this read has seen not.
        if watermark > self.applied or pending:
            if self._is_full():
                self._forget_floors()
            self._raise(watermark, tenant_id, (alias,))
        if pending:
            for name in _names(alias, tenant_id):
                self._seen_pending[name] = max(self._seen_pending.get(name, (0, 0)), (watermark, self._answers))

    def _note(self, mark: LogMark) -> None:
        if len(self._marks) >= self._max_floors:
            self._marks.popitem(last=False)
        self._marks[mark.seq] = mark.at
        if self._seen is not None and self._seen_watermark <= self.applied:
            self._seen, self._seen_watermark = None, 0

    def _forget_floors(self) -> None:
        self.tail_start = self.newest_known
        self._clear_floors()

    def _clear_floors(self) -> None:
        self._alias_floors.clear()
        self._tenant_floors.clear()
        self._seen_pending.clear()
        self._forgotten_at = self._answers

    def _is_full(self) -> bool:
        return len(self._alias_floors) + len(self._tenant_floors) >= self._max_floors

    def _raise(self, watermark: float, tenant_id: str | None, aliases: Iterable[str]) -> None:
        for alias in aliases:
            self._alias_floors[alias] = max(watermark, self._alias_floors.get(alias, 0))
        if tenant_id is not None:
            self._tenant_floors[tenant_id] = max(watermark, self._tenant_floors.get(tenant_id, 0))

    def extend(self, sent_at: float) -> None:
        """Rule 1: a pull sent at `sent_at` was applied up to the newest entry that it saw."""
        self.valid_until = max(self.valid_until, sent_at + self.max_staleness)

    def settle(self, asked: Question) -> None:
        """Rules 7 and 8: a pull that was applied up to the newest entry has found nothing pending."""
        self.settled = self.applied
        self.doubts.settle(asked.doubts)

    def question(self, now: float) -> Question:
        """To be noted just before Postgres is asked."""
        return Question(now, self.generation, self.newest_known, self._answers, self.doubts.noted)

    def believes(self, asked: Question, now: float, epoch: str, mark: LogMark, *, pending: bool = False) -> bool:
        """Rule 5: whether a direct read's answer that has come `now` may be looked at.

        Begins another generation if the answer is from another timeline; the caller drops everything then.
        """
        if asked.generation != self.generation or now >= asked.sent_at + self.max_staleness:
            return False
        if epoch != self.epoch or watermark_of(mark, pending=pending) < asked.newest_known:
            self.restart(epoch, mark)
        elif self._contradicts(mark):
            self.lose()  # which of the two came later, the next answer tells
            return False
        self._answers += 1
        return True

    def _contradicts(self, mark: LogMark) -> bool:
        """Whether another entry of that number is known."""
        known = self._marks.get(mark.seq)
        if known is None and self._seen is not None and self._seen.seq == mark.seq:
            known = self._seen.at
        return known is not None and known != mark.at

    def agrees(self, asked: Question, head: LogMark, entries: Sequence[LogMark], *, pending: bool = False) -> bool:
        """Rule 5, of a pull that ends at `head`: whether the newest entry that was seen is in it, if it should be."""
        seen = self._seen
        if seen is None:
            return True
        if watermark_of(head, pending=pending) < self._seen_watermark:
            return asked.newest_known < self._seen_watermark  # it was asked before that was seen
        if seen.seq <= self.applied or not entries or entries[-1].seq < seen.seq:
            return True  # it is known, or comes with a later page
        return any(entry.seq == seen.seq and entry.at == seen.at for entry in entries)

    def accepts(self, watermark: float, alias: str, tenant_id: str | None) -> bool:
        """Whether a copy has seen every change that this process knows of. `tenant_id` None: there was no tenant."""
        floor = max(self.tail_start, self._alias_floors.get(alias, 0))
        if tenant_id is not None:
            floor = max(floor, self._tenant_floors.get(tenant_id, 0))
        return watermark >= floor

    def accepts_read(
        self, asked: Question, mark: LogMark, alias: str, tenant_id: str | None, *, pending: bool = False
    ) -> bool:
        """The same of what the last believed answer has found, which may be newer than the log that was applied."""
        watermark = watermark_of(mark, pending=pending)
        if not (mark.seq > self.applied or self.knows(mark)) or not self.accepts(watermark, alias, tenant_id):
            return False
        if self.doubts.hold(alias, tenant_id, asked=asked.doubts):
            return False
        return not pending or self._follows(asked, watermark, alias, tenant_id)

    def _follows(self, asked: Question, watermark: float, alias: str, tenant_id: str | None) -> bool:
        """Rule 7: whether no other pending read of `watermark` has seen those names since it was asked."""
        if watermark == self.tail_start and asked.answers < self._forgotten_at:
            return False
        seen = (self._seen_pending.get(name, (0, 0)) for name in _names(alias, tenant_id))
        return all(at != watermark or answer <= asked.answers or answer == self._answers for at, answer in seen)

    def accepts_shared(self, epoch: str, mark: LogMark, alias: str, tenant_id: str | None) -> bool:
        """Rule 4, for a copy that another process has made. The caller asks only while `is_valid`."""
        if self.doubts.hold(alias, tenant_id):
            return False
        return epoch == self.epoch and self.knows(mark) and self.accepts(mark.seq, alias, tenant_id)

    def accepts_absence(self, alias: str) -> bool:
        """Whether an index that was kept up by the log can be right that `alias` leads to no tenant (rules 7 and 8)."""
        return self.accepts(self.settled, alias, None) and not self.doubts.hold(alias, None)

    def knows(self, mark: LogMark) -> bool:
        """Whether that very entry is in the log that was applied, and not forgotten."""
        return self._marks.get(mark.seq) == mark.at

    @property
    def mark(self) -> LogMark | None:
        """The newest entry that was applied; None while no timeline is known."""
        at = self._marks.get(self.applied)
        return None if at is None else LogMark(self.applied, at)

    def is_valid(self, now: float) -> bool:
        return now < self.valid_until

    def stats(self, now: float) -> ValidityStats:
        return {
            "valid": self.is_valid(now),
            "valid_for": max(0.0, self.valid_until - now),
            "age": None if self.valid_until == NEVER else now + self.max_staleness - self.valid_until,
            "applied": self.applied,
        }

    def until(self, watermark: float, read_sent_at: float) -> float:
        """When an entry of `watermark` that was read at `read_sent_at` lapses (rules 1, 2, 6 and 7)."""
        own = read_sent_at + self.max_staleness
        return max(self.valid_until, own) if self.vouches_for(watermark) else own

    def vouches_for(self, watermark: float) -> bool:
        """Rules 6 and 7: whether pulls prove anything of what was read as of then."""
        return watermark <= self.applied and watermark % 1 == 0

    def state(self, now: float, watermark: float, read_sent_at: float) -> State:
        """Rule 3, of an entry that was accepted and not evicted since."""
        until = self.until(watermark, read_sent_at)
        if now < until:
            return State.VALID
        return State.LAPSED if now < until + self.stale_if_error else State.REFUSED
