"""Values in the process, by tenant, key and type: bounded by entries and by bytes (`core/s3fifo.py`).

A hit is one look into `held`, which holds whatever was put in until it is replaced or has to go for others. What a
change has invalidated stays and is refused when it is asked for, so that a tag costs the same whatever has it.

What is pinned is to be written later (`writebehind.py`). Nothing takes its place, and it does not go for others: the
queue of what is to be written has bounds of its own.
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
        self._pinned: set[Place] = set()
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

    @property
    def most_for_one(self) -> int:
        """Bytes of the largest value that is held."""
        return self._queues.max_bytes // 10

    def put(self, place: Place, entry: Entry) -> None:
        """Hold `entry` in place of what was there. What is larger than the small queue is not held."""
        if place in self._pinned:
            return
        before = self.held.get(place)
        if entry.size > self.most_for_one:
            self.drop(place)
            return
        queues = self._queues
        leaving = queues.add(place, entry) if before is None else queues.replace(place, before, entry)
        self.held[place] = entry
        for left in leaving:
            self.evictions += 1
            del self.held[left]  # type: ignore[arg-type]  # the queues hold places

    def drop(self, place: Place) -> None:
        if place in self._pinned:
            return
        entry = self.held.pop(place, None)
        if entry is not None:
            self._queues.remove(place, entry)

    def pin(self, place: Place, entry: Entry) -> None:
        """Hold `entry`, which is to be written, in place of whatever was there, until `unpin`."""
        self.drop(place)
        self._pinned.add(place)
        self.held[place] = entry

    def unpin(self, place: Place) -> None:
        """Hold nothing there."""
        self._pinned.remove(place)
        del self.held[place]

    def clear(self) -> None:
        """Hold nothing but what is pinned."""
        pinned = {place: self.held[place] for place in self._pinned}
        self.held.clear()
        self.held.update(pinned)
        self._queues.clear()
