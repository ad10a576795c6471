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
from dataclasses import dataclass, field, replace
from uuid import UUID

from tenantcache.engine import TenantCache
from tenantcache.errors import POSTGRES_FAILURES, SchemaMissingError, StoreError
from tenantcache.fleet.reportstore import BusyTenant, LoggedChange, ReportStore, StoredReport
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
"""Seconds between two looks at today's usage, each of which reads all of it."""

MAX_BUSIEST = 8
MAX_CHANGES = 8


@dataclass(slots=True)
class _Known:
    """What was read last."""

    processes: dict[UUID, ProcessView] = field(default_factory=dict)
    changes: Sequence[LoggedChange] = ()
    busiest: Sequence[BusyTenant] = ()
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
        self._names: dict[str, str] = {}
        self.looked_at: float = float("-inf")
        """When the last look ended, by the engine's clock."""
        self._looking: asyncio.Task[None] | None = None

    async def look(self) -> FleetView:
        """The fleet as it is known now."""
        looking = self._looking
        if looking is not None and looking.get_loop() is not asyncio.get_running_loop():
            looking = None  # its event loop has ended
        if self._cache.clock() - self.looked_at >= MIN_AGE and (looking is None or looking.done()):
            self._looking = looking = asyncio.create_task(self._look(), name="tenantcache dashboard")
        if looking is not None:
            await asyncio.shield(looking)
        return self._view()

    def _view(self) -> FleetView:
        cache, known, now = self._cache, self._known, self._cache.server_now()
        reports = cache.reports
        own = read_process(reports.identity, now, dict(reports.document()))
        others = [view for key, view in known.processes.items() if key != own.identity.process]
        view = FleetView(
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
        )
        self._names = {key: self._name_of(key) for key in view.shown_tenants}
        return replace(view, names=self._names)

    def _name_of(self, tenant_id: str) -> str:
        """As memory has it, or had it. One that was never there is called by its id: a name is not worth a query."""
        tenant = self._cache.memory.tenant_of(tenant_id)
        return self._names.get(tenant_id, tenant_id) if tenant is None else tenant.name.strip() or tenant_id

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
        self.looked_at = self._cache.clock()

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
        newest = max((report.at for report in stored.reports), default=known.newest)
        known.newest = min(newest, stored.now)  # else a report from before a clock was set back would hide all others
        known.changes = await store.last_changes(MAX_CHANGES)
        self.queries += 1
        if known.busiest_at is None or abs(stored.now - known.busiest_at) >= BUSIEST_EVERY:
            known.busiest_at = stored.now
            self.queries += 1
            with suppress(StoreError):  # if that takes too long, it must not take the rest along
                known.busiest = await store.busiest(MAX_BUSIEST)


def _view_of(report: StoredReport) -> ProcessView | None:
    if report.text is None:
        return None
    with suppress(ValueError):
        document = json.loads(report.text)
        if isinstance(document, dict):
            return read_process(report.identity, report.at, document)
    return None
