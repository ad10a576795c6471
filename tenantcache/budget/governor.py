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
from dataclasses import replace
from datetime import UTC, datetime
from math import inf

from tenantcache.budget.bandstore import BandStore
from tenantcache.budget.core.bands import (
    REPORT_AGE,
    Band,
    BandChoice,
    BandInForce,
    BandProposal,
    Use,
    has_to_want,
    propose,
    unreported_at_most,
)
from tenantcache.budget.core.period import DAY
from tenantcache.budget.core.rate import Rate
from tenantcache.budget.fleetuse import FleetUse
from tenantcache.budget.webhook import Message, Webhook
from tenantcache.errors import POSTGRES_FAILURES
from tenantcache.runtime.statechange import state_change
from tenantcache.runtime.tasks import set_within, stop
from tenantcache.stats import BandName, GovernorStats

logger = logging.getLogger(__name__)

TICK = 5.0
"""Seconds between looks at the fleet's use."""

TAKE_OVER_AFTER = 300.0
"""Seconds after a change in which the process that made it has to tell of it. `BandStore.claim` has the same."""

MESSAGE_TYPE = "redis_budget.band_changed"

AWAY_AFTER = 30.0
"""Seconds without a pull, after which this process has not followed the band."""

PEAK = 2.0
"""A fleet's highest rate, by the mean of its days: `benchmarks/month/fleets.py` has 1.7."""


class Governor:
    """`store` None: the band stays NORMAL. `processes` is the size of the fleet, `ask_log` wakes the follower.

    `on_change` is called with the band that is in force from now on.
    """

    def __init__(
        self,
        store: BandStore | None,
        fleet_use: FleetUse,
        in_force: BandInForce,
        webhook: Webhook | None,
        *,
        server_now: Callable[[], float],
        processes: Callable[[], int],
        ask_log: Callable[[], None],
        on_change: Callable[[Band], None] = lambda band: None,
    ) -> None:
        self.row: BandChoice = BandChoice()
        self.changes: Counter[Band] = Counter()
        """Changes that were seen here, by the band that they led to."""
        self.fleet_use: FleetUse = fleet_use
        self._store, self._in_force, self._webhook = store, in_force, webhook
        self._server_now, self._processes, self._ask_log = server_now, processes, ask_log
        self._on_change = on_change
        self._rate = Rate()
        self._has_followed = False
        self._followed_since = self._followed_at = -inf
        self._made: dict[int, dict[str, object]] = {}
        """Changes that this process has made and no pull has brought yet, by their versions: what is told of them."""
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # Life.

    def open(self) -> None:
        self._news = asyncio.Event()
        if self._store is None:
            return
        self.fleet_use.on_report = self._news.set
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
        self._made.clear()
        if self._webhook is not None:
            self._webhook.forget()

    # What is known.

    def follow(self, row: BandChoice) -> None:
        """A pull has brought the row."""
        if (now := self._server_now()) >= self._followed_at + AWAY_AFTER:
            self._followed_since = now
        self._followed_at = now
        before, self.row, self._in_force.band = self._in_force.band, row, row.band
        is_first, self._has_followed = not self._has_followed, True
        self._tell_of_made()
        if row.band is before:
            return
        if is_first:
            logger.info("the budget for Redis: the fleet is in the band %r", row.band.value)
        else:
            self.changes[row.band] += 1
            extra = state_change("band", before.value, row.band.value)
            logger.warning("the budget for Redis: from the band %r to %r", before.value, row.band.value, extra=extra)
        self._on_change(row.band)

    def use(self) -> Use | None:
        """What this process knows of the fleet's use; None if it has no budget, or has not read it yet. No I/O.

        The rate is that of what the fleet has counted and was read lately. What the provider says comes in leaps, and
        so does what others have used while this process was stopped. Neither was sent in the minutes that it is read.
        """
        known, now = self.fleet_use, self._server_now()
        if known.budget is None or known.read_at is None:
            return None
        is_current = now <= known.read_at + 2 * REPORT_AGE
        if is_current:
            self._rate.note(known.counted, now)
        rate = max(self._rate.highest * known.ratio, PEAK * known.per_day / DAY)
        return Use(known.starts_at, known.used, known.budget, rate, max(1, self._processes()), is_current)

    def _row_of(self, use: Use | None) -> BandChoice:
        """The row. To a process without a budget, the band was wanted until it had followed for LAPSE seconds."""
        if use is not None:
            return self.row
        return replace(self.row, wanted_at=max(self.row.wanted_at, self._followed_since))

    @property
    def band(self) -> BandName:
        return self._in_force.band.value

    def stats(self) -> GovernorStats:
        """What operators are told. No I/O."""
        webhook = self._webhook
        return {
            "band": self.band,
            "band_changes": self.changes.total(),
            "webhooks": {"sent": 0, "failed": 0}
            if webhook is None
            else {"sent": webhook.sent, "failed": webhook.failed},
        }

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
        if use is None and self.fleet_use.budget is not None:
            return
        self.fleet_use.max_unreported = None if use is None else unreported_at_most(self.row, use)
        if (proposal := propose(self._row_of(use), use, now)) is not None:
            before = self.row.band
            if await store.change(proposal):
                self._note_made(before, proposal, use)
            self._ask_log()
        elif has_to_want(self.row, use, now):
            await store.want(self.row.version)
            self._ask_log()
        if self._may_take_over(now) and await store.claim(self.row.version):
            # Another process has made the change, and has not told of it. What was before is not known here.
            self._send({"from": None, "to": self.row.band.value, "why": None} | _described(use))

    # The webhook.

    def _may_take_over(self, now: float) -> bool:
        row = self.row
        return self._webhook is not None and row.told < row.version and now >= row.changed_at + TAKE_OVER_AFTER

    def _note_made(self, before: Band, proposal: BandProposal, use: Use | None) -> None:
        data = {"from": before.value, "to": proposal.band.value, "why": proposal.cause.value}
        logger.warning("the budget for Redis: this process has chosen %r: %s", data["to"], data["why"])
        self._made[proposal.version + 1] = data | _described(use)

    def _tell_of_made(self) -> None:
        """The pull says when the change was made. That makes the message's id, and any process knows it."""
        if (data := self._made.pop(self.row.version, None)) is not None:
            self._send(data)
        if self._made and min(self._made) < self.row.version:
            self._made.clear()  # another change has come since, and is told of by the process that has made it

    def _send(self, data: dict[str, object]) -> None:
        webhook, store, version, at = self._webhook, self._store, self.row.version, self.row.changed_at
        if webhook is None or store is None:
            return

        async def told() -> None:
            with suppress(*POSTGRES_FAILURES):  # then it may be told again: the id is the same
                await store.told(version)

        webhook.tell(Message(f"tenantcache-band-{version}-{at * 1e6:.0f}", MESSAGE_TYPE, at, data), told)


def _described(use: Use | None) -> dict[str, object]:
    if use is None:
        return {}
    return {
        "used": use.used,
        "budget": use.budget,
        "share": round(use.share, 4),
        "period_start": datetime.fromtimestamp(use.period, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }
