"""Asks the provider of the Redis what it has billed: one process of the fleet, every few hours."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

from tenantcache.budget.core.period import HOUR, Period
from tenantcache.budget.core.providerbill import ProviderBill
from tenantcache.errors import TenantCacheError

logger = logging.getLogger(__name__)

ASK_EVERY = timedelta(hours=3)

NOT_BEFORE = 2 * HOUR
"""Seconds after a period's start in which the provider's figure may still be that of the last one."""


class ProviderError(TenantCacheError):
    """The provider did not say. The text has no credentials."""


class Provider(Protocol):
    async def read(self) -> int:
        """Return the units that it has billed in this period. Raises `ProviderError`."""
        ...


class BillStore(Protocol):
    """The fleet's notes of it. All methods raise `StoreError`, or `SchemaMissingError`."""

    async def claim_question(self, interval: timedelta) -> bool:
        """Whether it falls to this process to ask now: no process has done so for `interval`."""
        ...

    async def read_bill(self) -> ProviderBill | None:
        """The last one that was written."""
        ...

    async def write_bill(self, bill: ProviderBill) -> None: ...


class ProviderWatch:
    """`bill` is the last figure of the present period, whichever process has asked for it; None if there is none."""

    def __init__(self, provider: Provider, store: BillStore) -> None:
        self.bill: ProviderBill | None = None
        self._provider, self._store = provider, store

    async def update(self, now: float, period: Period, counted: Callable[[], int]) -> None:
        """Read the fleet's last figure, and ask for a new one if that is due. Raises what the store does."""
        self._accept(await self._store.read_bill(), period)
        if now - period.start < NOT_BEFORE or not await self._store.claim_question(ASK_EVERY):
            return
        try:
            billed = await self._provider.read()
        except ProviderError as error:
            logger.warning("what Redis was billed for is estimated: %s", error)
            return
        bill = ProviderBill(now, period.start, billed, counted())
        self._accept(bill, period)
        await self._store.write_bill(bill)

    def _accept(self, bill: ProviderBill | None, period: Period) -> None:
        self.bill = bill if bill is not None and bill.period_start == period.start else None
