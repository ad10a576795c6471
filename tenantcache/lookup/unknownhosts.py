"""Whether a host that is not in memory may be looked up: by what is known without I/O, and by a budget for the rest."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Protocol

from tenantcache.errors import StoreError
from tenantcache.lookup.core.lookupbudget import LookupBudget
from tenantcache.runtime.clock import Clock
from tenantcache.runtime.deadline import SharedDeadline


class KnownHosts(Protocol):
    """What is known of hosts without I/O."""

    def rules_out(self, alias: str) -> bool:
        """Whether `alias` certainly leads to no tenant."""
        ...

    def knows(self, alias: str) -> bool:
        """Whether `alias` leads to a tenant, as far as is known."""
        ...

    @property
    def settling(self) -> asyncio.Future[None] | None:
        """Done once it is known which hosts are unknown; None if it is so already."""
        ...


class UnknownHosts:
    """`patience` in seconds in which this process ran; `most` may wait at once."""

    def __init__(self, known: KnownHosts, budget: LookupBudget, clock: Clock, *, patience: float, most: int) -> None:
        self.over_budget: int = 0
        self._known = known
        self._budget = budget
        self._clock = clock
        self._deadline = SharedDeadline(patience)
        self._most = most
        self._waiting = 0

    def rules_out(self, alias: str) -> bool:
        """Whether `alias` certainly leads to no tenant."""
        return self._known.rules_out(alias)

    def allows(self, alias: str) -> bool:
        """Whether `alias` may be looked up now; that costs budget if it is unknown."""
        return self._known.knows(alias) or self._budget.spend(self._clock())

    async def settled(self) -> None:
        """Wait until it is known which hosts are unknown. Raises `StoreError` if too many wait."""
        settling = self._known.settling
        if settling is None:
            return
        if self._waiting >= self._most:
            raise StoreError("too many tenants are being looked up at once")
        self._waiting += 1
        try:
            with suppress(TimeoutError):
                await self._deadline.wait(settling)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        self._deadline.close()

    def refuse(self) -> StoreError:
        """The error of a lookup past the budget."""
        self.over_budget += 1
        return StoreError("too many unknown hosts were looked up within the last second")
