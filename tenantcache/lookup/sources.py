"""What a lookup asks of the stores. Each protocol says what a caller may assume."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence, Set
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from tenantcache.freshness.core.logmark import LogMark
from tenantcache.lookup.core.snapshot import Snapshot
from tenantcache.tenant import Row


class TenantStore(Protocol):
    """The truth. Every read is one statement: rows and mark come from the same snapshot."""

    async def read(self, aliases: Sequence[str]) -> Snapshot: ...

    async def log_change(self, tenant_id: str, aliases: Sequence[str]) -> None:
        """Tell every process to read this tenant again, as if it had changed."""
        ...

    async def log_reset(self, tenant_id: str) -> None:
        """Tell every process that this tenant's counters were reset."""
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


class StreamedRow(NamedTuple):
    """A tenant, and those of its aliases that may lead to another tenant or to none (adopted tables)."""

    row: Row
    shared: Set[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RowStream:
    """Tenants of one snapshot, in `batches`, as of `mark` in the log that `epoch` names; `pending` as in `Snapshot`.
    `more`: there are more tenants than were asked for."""

    mark: LogMark
    epoch: str
    batches: AsyncIterator[list[StreamedRow]]
    pending: bool = False
    more: bool = False


class RowSource(Protocol):
    """Tenants in the order in which they were seen last. The snapshot is taken when the context is entered."""

    def stream_rows(self, batch: int, most: int) -> AbstractAsyncContextManager[RowStream]: ...


class CopyStore(Protocol):
    """A cheap copy that no process trusts blindly: it may lose, keep or reorder anything that it is given.

    Values are opaque bytes; the caller decides from what is in them whether to believe them.
    """

    async def get_many(self, aliases: Sequence[str]) -> list[bytes | None]: ...

    async def put(self, alias: str, value: bytes) -> None: ...

    async def drop(self, aliases: Sequence[str]) -> None: ...
