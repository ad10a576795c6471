"""Which copies may be believed, and until when.

The theory
----------
Postgres writes a log. Its order is the order in which commits became visible, so "the snapshot held entry n" says
exactly which changes a read has seen. Every copy carries `asof`, the newest entry of the snapshot that it came
from. A process that has applied the log up to entry n therefore knows, of any copy, whether it missed a change:

    a copy is current as of entry n  iff  no entry in (asof, n] names its alias or its tenant.

The *floor* of a name is the newest entry that names it. So the test is `asof >= floor(alias)` and
`asof >= floor(tenant)`. It holds for copies from anywhere: a slow load, Redis, a write that arrived late; for
"there is no such tenant" as well (the alias alone is asked), and for a domain that moved (both tenants and the
alias are named by the move).

Floors cannot be kept for ever. `tail_start` stands for all the forgotten ones: every copy from before it is
refused. That costs reads, never truth.

Rules
-----
1. A pull that was *sent* at time s and applied up to the newest entry proves that every copy in memory was true at
   some instant at or after s. So memory is valid until s + max_staleness. Send time, not receive time: the answer
   may have been computed right after the request left and then have been a long time on its way.
2. A direct read sent at s proves the same of its own entry.
3. Past both, an entry has *lapsed*: it is read again, from Postgres only. If Postgres cannot be read it may be
   served for `stale_if_error` more; after that it is *refused*.
4. A copy from Redis may be believed only by a process whose memory is valid (rule 1), because only such a process
   knows the floors, and only if it is not newer than what this process has applied: a copy from the future may
   come from a history that a restored backup has undone.
5. Another epoch, a log that does not hold the entry applied last, or a log that ends before an entry that was known
   when it was asked, is another history: forget everything. Whoever sees it first, pull or direct read, begins a new
   *generation*; the answer to a question of an earlier one is not believed, because nobody can say any more which
   history it is from. Nor is one that took longer than max_staleness.
6. A direct read may be newer than what was applied. What it has seen becomes the floor of its names, so that this
   process never answers with something older afterwards.

Times are seconds on one clock that never goes backwards and that runs while the machine is suspended.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final, NamedTuple

NEVER: Final = float("-inf")


class State(Enum):
    """Of an entry in memory at an instant."""

    VALID = "valid"
    LAPSED = "lapsed"
    REFUSED = "refused"


class Question(NamedTuple):
    """What was known when something was asked of Postgres; `sent_at` in seconds."""

    sent_at: float
    generation: int
    newest_known: int


class Freshness:
    """What one process knows of the log. Not thread-safe; every method is synchronous and does no I/O."""

    __slots__ = (
        "_alias_floors",
        "_max_floors",
        "_seen",
        "_tenant_floors",
        "applied",
        "epoch",
        "generation",
        "max_staleness",
        "stale_if_error",
        "tail_start",
        "valid_until",
    )

    def __init__(self, *, max_staleness: float, stale_if_error: float, max_floors: int = 50_000) -> None:
        self.max_staleness = max_staleness
        self.stale_if_error = stale_if_error
        self.epoch: str | None = None
        self.generation = 0
        self.applied = 0
        self.tail_start = 0
        self.valid_until = NEVER
        self._alias_floors: dict[str, int] = {}
        self._tenant_floors: dict[str, int] = {}
        # A floor costs some 200 bytes: 50,000 of them 10 MB. A process that sees more changes than that within the
        # life of a Redis copy gains little from Redis anyway.
        self._max_floors = max_floors
        self._seen = 0

    def restart(self, epoch: str, applied: int, tail_start: int) -> None:
        """Rule 5: begin a history. Nothing is known of changes up to `tail_start`."""
        self.generation += 1
        self.epoch = epoch
        self.applied = applied
        self.tail_start = tail_start
        self.valid_until = NEVER
        self._seen = 0
        self._alias_floors.clear()
        self._tenant_floors.clear()

    @property
    def newest_known(self) -> int:
        """The newest entry of this history that a pull or a direct read has seen."""
        return max(self.applied, self._seen)

    def collapse(self, applied: int) -> None:
        """Skip to `applied` without having seen what lies between: one number stands for all floors."""
        self.applied = applied
        self.tail_start = self.newest_known
        self._alias_floors.clear()
        self._tenant_floors.clear()

    def apply(self, seq: int, tenant_id: str | None, aliases: Iterable[str] | None) -> None:
        """Note one log entry, in order. `tenant_id` None: everything may have changed."""
        if tenant_id is None or aliases is None:
            self.collapse(seq)
            return
        if self._is_full():
            self.collapse(seq)
        self._raise(seq, tenant_id, aliases)
        self.applied = max(self.applied, seq)

    def observe(self, asof: int, tenant_id: str | None, alias: str) -> None:
        """Rule 6: note what a direct read has seen."""
        if asof > self.applied:
            self._seen = max(self._seen, asof)
            if self._is_full():
                self.collapse(self.applied)
            self._raise(asof, tenant_id, (alias,))

    def _is_full(self) -> bool:
        return len(self._alias_floors) + len(self._tenant_floors) >= self._max_floors

    def _raise(self, seq: int, tenant_id: str | None, aliases: Iterable[str]) -> None:
        for alias in aliases:
            self._alias_floors[alias] = max(seq, self._alias_floors.get(alias, 0))
        if tenant_id is not None:
            self._tenant_floors[tenant_id] = max(seq, self._tenant_floors.get(tenant_id, 0))

    def extend(self, sent_at: float) -> None:
        """Rule 1: a pull sent at `sent_at` was applied up to the newest entry that it saw."""
        self.valid_until = max(self.valid_until, sent_at + self.max_staleness)

    def question(self, now: float) -> Question:
        """To be noted just before Postgres is asked."""
        return Question(now, self.generation, self.newest_known)

    def is_current(self, asked: Question, now: float) -> bool:
        """Rule 5: whether an answer that has come `now` may be looked at."""
        return asked.generation == self.generation and now < asked.sent_at + self.max_staleness

    def is_other_history(self, asked: Question, epoch: str, asof: int) -> bool:
        """Rule 5, of an answer that is current."""
        return epoch != self.epoch or asof < asked.newest_known

    def accepts(self, asof: int, alias: str, tenant_id: str | None) -> bool:
        """Whether a copy has seen every change that this process knows of. `tenant_id` None: there was no tenant."""
        floor = max(self.tail_start, self._alias_floors.get(alias, 0))
        if tenant_id is not None:
            floor = max(floor, self._tenant_floors.get(tenant_id, 0))
        return asof >= floor

    def accepts_shared(self, epoch: str, asof: int, alias: str, tenant_id: str | None) -> bool:
        """Rule 4, for a copy that somebody else has made. The caller asks only while `is_valid`."""
        return epoch == self.epoch and asof <= self.applied and self.accepts(asof, alias, tenant_id)

    def is_valid(self, now: float) -> bool:
        return now < self.valid_until

    def until(self, read_sent_at: float) -> float:
        """When an entry that was read at `read_sent_at` lapses (rules 1 and 2)."""
        return max(self.valid_until, read_sent_at + self.max_staleness)

    def state(self, now: float, read_sent_at: float) -> State:
        """Rule 3, of an entry that was accepted and not evicted since."""
        until = self.until(read_sent_at)
        if now < until:
            return State.VALID
        return State.LAPSED if now < until + self.stale_if_error else State.REFUSED
