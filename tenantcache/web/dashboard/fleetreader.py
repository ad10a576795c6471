"""Reads the fleet's reports, for all pages and streams of this process together.

Rules:

* No Redis command. Two queries a look, and a third one a minute for the busiest tenants, however many there are.
* At most one look every `MIN_AGE` seconds, however many ask.
* While Postgres does not answer, the page goes on with this process's own figures, and with the others' as they were.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from tenantcache.admin.usagestore import UsageTotal
from tenantcache.engine import TenantCache
from tenantcache.errors import POSTGRES_FAILURES, SchemaMissingError, StoreUnavailableError
from tenantcache.fleet.reportstore import LoggedChange, ReportStore, StoredReport
from tenantcache.web.dashboard.fleetview import FleetView
from tenantcache.web.dashboard.processview import ProcessView, read_process

MIN_AGE = 1.0
"""Seconds for which a look is shown again."""

OVERLAP = 5.0
"""Seconds that are read again: reports may be committed in another order than they were stored."""

MAX_PROCESSES = 2_000
"""Rows of one look."""

STEP = 20
"""Reports that are decoded between two breaths of the event loop: a millisecond."""

BUSIEST_EVERY = 60.0
"""Seconds between two sums of today's usage: 0.1 s of the database at 100,000 tenants."""

MAX_BUSIEST = 8
MAX_CHANGES = 12


@dataclass(slots=True)
class _Known:
    """What was read last."""

    processes: dict[UUID, ProcessView] = field(default_factory=dict)
    changes: Sequence[LoggedChange] = ()
    busiest: Sequence[UsageTotal] = ()
    busiest_at: float | None = None
    read_at: float | None = None
    newest: float = 0.0
    fault: str | None = None
    fault_since: float | None = None
    is_schema_old: bool = False


class FleetReader:
    def __init__(self, cache: TenantCache) -> None:
        self.queries: int = 0
        self._cache = cache
        self._known = _Known()
        self._looked_at = float("-inf")
        self._looking: asyncio.Task[None] | None = None

    async def look(self) -> FleetView:
        """The fleet as it is known now."""
        if self._cache.clock() - self._looked_at >= MIN_AGE and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look(), name="tenantcache dashboard")
        if self._looking is not None and self._looking.get_loop() is asyncio.get_running_loop():
            await asyncio.shield(self._looking)
        return self._view()

    def _view(self) -> FleetView:
        cache, known, now = self._cache, self._known, self._cache.server_now()
        reports = cache.reports
        own = read_process(reports.identity, now, dict(reports.document()))
        others = [view for key, view in known.processes.items() if key != own.identity.process]
        shown = [*(total.tenant_id for total in known.busiest), *(change.tenant_id or "" for change in known.changes)]
        named = {owner for process in (own, *others) for owner in process.refused}
        held = {key: tenant for key in {*shown, *named} if (tenant := cache.memory.tenant_of(key)) is not None}
        return FleetView(
            now=now,
            own=own,
            others=others,
            budget=cache.budget,
            changes=known.changes,
            busiest=known.busiest,
            busiest_at=known.busiest_at,
            fault=known.fault,
            fault_since=known.fault_since,
            is_schema_old=known.is_schema_old,
            read_at=known.read_at,
            names={key: tenant.name for key, tenant in held.items()},
        )

    async def _look(self) -> None:
        store = self._cache.reports.store
        if store is not None:
            try:
                await self._read(store)
            except POSTGRES_FAILURES as error:
                known = self._known
                if known.fault is None:
                    known.fault_since = self._cache.server_now()
                known.fault, known.is_schema_old = str(error), isinstance(error, SchemaMissingError)
            else:
                self._known.fault = self._known.fault_since = None
                self._known.is_schema_old = False
        self._looked_at = self._cache.clock()

    async def _read(self, store: ReportStore) -> None:
        known = self._known
        stored = await store.read(known.newest - OVERLAP, MAX_PROCESSES)
        self.queries += 1
        found: dict[UUID, ProcessView] = {}
        for number, report in enumerate(stored.reports):
            view = _view_of(report) or known.processes.get(report.identity.process)
            if view is not None:
                found[report.identity.process] = view
            if number % STEP == STEP - 1:
                await asyncio.sleep(0)
        known.processes, known.read_at = found, stored.now
        known.newest = max((report.at for report in stored.reports), default=known.newest)
        known.changes = await store.last_changes(MAX_CHANGES)
        self.queries += 1
        if known.busiest_at is None or stored.now - known.busiest_at >= BUSIEST_EVERY:
            known.busiest_at = stored.now
            self.queries += 1
            today = datetime.fromtimestamp(stored.now, UTC).date()
            with suppress(StoreUnavailableError):  # a sum that takes too long must not take the rest along
                known.busiest = await self._cache.usage.busiest(today, today, limit=MAX_BUSIEST)


def _view_of(report: StoredReport) -> ProcessView | None:
    if report.text is None:
        return None
    with suppress(ValueError):
        document = json.loads(report.text)
        if isinstance(document, dict):
            return read_process(report.identity, report.at, document)
    return None
