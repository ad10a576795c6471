"""Values in the process, by tenant, key and type: bounded by entries and by bytes (`core/s3fifo.py`).

A hit is one look into `held`, which holds whatever was put in until it is replaced or has to go for others. What a
change has invalidated stays and is refused when it is asked for, so that a tag costs the same whatever has it.
"""

from __future__ import annotations

from tenantcache.values.core.acceptance import Entry
from tenantcache.values.core.s3fifo import S3Fifo

Place = tuple[str | None, str, object]
"""The tenant's id, None for what belongs to none; the key; the type that was asked for."""

ENTRY_BYTES = 900
"""What an entry takes beside its value and names: an estimate, not measured yet."""


class ValueMemory:
    """At most `max_entries` values, and about `max_bytes`."""

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self.held: dict[Place, Entry] = {}
        self.evictions: int = 0
        self._queues: S3Fifo[Entry] = S3Fifo(max_entries, max_bytes)

    @property
    def max_entries(self) -> int:
        return self._queues.max_entries

    @property
    def max_bytes(self) -> int:
        return self._queues.max_bytes

    def __len__(self) -> int:
        return len(self.held)

    @property
    def bytes(self) -> int:
        return self._queues.bytes

    def put(self, place: Place, entry: Entry) -> None:
        """Hold `entry` in place of what was there. What is larger than the small queue is not held."""
        before = self.held.get(place)
        if entry.size > self._queues.max_bytes // 10:
            self.drop(place)
            return
        queues = self._queues
        leaving = queues.add(place, entry) if before is None else queues.replace(place, before, entry)
        self.held[place] = entry
        for left in leaving:
            self.evictions += 1
            del self.held[left]  # type: ignore[arg-type]  # the queues hold places

    def drop(self, place: Place) -> None:
        entry = self.held.pop(place, None)
        if entry is not None:
            self._queues.remove(place, entry)

    def clear(self) -> None:
        self.held.clear()
        self._queues.clear()
