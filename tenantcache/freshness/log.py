"""What the follower asks of the database: the log of changes, and what one look at it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, Self
from uuid import UUID

from tenantcache.budget.core.bands import FIRST_BAND, BandChoice
from tenantcache.freshness.core.logfault import LogFault
from tenantcache.freshness.core.logmark import LogMark
from tenantcache.ratelimit.core.agreement import StoreChoice

RESET_NAME = "reset:"
"""In the log it stands among the names of a change, and says that the tenant's counters were reset."""

VALUES_ID = ""
"""In the log it stands for a tenant's id, and says that the names are those of values. No tenant has it."""


class ChangeKind(Enum):
    """What an entry of the log tells of."""

    TENANT = "a tenant has changed"
    RESET = "a tenant's counters were reset"
    VALUES = "values that an application caches have changed"
    EVERYTHING = "everything may have changed"


@dataclass(frozen=True, slots=True)
class LogEntry(LogMark):
    """One change. `aliases` are all that led to the tenant before or after it. If everything may have changed, it names
    no tenant and no alias. If it tells of values, `aliases` are their names and those of their tags."""

    kind: ChangeKind
    tenant_id: str = ""
    aliases: tuple[str, ...] = ()

    @classmethod
    def from_columns(cls, seq: int, at: int, tenant_id: str | None, names: Sequence[str] | None) -> Self:
        """Make an entry of what stands in the log. `tenant_id` or `names` None: everything may have changed."""
        if tenant_id is None or names is None:
            return cls(seq, at, ChangeKind.EVERYTHING)
        if tenant_id == VALUES_ID and names:
            return cls(seq, at, ChangeKind.VALUES, "", tuple(names))
        aliases = tuple(name for name in names if name != RESET_NAME)
        kind = ChangeKind.TENANT if len(aliases) == len(names) else ChangeKind.RESET
        return cls(seq, at, kind, tenant_id, aliases)


@dataclass(frozen=True, slots=True)
class Doubt:
    """What a commit's notification names before the log does: a tenant, and aliases that led to it before or after."""

    tenant_id: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pull:
    """One look at the log: what is new, and what else a follower lives on.

    `server_time` is in seconds since the Unix epoch, `head` the newest entry, `processes` the size of the fleet.
    `continuous` is false if the entry that the caller applied last is not the one in the log now.
    `truncated` is true if the caller is further behind than its bound; `entries` is then empty. `choice` says which
    store counts limits, `settled_until` (server time) until when no other change begins; None: one was being made.
    `band` is that of the budget for Redis, from the same row.

    `pending`: changes were committed that are not in the log yet. `snapshot` names what this look saw, and `covers`
    says whether everything that an earlier one saw (`ChangeLog.pull`) is in the log now. `running` are transactions
    that were under way. `fault` says why the log cannot be relied on, if `checked`.
    """

    server_time: float
    epoch: str
    head: LogMark
    continuous: bool
    processes: int
    truncated: bool
    entries: Sequence[LogEntry]
    choice: StoreChoice | None = None
    settled_until: float | None = None
    band: BandChoice = FIRST_BAND
    pending: bool = False
    covers: bool = False
    snapshot: str = ""
    running: frozenset[int] = frozenset()
    checked: bool = True
    fault: LogFault | None = None


class Publication(Enum):
    """What became of an attempt to publish. BUSY: another process is publishing. MORE: some changes are left."""

    NOTHING = "nothing"
    BUSY = "busy"
    PUBLISHED = "published"
    MORE = "more"


class OnChange(Protocol):
    def __call__(self, published: int | None = None, *, checks: bool = False, doubt: Doubt | None = None) -> None:
        """Hear of a commit (None), or of the newest entry that a publisher has written. `checks`: something else has
        changed that only a pull with `check` tells. `doubt`: what the commit has changed, if it says so."""
        ...


class ChangeLog(Protocol):
    """The log of changes, in the order in which they were published after their commits. It is never empty.

    Every method answers within a fraction of a second or raises `StoreError`, after which only `close` and then
    `open` may be called.
    """

    async def open(self, on_change: OnChange) -> None: ...

    async def close(self) -> None: ...

    async def tail(self, max_age: float, max_entries: int) -> Pull:
        """The entries of the last `max_age` seconds, and the one before them; at most the newest `max_entries`."""
        ...

    async def pull(
        self, applied: LogMark, max_behind: int, page: int, *, since: str | None = None, check: bool = True
    ) -> Pull:
        """What came after `applied`. `since` is an earlier `Pull.snapshot`, or None: then nothing is covered."""
        ...

    async def publish(self, most: int) -> Publication:
        """Move at most `most` committed changes into the log."""
        ...

    async def rebuild(self) -> None:
        """Read anew what was derived from tables that have changed. May take long; uses a connection of its own."""
        ...

    async def beat(self, process_id: UUID) -> bool:
        """Count this process in. Returns whether a process of the fleet wants all others to report."""
        ...

    async def leave(self, process_id: UUID) -> None: ...

    async def prune(self, max_age: float, most: int) -> None:
        """Delete the oldest entries, `most` of them, but none younger than `max_age` seconds, and never the newest."""
        ...
