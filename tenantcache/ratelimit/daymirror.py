"""What Redis has counted of each day, on its way into Postgres (rule 5 of `core/failover.py`)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice

from tenantcache.ratelimit.core.failover import MIRROR_INTERVAL
from tenantcache.ratelimit.core.windows import CounterValues
from tenantcache.ratelimit.counterstore import AccountDebits, CounterChoices

PAGE = 2_000
"""Counts in one statement. One take may bring those of a whole group."""

STEP = 500
"""Accounts whose counts are noted between two breaths of the event loop: 2 ms."""


class DayMirror:
    """`days` are counts that Postgres does not have yet, by tenant and number of the day."""

    def __init__(self, choices: CounterChoices) -> None:
        self.days: dict[tuple[str, int], int] = {}
        self._choices = choices
        self._next = 0.0

    def start(self, now: float) -> None:
        self._next = now + MIRROR_INTERVAL

    def hasten(self) -> None:
        """A change is announced: what Redis has counted is wanted before it begins."""
        self._next = 0.0

    def clock_moved(self, seconds: float) -> None:
        """The server's clock was set by so much."""
        self._next += seconds

    async def note(self, batch: Sequence[AccountDebits], found: CounterValues) -> None:
        """Redis has counted so much; None: it has not answered that."""
        for place, ((account, debits), values) in enumerate(zip(batch, found, strict=True), start=1):
            for (window, _), value in zip(debits, values, strict=True):
                if window.unit == "day" and isinstance(value, int):
                    self.days[account.owner, window.number] = value
            if place % STEP == 0:
                await asyncio.sleep(0)

    def note_read(self, tenant_id: str, number: int, value: int) -> None:
        """Redis had so much when it was read. A take that was sent later may have been answered before."""
        self.days[tenant_id, number] = max(value, self.days.get((tenant_id, number), 0))

    def forget(self, tenant_id: str, number: int) -> None:
        """That day is reset."""
        self.days.pop((tenant_id, number), None)

    def clear(self) -> None:
        self.days.clear()

    def is_due(self, now: float) -> bool:
        return now >= self._next

    async def write_rest(self, now: float) -> None:
        """The same as `write`, if there is something that Postgres does not have."""
        if self.days:
            await self.write(now)

    async def write(self, now: float) -> None:
        """Raise the counts in Postgres to those of Redis, which is done for now. Raises `StoreError`."""
        self.start(now)
        days = iter(list(self.days.items()))
        while page := dict(islice(days, PAGE)):
            await self._choices.mirror(page)
            for key, value in page.items():
                if self.days.get(key) == value:
                    del self.days[key]
