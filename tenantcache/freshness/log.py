"""What the follower asks of the database: the log of changes, and what one look at it says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tenantcache.freshness.core.logmark import LogMark
from tenantcache.ratelimit.core.agreement import StoreChoice


@dataclass(frozen=True, slots=True)
class LogEntry(LogMark):
    """One change: the tenant, and every alias that led to it before or after. Both None: everything changed."""

    tenant_id: str | None
    aliases: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Pull:
    """One look at the log: what is new, and what else a follower lives on.

    `server_time` is in seconds since the Unix epoch, `head` the newest entry, `continuous` false where the entry
    that the caller applied last is not the one in the log now, `processes` the size of the fleet.
    `truncated` is true where the caller is further behind than its bound; `entries` is then empty. `choice` says which
    store counts limits, `settled_until` (server time) until when no other change begins; None: one was being made.

    `pending`: changes were committed that are not in the log yet. `snapshot` names what this look saw, and `covers`
    says whether everything that an earlier one saw (`ChangeLog.pull`) is in the log now. `running` are transactions
    that were under way. `fault` says why the log cannot be relied on, if `checked`; one that begins with "changed" is
    mended by `ChangeLog.rebuild`.
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
    pending: bool = False
    covers: bool = False
    snapshot: str = ""
    running: frozenset[int] = frozenset()
    checked: bool = True
    fault: str | None = None


OnChange = Callable[..., None]
"""Called without an argument for a commit; by a publisher with the number of the newest entry; with `checks=True` if
something else has changed that only a pull with `check` tells."""


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

    async def pull(self, applied: LogMark, max_behind: int, page: int, *, since: str = "", check: bool = True) -> Pull:
        """What came after `applied`. `since` is an earlier `Pull.snapshot`, or "": then nothing is covered."""
        ...

    async def publish(self, most: int) -> str:
        """Move at most `most` committed changes into the log: "nothing", "busy" (another process does), "published",
        "more"."""
        ...

    async def rebuild(self) -> None:
        """Read anew what was derived from tables that have changed. May take long; uses a connection of its own."""
        ...

    async def beat(self, process_id: object) -> None: ...

    async def leave(self, process_id: object) -> None: ...

    async def prune(self, max_age: float, most: int) -> None:
        """Delete the oldest entries, `most` of them, but none younger than `max_age` seconds, and never the newest."""
        ...
