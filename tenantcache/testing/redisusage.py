"""What a fleet uses of its Redis, in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from tenantcache.budget.core.meter import Purpose
from tenantcache.budget.usestore import UseRow


class MemoryRedisUsage:
    """`UseStore`."""

    def __init__(self) -> None:
        self._billed: dict[tuple[UUID, int, Purpose], int] = {}

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
