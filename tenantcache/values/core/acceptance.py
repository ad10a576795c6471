"""Whether a copy of a value may be served: `core/floors.py` and `freshness/core/freshness.py` have the theory.

What a loader must do: read the primary, in a snapshot that begins after the loader was called. Then it has seen every
change up to the entry that was applied here before the call (`Seen`).

Rules
-----
1. A copy is accepted if it is of this generation, not from below a floor of its names, and no name of it was doubted
   since its load began (`freshness`, rule 8). From Redis it must besides name an entry of the log that was applied
   here, in this epoch, and the log must vouch for memory at this moment (`freshness`, rules 1 and 4).
2. A copy in memory is vouched for by the log, or by its own load for `max_staleness` from its beginning (`freshness`,
   rule 2). Past both it has lapsed: it is loaded again. If that fails, it may be served for `stale_if_error` more.
3. A value that a caller has set is vouched for by the call alone. Another writer may have committed between that
   caller's commit and the call, and the log does not say which of the two came last.
4. Of a load that a change has overtaken only those may have the answer who came before it began. It is not kept.
5. A value that is to be written later is served by this process until it was written, whatever the log says. It is
   newer than anything that a loader could read.

What no rule sees: a load may have read a commit that the log does not have yet. A crash, or a storage snapshot that is
put back, may undo that commit and leave the timeline and its newest entry as they were. Then what was read is served
until its time ends or one of its names changes. A crash undoes no commit unless `synchronous_commit` is off. A person
says then that everything may have changed (docs/values.md). To drop what was loaded before the follower's session ended
would not do: a pooler hides that end, copies in Redis outlive it, and each reconnection would load all values again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from tenantcache.freshness.core.freshness import NEVER, Freshness
from tenantcache.freshness.core.logmark import LogMark
from tenantcache.values.core.codec import Codec
from tenantcache.values.core.floors import Floors
from tenantcache.values.core.stored import Stored


class State(Enum):
    """Of a copy in memory at an instant."""

    FRESH = "fresh"
    EARLY = "fresh, and due to be loaded again"
    STALE = "stale: served while it is loaded again"
    LAPSED = "not vouched for: served only if it cannot be loaded"
    REFUSED = "refused"


class Seen(NamedTuple):
    """What was known when a load began, or when a caller came: the newest entry that was applied (None: no timeline is
    known), how many doubts were noted. `order` grows from one to the next."""

    order: int
    generation: int
    epoch: str | None
    mark: LogMark | None
    doubts: int

    @property
    def seq(self) -> int:
        return 0 if self.mark is None else self.mark.seq


@dataclass(slots=True, eq=False)
class Entry:
    """A copy in memory. Instants are seconds of the process's clock.

    `body` is decoded anew for each caller; None: all of them are given `value`. From `good_until` on it is due to be
    loaded again; `fresh_until` and `end` are those of its lifetime. `read_at` is when its load began, -inf if it came
    from Redis. `is_set`: by a caller (rule 3). `current_as_of` is the entry of the log as of which it was last found
    accepted, at `checked` of `Floors.version`. `is_pending`: it is to be written later (rule 5). `hits`, `size` and
    `gone` are for S3-FIFO.
    """

    value: Any
    body: bytes | None
    codec: Codec[Any]
    seen: Seen
    names: tuple[str, ...]
    expiries: tuple[str, ...]
    tags: tuple[str, ...]
    read_at: float
    loaded_at: float
    good_until: float
    fresh_until: float
    end: float
    tier: str
    size: int
    is_set: bool = False
    is_pending: bool = False
    current_as_of: int = 0
    checked: int = -1
    hits: int = 0
    gone: bool = False

    def give(self) -> object:
        """The value, for one caller."""
        return self.value if self.body is None else self.codec.decode(self.body)


class Acceptance:
    """Judges copies by `freshness` and `floors`. Every method is synchronous and does no I/O."""

    def __init__(self, freshness: Freshness, floors: Floors) -> None:
        self.freshness = freshness
        self.floors = floors
        self._order = 0

    def note(self) -> Seen:
        """What is known now."""
        self._order += 1
        known = self.freshness
        return Seen(self._order, known.generation, known.epoch, known.mark, known.doubts.noted)

    def accepts(self, seen: Seen, names: Sequence[str], *, as_of: int | None = None) -> bool:
        """Rule 1, of a copy that was loaded here. `as_of`: it was found current as of that entry."""
        known = self.freshness
        if seen.generation != known.generation:
            return False
        if (seen.seq if as_of is None else as_of) < self.floors.floor(names):
            return False
        return not any(known.doubts.hold(name, None, asked=seen.doubts) for name in names)

    def believes(self, stored: Stored, names: Sequence[str], now: float) -> bool:
        """Rule 1, of a copy that another process has made."""
        known = self.freshness
        if not known.is_valid(now) or stored.epoch != known.epoch or not known.knows(stored.mark):
            return False
        if stored.mark.seq < self.floors.floor(names):
            return False
        return not any(known.doubts.hold(name, None) for name in names)

    def is_expired(self, seq: int, expiries: Sequence[str]) -> bool:
        """Whether a copy as of entry `seq` that was accepted is stale by the word of an expiry."""
        return bool(expiries) and seq < self.floors.floor(expiries)

    def state(self, entry: Entry, now: float) -> State:
        """Rules 1 to 3 and 5, of a copy in memory."""
        if entry.is_pending:
            entry.checked = self.floors.version
            return State.FRESH
        if not self._is_accepted(entry) or now >= entry.end:
            return State.REFUSED
        known, until = self.freshness, self.vouched_until(entry)
        if now >= until:
            return State.LAPSED if now < until + known.stale_if_error else State.REFUSED
        if now < entry.good_until:
            return State.FRESH
        return State.EARLY if now < entry.fresh_until else State.STALE

    def vouched_until(self, entry: Entry) -> float:
        """Rules 2 and 3: from that instant on it has lapsed."""
        until = entry.read_at + self.freshness.max_staleness
        return until if entry.is_set else max(until, self.freshness.valid_until)

    def _is_accepted(self, entry: Entry) -> bool:
        if entry.seen.generation != self.freshness.generation:
            return False
        if entry.checked == self.floors.version:
            return True
        if not self.accepts(entry.seen, entry.names, as_of=entry.current_as_of):
            return False
        if self.is_expired(entry.current_as_of, entry.expiries):
            entry.good_until = entry.fresh_until = NEVER
        entry.current_as_of = max(entry.current_as_of, self.freshness.applied)
        entry.checked = self.floors.version
        return True
