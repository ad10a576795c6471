"""The store of reports that the processes of a fleet write, and of what else a page about the fleet shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypedDict
from uuid import UUID

from tenantcache.fleet.core.events import Event
from tenantcache.fleet.core.history import HistoryDocument
from tenantcache.stats import Stats


class ReportDocument(TypedDict):
    """What a process tells. `started` is server time. `events` are the last ones, oldest first. `refused` are the
    tenants that were refused most in the time of the history, each with the number of requests."""

    started: float
    stats: Stats
    history: HistoryDocument
    events: list[Event]
    refused: list[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Identity:
    """Which process it is."""

    process: UUID
    host: str
    pid: int
    version: str


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A report as it was stored `at` (server time). `text` is a `ReportDocument` of that version, as JSON; None: it is
    older than what was asked for."""

    identity: Identity
    at: float
    text: str | None


@dataclass(frozen=True, slots=True)
class StoredReports:
    """All reports that there are, and the server's time then."""

    now: float
    reports: Sequence[StoredReport]


class LoggedChange(NamedTuple):
    """An entry of the change log, `at` in seconds since the Unix epoch. `tenant_id` None: everything may have changed.
    `aliases` are at most `MAX_ALIASES` of its names."""

    seq: int
    at: float
    tenant_id: str | None
    aliases: Sequence[str]


class BusyTenant(NamedTuple):
    """A tenant's requests of one day, as far as they were written."""

    tenant_id: str
    requests: int


MAX_ALIASES = 10


class ReportStore(Protocol):
    """All methods raise `StoreError`, or `SchemaMissingError` if there is no such table."""

    async def write(self, identity: Identity, text: str, *, is_watching: bool) -> None:
        """Replace the report of a process. `is_watching`: and let every process report for the next minute."""
        ...

    async def leave(self, process: UUID) -> None:
        """This process does not report any more."""
        ...

    async def prune(self) -> None:
        """Forget processes that have not reported for an hour."""
        ...

    async def read(self, since: float, most: int) -> StoredReports:
        """All processes, newest first, at most `most`; with what those tell that have reported after `since`."""
        ...

    async def busiest(self, most: int) -> Sequence[BusyTenant]:
        """The tenants with most requests today (UTC), the busiest first."""
        ...

    async def last_changes(self, most: int) -> Sequence[LoggedChange]:
        """The newest entries of the change log, newest first."""
        ...

    async def changes_of(self, tenant_id: str, most: int) -> Sequence[LoggedChange]:
        """The same of one tenant, among the last 10,000."""
        ...
