"""Counters in memory that bill like those in Redis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from tenantcache.ratelimit.counterstore import AccountDebits
from tenantcache.ratelimit.memorycounters import MemoryCounters
from tenantcache.stores.rediscounters import String, _commands

MAX_WINDOWS = 20_000_000


class BilledCounters(MemoryCounters):
    """`commands` and `operations` are by the minute of the simulation; an EXPIRE of a new key is a command as well.

    `batches` are remembered if `remembers`.
    """

    def __init__(self, minute: Callable[[], int], *, remembers: bool = False) -> None:
        super().__init__(max_windows=MAX_WINDOWS)
        self.commands: Counter[int] = Counter()
        self.operations: Counter[int] = Counter()
        self.most_operations: int = 0
        self.batches: list[tuple[Sequence[AccountDebits], list[list[int]]]] = []
        self._minute = minute
        self._remembers = remembers
        self._keys: set[String] = set()

    async def debit(self, batch: Sequence[AccountDebits]) -> list[list[int]]:
        minute = self._minute()
        for command in _commands(batch):
            operations = len(command.places)
            is_new = command.writes and command.string not in self._keys
            self._keys.add(command.string)
            self.commands[minute] += 1 + is_new
            self.operations[minute] += operations
            self.most_operations = max(self.most_operations, operations)
        values = await super().debit(batch)
        if self._remembers:
            self.batches.append((batch, values))
        return values
