"""What the engine asks of a store. Each protocol's docstring says what a caller may assume.

A store call raises `StoreError` when it did not answer in time or answered with an error; it never blocks past
its own timeout, and it never retries a write by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from tenantcache.freshness.core.logmark import LogMark
from tenantcache.ratelimit.core.failover import StoreChoice
from tenantcache.ratelimit.core.windows import Debit
from tenantcache.tenant import Row


class StoreError(Exception):
    """A store could not be asked. `refused`: it answered, and refuses to do what it was asked for; `suspended`: the
    provider refuses to serve this account; `starved`: this process did not run for so long that the failure tells
    nothing about the store. `values`: the new values of those debits that were made all the same, in another store, at
    their places in the call; None for the others. Empty if none was made for certain."""

    def __init__(self, message: str, *, suspended: bool = False, refused: bool = False, starved: bool = False) -> None:
        super().__init__(message)
        self.suspended = suspended
        self.refused = refused or suspended
        self.starved = starved
        self.values: Sequence[int | None] = ()


class RejectedError(StoreError):
    """The store answers, and can make nothing of this very call. It has done nothing, and serves others."""


class StoreMovingError(StoreError):
    """Nothing may be taken now, because others are seeing to it: another store takes over, probably at `until`.

    `until` is server time, in seconds since the Unix epoch.
    """

    def __init__(self, message: str, *, until: float) -> None:
        super().__init__(message)
        self.until = until


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one statement saw.

    `mark` is the newest log entry in that snapshot, `epoch` names the log that it belongs to, and `rows` holds
    every alias that was asked for, with None if there is no such tenant. `pending`: the snapshot held changes that were
    not in the log yet. Of the aliases in `unknown` the database cannot say yet whether they lead to a tenant.
    """

    mark: LogMark
    epoch: str
    rows: Mapping[str, Row | None]
    pending: bool = False
    unknown: frozenset[str] = frozenset()


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


class TenantStore(Protocol):
    """The truth. Every read is one statement: rows and mark come from the same snapshot."""

    async def read(self, aliases: Sequence[str]) -> Snapshot: ...

    async def log_change(self, tenant_id: str, aliases: Sequence[str]) -> None:
        """Tell every process to read this tenant again, as if it had changed."""
        ...


@dataclass(frozen=True, slots=True)
class AliasStream:
    """Every alias of one snapshot: `count` of them, in `batches`, as of `mark` in the log that `epoch` names.

    `pending` as in `Snapshot`.
    """

    count: int
    epoch: str
    mark: LogMark
    batches: AsyncIterator[list[str]]
    pending: bool = False


class HostSource(Protocol):
    """All aliases there are. The snapshot is taken when the context is entered, not before."""

    def stream_aliases(self, batch: int) -> AbstractAsyncContextManager[AliasStream]: ...


@dataclass(frozen=True, slots=True)
class RowStream:
    """Tenants of one snapshot, in `batches`, as of `mark` in the log that `epoch` names; `pending` as in `Snapshot`."""

    mark: LogMark
    epoch: str
    batches: AsyncIterator[list[Row]]
    pending: bool = False


class RowSource(Protocol):
    """Tenants in the order in which they were seen last. The snapshot is taken when the context is entered."""

    def stream_rows(self, batch: int, most: int) -> AbstractAsyncContextManager[RowStream]: ...


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


class CopyStore(Protocol):
    """A cheap copy that nobody trusts blindly: it may lose, keep or reorder anything that it is given.

    Values are opaque bytes; the caller decides from what is in them whether to believe them.
    """

    async def get_many(self, aliases: Sequence[str]) -> list[bytes | None]: ...

    async def put(self, alias: str, value: bytes) -> None: ...

    async def drop(self, aliases: Sequence[str]) -> None: ...


class CounterStore(Protocol):
    """Counters that many processes debit.

    Each debit is atomic by itself and is applied exactly once when the call returns. When the call raises, each
    debit may or may not have been applied: the caller must count it as spent and as not granted, unless the error's
    `values` hold its counter's new value.
    Counters start at 0 and expire some time after their window has ended. A past window that is only read may be
    `OUT_OF_REACH`.
    """

    async def debit(self, tenant_id: str, debits: Sequence[Debit]) -> list[int]:
        """Add each amount to its window's counter; return the new values in the same order."""
        ...

    async def reset(self, tenant_id: str, debits: Sequence[Debit]) -> None:
        """Forget the counters of the named windows (amounts are ignored)."""
        ...
