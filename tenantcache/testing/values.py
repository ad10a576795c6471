"""`cache.values` of an application's tests: they outlive event loops, and a test may switch them off."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from tenantcache.freshness.log import ChangeKind, LogEntry
from tenantcache.values.core.acceptance import Entry
from tenantcache.values.memory import Place, ValueMemory
from tenantcache.values.parts import ValueParts
from tenantcache.values.values import Values


class KeptMemory(ValueMemory):
    """Values that stay when the engine is closed, since the next request of a test opens it again."""

    is_on: bool = True

    def put(self, place: Place, entry: Entry) -> None:
        if self.is_on:
            if not entry.is_set:
                entry.good_until = entry.fresh_until  # no reload at a random time before, so that tests are repeatable
            super().put(place, entry)
        else:
            self.drop(place)

    def clear(self) -> None:
        """Nothing: floors tell what a change has made old, also while the engine is closed."""

    def empty(self) -> None:
        super().clear()


class KeptParts(ValueParts):
    """Every change is applied when it is made. So what was held when the engine was closed is as good afterwards."""

    def __init__(self, memory: ValueMemory, *parts: Any, **more: Any) -> None:
        self.kept: KeptMemory = KeptMemory(memory.max_entries, memory.max_bytes)
        self._epoch: str | None = None
        super().__init__(self.kept, *parts, **more)

    def changed(self, entry: LogEntry) -> None:
        if entry.kind is ChangeKind.EVERYTHING:
            self._forget_all()
        else:
            super().changed(entry)

    def flush(self) -> None:
        """The follower begins anew, as a rule at the end of the same log."""
        if self.freshness.epoch != self._epoch:
            self._epoch = self.freshness.epoch
            self._forget_all()
        for entry in self.kept.held.values():
            entry.seen = entry.seen._replace(generation=self.freshness.generation)

    def _forget_all(self) -> None:
        super().flush()
        self.kept.empty()


class Off:
    """Values are off: at once, and until the end of a `with` block if it is used for one."""

    def __init__(self, memory: KeptMemory) -> None:
        self._memory, self._was_on = memory, memory.is_on
        memory.is_on = False
        memory.empty()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._memory.is_on = self._was_on


class SwitchedValues(Values):
    """`Values` that a test may switch off, `shared` ones included."""

    def __init__(self, parts: KeptParts) -> None:
        super().__init__(parts)
        self._memory = parts.kept

    def off(self) -> Off:
        """From now on each get loads anew and nothing is kept; `with values.off():` until the end of the block."""
        return Off(self._memory)
