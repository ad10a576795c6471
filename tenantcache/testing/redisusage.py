"""What a fleet uses of its Redis, and what the provider says of it, in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import UUID

from tenantcache.budget.core.meter import Purpose
from tenantcache.budget.core.providerbill import ProviderBill
from tenantcache.budget.usestore import UseRow


class MemoryRedisUsage:
    """`UseStore` and `BillStore`. `server_time` is in seconds since the Unix epoch."""

    def __init__(self, server_time: Callable[[], float] = lambda: 0.0) -> None:
        self._billed: dict[tuple[UUID, int, Purpose], int] = {}
        self._server_time = server_time
        self._asked_at = float("-inf")
        self._bill: ProviderBill | None = None

    async def exchange(self, process_id: UUID, rows: Sequence[UseRow], since: int) -> list[UseRow]:
        for hour, purpose, billed in rows:
            key = (process_id, hour, purpose)
            self._billed[key] = max(billed, self._billed.get(key, 0))
        others: Counter[tuple[int, Purpose]] = Counter()
        for (process, hour, purpose), billed in self._billed.items():
            if process != process_id and hour >= since:
                others[hour, purpose] += billed
        return [UseRow(hour, purpose, billed) for (hour, purpose), billed in others.items()]

    async def drop_before(self, hour: int) -> None:
        self._billed = {key: billed for key, billed in self._billed.items() if key[1] >= hour}

    async def claim_question(self, interval: timedelta) -> bool:
        is_due = self._asked_at < self._server_time() - interval.total_seconds()
        if is_due:
            self._asked_at = self._server_time()
        return is_due

    async def read_bill(self) -> ProviderBill | None:
        return self._bill

    async def write_bill(self, bill: ProviderBill) -> None:
        self._bill = bill
