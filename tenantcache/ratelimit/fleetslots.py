"""The slots of a fleet that may count in Redis: they are in Postgres, whichever store counts."""

from __future__ import annotations

from collections.abc import Sequence

from tenantcache.errors import StoreError
from tenantcache.ratelimit.counters import FleetCounters
from tenantcache.ratelimit.slots import Slots


class FleetSlots:
    """`Slots` for the accounts of `counters`.

    If Postgres does not answer and Redis counts, other processes take tokens of the account. So this one may not decide
    by itself: a slot that cannot be told is like a take that is not answered.
    """

    def __init__(self, slots: Slots, counters: FleetCounters) -> None:
        self._slots = slots
        self._counters = counters

    async def assign(self, owners: Sequence[str]) -> list[int]:
        try:
            return await self._slots.assign(owners)
        except StoreError as error:
            raise self._counters.unanswered(str(error)) from error
