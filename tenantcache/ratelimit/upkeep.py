"""What the limiter does beside the requests: tokens that are idle go back, and tenants that are gone are forgotten."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence

from tenantcache.errors import StoreError
from tenantcache.ratelimit.core.spending import Spent
from tenantcache.ratelimit.meter import Meter
from tenantcache.ratelimit.meters import Meters
from tenantcache.runtime.tasks import stop

SURPLUS_INTERVAL = 1.0
"""Seconds between looks for tokens that are held for a demand which has gone elsewhere."""

SWEEP_INTERVAL = 60.0
"""Seconds between looks for tenants that are not asked for any more."""

SLOT_INTERVAL = 3 * 86_400.0
"""Seconds between questions for slots that are known: a slot may be given away if it is not asked for in 30 days."""


STEP = 1_000
"""Meters that are looked at between two breaths of the event loop."""


class Upkeep:
    """`is_cached` tells whether a tenant, by its id, is in memory. `server_now` is that of `Limiter`."""

    def __init__(self, meters: Meters, server_now: Callable[[], float], is_cached: Callable[[str], bool]) -> None:
        self._meters = meters
        self._server_now = server_now
        self._is_cached = is_cached
        self._task: asyncio.Task[None] | None = None
        self._next_sweep = self._next_check = math.inf
        self._departed: list[tuple[str, Sequence[Spent]]] = []
        self.given_up: list[Meter] = []
        """What they had spent of the running minute counts when it is handed over."""

    def open(self) -> None:
        self._next_sweep = self._server_now() + SWEEP_INTERVAL
        self._next_check = self._server_now() + SLOT_INTERVAL
        self._task = asyncio.create_task(self._run(), name="tenantcache limiter")

    async def close(self) -> None:
        await stop(self._task)

    def abandon(self) -> None:
        """The event loop of the task was closed."""
        self._task = None

    def forget(self) -> None:
        """In a forked child."""
        self._departed.clear()
        self.given_up.clear()
        self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(SURPLUS_INTERVAL)
            self.return_surplus()
            now = self._server_now()
            if now >= self._next_check:
                await self.renew_slots()
            if not 0 < self._next_sweep - now <= SWEEP_INTERVAL:  # it is due, or the clock was set
                self._next_sweep = now + SWEEP_INTERVAL
                await self.sweep()

    def return_surplus(self) -> None:
        """Give back what is held for a demand that has gone elsewhere."""
        for meter in self._meters:
            if meter.reservation.watched:
                meter.worker.work(meter)

    async def sweep(self) -> None:
        """Forget tenants that are neither in memory nor asked for any more, and give their tokens back."""
        await self.release(await self._meters.take_idle(self._is_cached))

    def check_slots(self) -> None:
        """Soon ask whether each slot is still the account's own: another timeline of the database may give it away."""
        self._next_check = 0.0

    async def renew_slots(self) -> None:
        """Have it noted that the slots are in use. A meter that turns out to have another's slot is given up: it is
        made anew by the next request."""
        self._next_check = self._server_now() + SLOT_INTERVAL
        try:
            misplaced = await self._meters.groups.find_misplaced()
        except StoreError:
            self._next_check = self._server_now() + SWEEP_INTERVAL
            return
        self._meters.take(misplaced)
        self.give_up(misplaced)

    def give_up(self, meters: Sequence[Meter]) -> None:
        """Lose what they have not spent. They have been taken out, and are dead afterwards."""
        now = self._server_now()
        self.given_up = [meter for meter in self.given_up if meter.reservation.hand_over(now)]
        for meter in meters:
            meter.reservation.release(now)
        self.given_up += meters
        self.note_departed(meters)

    async def release(self, meters: Sequence[Meter]) -> None:
        """Give back what they hold, as far as the store answers. They have been taken out, and are dead afterwards."""
        await self._meters.groups.give_back(meters)
        self.note_departed(meters)

    def note_departed(self, meters: Sequence[Meter]) -> None:
        """Keep what they have spent until it is drained."""
        if not self._meters.counts_spending:
            return
        spent = ((meter.owner, meter.reservation.drain()) for meter in meters if not meter.is_named)
        self._departed += [(owner, tokens) for owner, tokens in spent if tokens]

    async def note_all_departed(self, meters: Sequence[Meter]) -> list[Meter]:
        """The same of very many; return those that were granted tokens of their minute."""
        granted: list[Meter] = []
        for start in range(0, len(meters), STEP):
            some = meters[start : start + STEP]
            self.note_departed(some)
            granted += [meter for meter in some if meter.reservation.granted]
            await asyncio.sleep(0)
        return granted

    def drain_departed(self) -> Iterator[tuple[str, Sequence[Spent]]]:
        while self._departed:
            yield self._departed.pop()
