"""The governor: keeps the fleet's band in step with what it has used of its budget. `core/bands.py` has the rules.

Each process has one. It follows the band that the pulls of the log bring, and proposes the next one if the fleet's use
asks for that. Without a budget it only follows, and takes back a band that no process wants any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from tenantcache.budget.bandstore import BandStore
from tenantcache.budget.core.bands import (
    Band,
    BandChoice,
    BandInForce,
    BandProposal,
    Use,
    has_to_want,
    propose,
    unreported_at_most,
)
from tenantcache.budget.core.rate import Rate
from tenantcache.budget.webhook import Message, Webhook
from tenantcache.errors import POSTGRES_FAILURES
from tenantcache.runtime.tasks import set_within, stop

logger = logging.getLogger(__name__)

TICK = 2.0
"""Seconds between looks at the fleet's use."""

TAKE_OVER_AFTER = 300.0
"""Seconds after a change in which the process that made it has to tell of it. `BandStore.claim` has the same."""

MESSAGE_TYPE = "redis_budget.band_changed"

PEAK = 2.0
"""A fleet's highest rate, by the mean of its days: `benchmarks/month/fleets.py` has 1.7."""

DAY = 86_400.0


class KnownUse(Protocol):
    """The fleet's use, as `FleetUse` knows it, in billed commands."""

    max_unreported: int | None
    """When this process has used so much that it has not reported, it reports at once."""
    on_report: Callable[[], None]
    """Called after each report."""
    read_at: float | None

    @property
    def used(self) -> int: ...

    @property
    def starts_at(self) -> float:
        """The beginning of this period."""
        ...

    @property
    def per_day(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Budget:
    """Billed commands in a period, and what is known of their use."""

    limit: int
    use: KnownUse


class Governor:
    """`budget` None: this process has none. `processes` is the size of the fleet, `ask_log` wakes the follower.

    `on_change` is called with the band before and the one that is in force now.
    """

    def __init__(
        self,
        store: BandStore | None,
        budget: Budget | None,
        in_force: BandInForce,
        webhook: Webhook | None,
        *,
        server_now: Callable[[], float],
        processes: Callable[[], int],
        ask_log: Callable[[], None],
        on_change: Callable[[Band, Band], None] = lambda before, band: None,
    ) -> None:
        self.row: BandChoice = BandChoice()
        self.changes: Counter[Band] = Counter()
        """Changes that were seen here, by the band that they led to."""
        self._store, self._budget, self._in_force, self._webhook = store, budget, in_force, webhook
        self._server_now, self._processes, self._ask_log = server_now, processes, ask_log
        self._on_change = on_change
        self._rate = Rate()
        self._news = asyncio.Event()
        self._has_followed = False
        self._task: asyncio.Task[None] | None = None

    # Life.

    def open(self) -> None:
        self._news = asyncio.Event()
        if self._store is None:
            return
        if self._budget is not None:
            self._budget.use.on_report = self._news.set
        if self._webhook is not None:
            self._webhook.open()
        self._task = asyncio.create_task(self._run(self._store), name="tenantcache governor")

    async def close(self) -> None:
        await stop(self._task)
        if self._webhook is not None:
            await self._webhook.close()

    def forget(self) -> None:
        """In a forked child."""
        self._task = None
        if self._webhook is not None:
            self._webhook.forget()

    # What is known.

    def follow(self, row: BandChoice) -> None:
        """A pull has brought the row."""
        before, self.row, self._in_force.band = self._in_force.band, row, row.band
        if row.band is before:
            return
        self.changes[row.band] += 1
        logger.warning("the budget for Redis: from the band %r to %r", before.value, row.band.value)
        self._on_change(before, row.band)

    def use(self) -> Use | None:
        """What this process knows of the fleet's use; None if it has no budget, or has not read it yet. No I/O."""
        budget = self._budget
        if budget is None or budget.use.read_at is None:
            return None
        used = budget.use.used
        self._rate.note(used, self._server_now())
        rate = max(self._rate.highest, PEAK * budget.use.per_day / DAY)
        return Use(budget.use.starts_at, used, budget.limit, rate, max(1, self._processes()))

    # What is done.

    async def _run(self, store: BandStore) -> None:
        while True:
            await set_within(self._news, TICK)
            self._news.clear()
            try:
                await self.look(store)
            except POSTGRES_FAILURES:
                continue  # nothing can be agreed on until it is back
            except Exception:
                logger.exception("the governor goes on past what failed")

    async def look(self, store: BandStore) -> None:
        """Do what is due. Raises `StoreError` and `SchemaMissingError`."""
        use, now = self.use(), self._server_now()
        if use is not None and self._budget is not None:
            self._budget.use.max_unreported = unreported_at_most(self.row, use)
        if (proposal := propose(self.row, use, now)) is not None:
            before = self.row.band
            if await store.change(proposal):
                self._tell(store, before, proposal, use, now)
            self._ask_log()
        elif has_to_want(self.row, use, now):
            await store.want(self.row.version)
            self._ask_log()
        elif self._may_take_over(now) and await store.claim(self.row.version):
            self._tell_of_row(store, use)

    # The webhook.

    def _may_take_over(self, now: float) -> bool:
        row = self.row
        return self._webhook is not None and row.told < row.version and now >= row.changed_at + TAKE_OVER_AFTER

    def _tell(self, store: BandStore, before: Band, proposal: BandProposal, use: Use | None, now: float) -> None:
        data = {"from": before.value, "to": proposal.band.value, "why": proposal.cause.value}
        logger.warning("the budget for Redis: this process has chosen %r: %s", proposal.band.value, data["why"])
        self._send(store, proposal.version + 1, now, data | _described(use))

    def _tell_of_row(self, store: BandStore, use: Use | None) -> None:
        """Of a change that another process has made, and has not told of: it does not know what was before."""
        row = self.row
        self._send(
            store, row.version, row.changed_at, {"from": None, "to": row.band.value, "why": None} | _described(use)
        )

    def _send(self, store: BandStore, version: int, at: float, data: dict[str, object]) -> None:
        if self._webhook is None:
            return

        async def told() -> None:
            with suppress(*POSTGRES_FAILURES):  # then it may be told again: the id is the same
                await store.told(version)

        self._webhook.tell(Message(f"tenantcache-band-{version}", MESSAGE_TYPE, at, data), told)


def _described(use: Use | None) -> dict[str, object]:
    if use is None:
        return {}
    return {
        "used": use.used,
        "budget": use.budget,
        "share": round(use.share, 4),
        "period_start": datetime.fromtimestamp(use.period, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }
